#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: docs/debugging.md, command by command: a frame stuck on purpose is found in three
. "$(dirname "$0")/lib.sh"
need python3 nfs-cat nfs-cp
start
mkdir "$T/bin"
ln -s "$WG_BIN" "$T/bin/windgate"
report=$(nfs_url report)
export PATH="$T/bin:$PATH" report
conf=$T/a/conf
head -c 100000 /dev/urandom >"$T/report"
nfs-cp "$T/report" "$report"
python3 "$E2E/play_page.py" "$TOP/docs/debugging.md"
say "a call that takes long is logged with who holds it, and again at its end"
sed -i 's/^log = {/log = { slow-call = "1s";/' "$conf/brick1.conf"
grep -q slow-call "$conf/brick1.conf" || echo 'log = { slow-call = "1s"; };' >>"$conf/brick1.conf"
kill -HUP "$(brick_pid)"
wait_for 20 grep -q reloaded "$T/a/log/brick1.log"
"$WG_BIN" graph insert vol debug/delay --name slow fops=read hold=on --control "$WG_BRICK_CONTROLS"
held() { [ "$("$WG_BIN" status --control "$WG_BRICK_CONTROLS" --json | json_number calls)" -ge 1 ]; }
nfs-cat "$report" >"$T/copy" & c=$!
wait_for 20 held
wait_for 20 grep -q 'slow: call .* is under way for .*; slow (debug/delay) has its read' "$T/a/log/brick1.log"
say "a stop lets go what is held"
"$WG_BIN" drain --control "$WG_BRICK_CONTROLS"
wait_for 20 grep -q 'slow: call .* has ended after' "$T/a/log/brick1.log"
start_brick
wait $c
cmp "$T/report" "$T/copy"
