#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: under random kills of the brick and cuts of its lanes no client sees an error or a double effect, and a model agrees
. "$(dirname "$0")/lib.sh"
need python3
start
# The gateway reaches its brick through a relay that cuts connections when it is told to.
relay_port=$(free_port)
python3 "$E2E/cutter.py" --listen "$relay_port" --to "$WG_BRICK_PORTS" >"$T/cutter.log" &
relay=$!
on_exit "kill $relay 2>/dev/null || true"
wait_for 20 grep -q ready "$T/cutter.log"
sed -i "s/\(address = \"[^\"]*\):$WG_BRICK_PORTS\"/\1:$relay_port\"/" "$T/a/conf/gateway.conf"
grep -q ":$relay_port\"" "$T/a/conf/gateway.conf" || fail "the relay is not in the configuration"
kill "$(gateway_pid)"
wait_for 30 sh -c "! '$WG_BIN' status --control '$T/a/run/gateway.sock'"
start_gateway
# Runs in a shell of its own: as often cuts as kills the brick and starts it again.
cat >"$T/kill" <<K
if [ \$((\$(od -An -N1 -tu1 /dev/urandom) % 2)) = 0 ]; then
    kill -USR1 $relay
    exit
fi
. "$T/a/env"
pid=\$("$WG_BIN" status --control "$T/a/run/brick1.sock" --json | sed -n 's/.*"pid":[^0-9]*\([0-9]*\).*/\1/p')
kill -9 \$pid
setsid "$WG_BIN" brick --config "$T/a/conf/brick1.conf" </dev/null >>"$T/a/log/brick1.log" 2>&1 &
for i in \$(seq 300); do "$WG_BIN" status --control "$T/a/run/brick1.sock" >/dev/null 2>&1 && break; sleep 0.05; done
K
python3 "$E2E/kill_storm.py" --nfs-port "$WG_NFS_PORT" --mount-port "$WG_MOUNT_PORT" --export "$WG_EXPORT" \
    --kills "${WG_TEST_KILLS:-40}" --kill "bash $T/kill"
kill $relay
wait $relay
cat "$T/cutter.log"
cuts=$(sed -n "s/^\([0-9]*\) connections cut$/\1/p" "$T/cutter.log")
[ "${cuts:-0}" -gt 0 ] || fail "nothing was cut"
