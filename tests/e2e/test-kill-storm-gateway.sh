#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: under random kills of the gateway no client sees an error or a double effect, and a model agrees
. "$(dirname "$0")/lib.sh"
need python3
start
# Runs in a shell of its own: kills the gateway, waits a little, starts it again.
cat >"$T/kill" <<K
. "$T/a/env"
pid=\$("$WG_BIN" status --control "$T/a/run/gateway.sock" --json | sed -n 's/.*"pid":[^0-9]*\([0-9]*\).*/\1/p')
kill -9 \$pid
setsid "$WG_BIN" gateway --config "$T/a/conf/gateway.conf" </dev/null >>"$T/a/log/gateway.log" 2>&1 &
for i in \$(seq 300); do "$WG_BIN" status --control "$T/a/run/gateway.sock" >/dev/null 2>&1 && break; sleep 0.05; done
K
python3 "$E2E/kill_storm.py" --nfs-port "$WG_NFS_PORT" --mount-port "$WG_MOUNT_PORT" --export "$WG_EXPORT" \
    --kills "${WG_TEST_KILLS:-25}" --kill "bash $T/kill"
