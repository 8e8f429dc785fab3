#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a brick that is stopped while it copies from one that stands still ends at once, and the copy is made when it is back
. "$(dirname "$0")/lib.sh"
. "$E2E/two-bricks.sh"
two_bricks
random_file "$T/f" 5000000
s3curl -T "$T/f" "$S3/bk1/f"
# The source holds what the other brick reads from it: the pull waits.
"$WG_TEST_BIN" graph insert vone debug/delay --name held fops=ref_read hold=on --control "$T/w/one.sock" >/dev/null
copy bk1/f bk2/far >"$T/answer" & client=$!
pulls() { dump_of two | python3 -c '
import json, sys
xl = [x for x in json.load(sys.stdin)["xlators"] if x["type"] == "features/pull"][0]
sys.exit(not xl["live"])'; }
wait_for 20 pulls
two=$(pid_of two)
kill "$two"
wait_for 15 sh -c "! kill -0 $two"           # the pull's deadline is 30 seconds
grep -q 'notice brick: stopped' "$T/w/two.log" || fail "it did not end in order: $(tail -3 "$T/w/two.log")"
"$WG_TEST_BIN" graph remove held --control "$T/w/one.sock" >/dev/null
start_one two
wait $client || fail "the copy: $(cat "$T/answer")"
grep -q ETag "$T/answer"
cmp "$T/f" "$BRICKS/two/bk2/far"
