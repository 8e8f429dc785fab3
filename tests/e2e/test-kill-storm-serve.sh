#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: under random kills of `windgate serve` no client sees an error or a double effect, and a model agrees
. "$(dirname "$0")/lib.sh"
need python3
[ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
nfs=$(free_port) s3=$(free_port)
# Runs in a shell of its own: kills the server (if one runs), and starts it again.
cat >"$T/again" <<K
[ ! -s "$T/pid" ] || kill -9 \$(cat "$T/pid")
setsid "$WG_TEST_BIN" serve "$T/dir" --listen 127.0.0.1 --nfs-port $nfs --mount-port 0 --s3-port $s3 --any-port --squash none \
    --control "$T/c" </dev/null >>"$T/out" 2>&1 &
echo \$! >"$T/pid"
for i in \$(seq 300); do "$WG_TEST_BIN" status --control "$T/c" >/dev/null 2>&1 && exit 0; sleep 0.05; done
exit 1
K
on_exit 'kill -TERM $(cat "$T/pid"); tail -n 20 "$T/out"; while kill -0 $(cat "$T/pid") 2>/dev/null; do sleep 0.1; done'
bash "$T/again"
python3 "$E2E/kill_storm.py" --nfs-port "$nfs" --mount-port "$nfs" --export /data --kills "${WG_TEST_KILLS:-15}" --kill "bash $T/again"
