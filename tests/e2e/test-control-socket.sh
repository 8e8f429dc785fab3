#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: status, statedump, log levels, reload and drain through the control sockets
. "$(dirname "$0")/lib.sh"
start
"$WG_BIN" status --control "$WG_CONTROL"
"$WG_BIN" statedump --control "$WG_CONTROL" | grep 'type=protocol/client' >/dev/null
"$WG_BIN" statedump --control "$WG_BRICK_CONTROLS" | grep 'type=storage/posix' >/dev/null
[ "$(stat -c %a "$WG_CONTROL")" = 600 ]
"$WG_BIN" log debug,nfs=trace --control "$WG_CONTROL"
! "$WG_BIN" log loud --control "$WG_CONTROL"
! "$WG_BIN" status --control "$T/none"
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
