#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: quickstart starts an appliance, checks it through both doors, and leaves nothing running
. "$(dirname "$0")/lib.sh"
need curl nfs-cat
on_exit 'stop >/dev/null 2>&1'
"$TOP/quickstart" --bin "$WG_TEST_BIN" --dir "$T/a" --no-install --nfs-port "$(free_port)" --mount-port "$(free_port)" --s3-port "$(free_port)" \
    --s3-tls-port "$(free_port)" --brick-port "$(free_port)" >"$T/out" 2>&1 &
q=$!
wait_for 60 grep -q 'Ctrl-C stops' "$T/out" || { cat "$T/out"; fail "it did not start"; }
cat "$T/out"
grep -q 'self-check passed' "$T/out"
grep -q 'mount -t nfs' "$T/out"
load_env
[ "$WG_GATEWAY_PID" = "$(gateway_pid)" ]
[ "$WG_BRICK_PIDS" = "$(brick_pid)" ]
tr '\0' ' ' <"/proc/$WG_GATEWAY_PID/cmdline" | grep gateway >/dev/null
for v in WG_BIN WG_NFS_PORT WG_MOUNT_PORT WG_EXPORT WG_S3_ENDPOINT WG_S3_TLS_ENDPOINT WG_CA AWS_ACCESS_KEY_ID \
    AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION WG_BRICK_PORTS WG_BRICK_DIRS WG_CONTROL; do
    [ -n "${!v}" ] || fail "$v is not in env"
done
say "stopping"
kill -TERM $q          # a background process of a script can't get SIGINT; both do the same
wait_for 10 grep -q stopping "$T/out"
kill -TERM $q          # one who is impatient
wait $q || true
tail -3 "$T/out"
for pid in "$WG_GATEWAY_PID" "$WG_BRICK_PIDS"; do
    if kill -0 "$pid" 2>/dev/null; then fail "process $pid stays"; fi
done
[ -d "$WG_BRICK_DIRS" ]
