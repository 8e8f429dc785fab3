#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: status, statedump, log levels, reload and drain through the control sockets
. "$(dirname "$0")/lib.sh"
start
"$WG_BIN" status --control "$WG_CONTROL"
! { "$WG_BIN" status; "$WG_BIN" --help; "$WG_BIN" help --help; } | grep ' $' || fail "trailing blanks"
"$WG_BIN" statedump --control "$WG_CONTROL" | grep 'type=protocol/client' >/dev/null
"$WG_BIN" statedump --control "$WG_BRICK_CONTROLS" | grep 'type=storage/posix' >/dev/null
[ "$(stat -c %a "$WG_CONTROL")" = 600 ]
# What went through the doors: a file each, the connections having ended; the lanes' state is there once.
random_file "$T/f" 1000000
nfs-cp "$T/f" "$(nfs_url counted)" >/dev/null
s3curl -X PUT "$WG_S3_ENDPOINT/counted-too" >/dev/null
s3curl -T "$T/f" "$WG_S3_ENDPOINT/counted-too/f" >/dev/null
s3curl "$WG_S3_ENDPOINT/counted-too/f" | cmp - "$T/f"
nfs-cat "$(nfs_url counted)" | cmp - "$T/f"
"$WG_BIN" status --control "$WG_CONTROL" --json >"$T/status"
"$WG_BIN" statedump --control "$WG_CONTROL" --json >"$T/dump"
python3 - "$T/status" "$T/dump" <<'PY'
import json, sys
status, dump = (json.load(open(f)) for f in sys.argv[1:])
for door in "nfs", "s3":
    for what in "bytes_in", "bytes_out":
        assert 1000000 <= status[door][what] < 1200000, (door, status[door])
        assert dump[door][what.replace("_", "-")] >= status[door][what], (door, dump[door])
    assert status[door]["requests"] >= 3, status[door]
def lanes(x):
    if isinstance(x, dict):
        return ("rx_bytes" in x) + sum(map(lanes, x.values()))
    return sum(map(lanes, x)) if isinstance(x, list) else 0
assert lanes(dump) == lanes(dump["transport"]) > 0, (lanes(dump), lanes(dump["transport"]))
PY
"$WG_BIN" log debug,nfs=trace --control "$WG_CONTROL"
! "$WG_BIN" log loud --control "$WG_CONTROL" || fail "that must not succeed"
! "$WG_BIN" status --control "$T/none" || fail "that must not succeed"
# What is no request gets an answer, and the socket stays usable.
for text in '' 'nonsense' '{"command":"no"}' '{"command":3}' '[]' "$(head -c 70000 /dev/zero | tr '\0' '{')"; do
    printf '%s\n' "$text" | timeout 5 python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
try:
    s.sendall(sys.stdin.buffer.read()); s.shutdown(1)
    print(s.recv(200))
except OSError as e:
    print(e)' "$WG_CONTROL"
done
kill -HUP "$(gateway_pid)" "$(brick_pid)"
wait_for 5 grep -q 'reloaded' "$T/a/log/gateway.log"
mv "$T/a/log/gateway.log" "$T/a/log/gateway.log.1"
kill -HUP "$(gateway_pid)"
wait_for 5 test -s "$T/a/log/gateway.log"
say "a broken configuration is refused, the old one stays"
sed -i 's/port = /prt = /' "$T/a/conf/gateway.conf"
kill -HUP "$(gateway_pid)"
wait_for 5 grep -q "unknown setting 'prt'.*did you mean 'port'" "$T/a/log/gateway.log"
nfs-ls "nfs://127.0.0.1$WG_EXPORT?nfsport=$WG_NFS_PORT&mountport=$WG_MOUNT_PORT"
pid=$(gateway_pid)
"$WG_BIN" drain --control "$WG_CONTROL"
wait_for 10 bash -c "! kill -0 $pid"
[ ! -e "$WG_CONTROL" ]
