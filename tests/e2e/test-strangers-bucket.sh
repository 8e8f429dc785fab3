#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: one S3 user gets nothing out of another's bucket, and nothing into it
. "$(dirname "$0")/lib.sh"
need_root
start
add() {                                      # name, uid: its keys
    "$WG_BIN" user add "$1" --uid "$2" --gid "$2" --users "$T/a/gateway/users.db" 2>/dev/null |
        sed -n 's/^access key *//p;s/^secret key *//p' | paste -sd:
}
alice=$(add alice 1000) bob=$(add bob 1001)
export AWS_ACCESS_KEY_ID=${bob%%:*} AWS_SECRET_ACCESS_KEY=${bob#*:}
wait_for 20 s3curl "$WG_S3_ENDPOINT/"        # until the gateway knows them
python3 "$E2E/strangers_bucket.py" "${WG_S3_ENDPOINT#http://}" "$alice" "$bob"
