#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: copies between bricks, model-checked, while either brick is killed in the middle of pulls, many times
. "$(dirname "$0")/lib.sh"
. "$E2E/two-bricks.sh"
need_boto3
BRICK_MORE='layers = ( { type = "debug/delay"; options = { fops = "ref_read"; delay = "4ms"; }; } );'
two_bricks
start_here() { start_one "$1"; echo "${PIDS[$1]}" >"$T/w/$1.pid"; }
for n in one two; do echo "${PIDS[$n]}" >"$T/w/$n.pid"; done
cat >"$T/kill" <<K
#!/bin/bash
n=\$([ \$((RANDOM % 2)) = 0 ] && echo one || echo two)
kill -9 "\$(cat "$T/w/\$n.pid")"
while kill -0 "\$(cat "$T/w/\$n.pid")" 2>/dev/null; do sleep 0.02; done
setsid "$WG_TEST_BIN" brick --config "$T/w/\$n.conf" </dev/null >>"$T/w/\$n.log" 2>&1 &
echo \$! >"$T/w/\$n.pid"
K
chmod +x "$T/kill"
on_exit 'kill $(cat "$T"/w/*.pid) 2>/dev/null; sleep 0.5'
"$PYTHON3" "$E2E/copy_storm.py" --endpoint "$S3" --buckets bk1 bk2 --kill "$T/kill" --kills "${KILLS:-8}" --pause 2 \
    ${SEED:+--seed "$SEED"}
dump_of gateway >"$T/dump"
say "between bricks: $(number s3 bytes-copied-between-bricks <"$T/dump"), through the gateway: $(number s3 bytes-copied-through-gateway <"$T/dump")"
[ "$(number s3 bytes-copied-between-bricks <"$T/dump")" -gt 0 ]
for n in one two; do                         # nothing is left behind
    wait_for 100 sh -c "[ \"\$('$WG_TEST_BIN' statedump --control '$T/w/$n.sock' | grep -c 'made_by')\" = 0 ]"
done
