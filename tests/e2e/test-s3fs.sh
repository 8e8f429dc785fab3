#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: s3fs mounts a bucket and files survive
. "$(dirname "$0")/lib.sh"
need s3fs fusermount
[ -c /dev/fuse ] || skip "there is no /dev/fuse"
start
s3curl -X PUT "$WG_S3_ENDPOINT/fuse"
(umask 077; echo "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" >"$T/passwd")
mkdir "$T/mnt"
s3fs fuse "$T/mnt" -o passwd_file="$T/passwd" -o url="$WG_S3_ENDPOINT" -o use_path_request_style || skip "s3fs can't mount here"
on_exit 'fusermount -u "$T/mnt" || umount -l "$T/mnt"'
wait_for 10 mountpoint -q "$T/mnt"
random_file "$T/f" 25000000
mkdir "$T/mnt/d" && cp "$T/f" "$T/mnt/d/f" && cmp "$T/f" "$T/mnt/d/f"
mv "$T/mnt/d/f" "$T/mnt/d/g" && ln -s g "$T/mnt/d/l" && cmp "$T/f" "$T/mnt/d/l"
chmod 600 "$T/mnt/d/g" && [ "$(stat -c %a "$T/mnt/d/g")" = 600 ]
cmp "$T/f" "$WG_BRICK_DIRS/fuse/d/g"
rm -r "$T/mnt/d"
