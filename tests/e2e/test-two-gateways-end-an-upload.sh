#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: two gateways that complete and abort one multipart upload at once agree on how it ended; a killed one holds up nobody
. "$(dirname "$0")/lib.sh"
need_boto3
start
# A second gateway of the same volume, with the users of the first.
cp -r "$T/a/gateway" "$T/a/gateway2"
sed -e "s,run/gateway\.sock,run/gateway2.sock,; s,\"$T/a/gateway\",\"$T/a/gateway2\",; s,log/gateway\.log,log/gateway2.log," \
    -e "s,^    port = ${WG_S3_ENDPOINT##*:};,    port = $(free_port);," \
    -e "s,tls-port = .*,tls-port = $(free_port);," \
    -e "s,port = $WG_NFS_PORT;,port = $(free_port);,; s,mount-port = .*,mount-port = $(free_port);," \
    "$T/a/conf/gateway.conf" >"$T/a/conf/gateway2.conf"
setsid "$WG_BIN" gateway --config "$T/a/conf/gateway2.conf" </dev/null >>"$T/a/log/gateway2.log" 2>&1 &
second=$!
on_exit 'kill $second 2>/dev/null; wait $second 2>/dev/null'
wait_for 30 "$WG_BIN" status --control "$T/a/run/gateway2.sock" --timeout 1
port=$(sed -n '/^s3/,/^}/s/^    port = \([0-9]*\);/\1/p' "$T/a/conf/gateway2.conf")
"$PYTHON3" "$E2E/end_uploads.py" "$WG_S3_ENDPOINT" "http://127.0.0.1:$port" --uploads 10 --kill "$second"
# What the brick says of its locks: each was given back, or ran out with the gateway that was killed.
"$WG_BIN" statedump --control "$T/a/run/brick1.sock" --json >"$T/dump"
[ "$(json_number taken <"$T/dump")" -ge 11 ] || fail "no lease was taken: $(grep -A12 '"held"' "$T/dump")"
