#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: without descriptors the listeners of NFS, S3 and a brick wait quietly, say so once, and serve again
. "$(dirname "$0")/lib.sh"
start
try() { python3 "$E2E/descriptors_run_out.py" "$@"; }
try "$(gateway_pid)" "$T/a/log/gateway.log" nfs "$WG_NFS_PORT"
try "$(gateway_pid)" "$T/a/log/gateway.log" s3 "${WG_S3_ENDPOINT##*:}"
try "$(brick_pid)" "$T/a/log/brick1.log" brick "${WG_BRICK_PORTS%% *}"
echo hello >"$T/f"
s3curl -X PUT "$WG_S3_ENDPOINT/afterwards" >/dev/null
s3curl -T "$T/f" "$WG_S3_ENDPOINT/afterwards/f"
[ "$(nfs-cat "$(nfs_url afterwards/f)")" = hello ]
