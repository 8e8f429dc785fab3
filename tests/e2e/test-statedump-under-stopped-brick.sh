#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: with the brick stopped under 1,000 calls, a statedump shows them in less than a second
. "$(dirname "$0")/lib.sh"
need python3
start
python3 "$E2E/many_calls.py" "$WG_NFS_PORT" "$WG_MOUNT_PORT" "$WG_EXPORT" 1000 "$T" & c=$!
wait_for 30 test -e "$T/mounted"
pid=$(brick_pid)
kill -STOP "$pid"
on_exit "kill -CONT $pid 2>/dev/null"
touch "$T/go"
wait_for 30 test -e "$T/sent"
live() { "$WG_BIN" statedump --control "$WG_CONTROL" | sed -n 's/^calls_live=//p'; }
enough() { [ "$(live)" -ge 1000 ]; }         # what the client has sent is not read at once
wait_for 30 enough
best=999999                                  # of some: the machine may be busy with something else
for _ in $(seq 10); do
    begin=$(date +%s%N)
    "$WG_BIN" statedump --control "$WG_CONTROL" >"$T/dump"
    ms=$((($(date +%s%N) - begin) / 1000000))
    echo "took $ms ms, $(wc -l <"$T/dump") lines"
    [ $ms -ge $best ] || best=$ms
    [ $best -ge 1000 ] || break
done
"$WG_BIN" statedump --control "$WG_CONTROL" --json >"$T/dump.json"
python3 - "$T/dump.json" <<'P'
import json, sys
calls = json.load(open(sys.argv[1]))["calls"]
print(len(calls), "calls; one of them:", json.dumps(calls[0]))
assert len(calls) >= 1000, len(calls)
assert all(f.get("wind_from") and f.get("wind_to") for c in calls for f in c["frames"]), calls[0]
P
[ $best -lt 1000 ]
say "readers who read nothing of a long answer are cut, and delay nobody"
python3 - "$WG_CONTROL" "$(gateway_pid)" <<'P'
import json, os, socket, sys, time
def ask():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(sys.argv[1])
    s.sendall(b'{"command":"statedump"}\n')
    return s
def all_of(s):
    text = b''
    while piece := s.recv(1 << 20):
        text += piece
    return text
descriptors = lambda: len(os.listdir('/proc/%s/fd' % sys.argv[2]))
before = descriptors()
lazy = [ask() for _ in range(10)]
json.loads(all_of(ask()))
end = time.monotonic() + 60
while descriptors() > before:
    assert time.monotonic() < end, 'they are there for ever'
    time.sleep(0.1)
for s in lazy:
    assert not all_of(s).endswith(b'}\n'), 'the answer was short: this shows nothing'
P
kill -CONT "$pid"
wait $c
