#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: rclone copies, checks and syncs
. "$(dirname "$0")/lib.sh"
need rclone
start
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_W_TYPE=s3 RCLONE_CONFIG_W_PROVIDER=Other RCLONE_CONFIG_W_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID \
    RCLONE_CONFIG_W_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY RCLONE_CONFIG_W_ENDPOINT=$WG_S3_ENDPOINT RCLONE_RETRIES=1
mkdir -p "$T/up/a/b" && for i in $(seq 20); do random_file "$T/up/a/b/$i" $((i * 7000)); done
random_file "$T/up/big" 15000000
rclone mkdir w:rclone
rclone copy --s3-upload-cutoff 8M --s3-chunk-size 5M "$T/up" w:rclone
rclone check "$T/up" w:rclone
rm "$T/up/a/b/3" && echo changed >"$T/up/a/b/4"
rclone sync "$T/up" w:rclone && rclone check "$T/up" w:rclone
rclone copy w:rclone "$T/down" && diff -r "$T/up" "$T/down"
rclone moveto w:rclone/big w:rclone/bigger && rclone ls w:rclone | grep bigger >/dev/null
rclone purge w:rclone
