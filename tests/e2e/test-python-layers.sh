#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a gateway with translators in Python serves NFS and S3; one is edited and reloaded while it does
. "$(dirname "$0")/lib.sh"
[ -e "$WG_TEST_BUILD/xlators/bindings/python.so" ] || skip "built without Python"
export WG_MODULE_PATH=$WG_TEST_BUILD/xlators
examples=$TOP/xlators/bindings/python/examples
cat >"$T/mine.py" <<'EOF'
import errno
from windgate import Xlator, unwind, PASS
class Mine(Xlator):
    def __init__(self):
        self.refused = 0
    def lookup(self, call, args):
        if args.at.name == b'first':
            self.refused += 1
            return unwind(errno.EACCES)
        return PASS
    def dump(self):
        return {'refused': self.refused, 'edition': 1}
EOF
python_layer() { printf '{ type = "bindings/python"; name = "%s"; options = { module = "%s"; %s }; }' "$1" "$2" "${3:-}"; }
start --layers "$(python_layer mine "$T/mine.py"), $(python_layer absent "$examples/negative_lookup.py"),
    $(python_layer ro "$examples/read_only.py" 'patterns = "*.ro";'),
    $(python_layer audit "$examples/audit_log.py" "file = \"$T/audit.jsonl\";")"
control() { "$WG_BIN" "$@" --control "$T/a/run/gateway.sock"; }
own() { control statedump --json | tr ',{}' '\n' | sed -n "s/^[[:space:]]*\"$1\":[[:space:]]*//p"; }

say "both doors"
random_file "$T/f" 3000000
s3curl -X PUT "$WG_S3_ENDPOINT/pyt"
s3curl -T "$T/f" "$WG_S3_ENDPOINT/pyt/a/b"
nfs-cat "$(nfs_url pyt/a/b)" | cmp - "$T/f"
! nfs-cp "$T/f" "$(nfs_url pyt/x.ro)" >/dev/null 2>&1 || fail "a name that is read-only was made"
cp "$T/f" "$T/a/brick1/pyt/x.ro"
chmod 644 "$T/a/brick1/pyt/x.ro"
s3curl "$WG_S3_ENDPOINT/pyt/x.ro" | cmp - "$T/f"
! s3curl -X DELETE "$WG_S3_ENDPOINT/pyt/x.ro" >/dev/null || fail "a file that is read-only was deleted"
nfs-cat "$(nfs_url pyt/x.ro)" | cmp - "$T/f"
! nfs-cp "$T/audit.jsonl" "$(nfs_url pyt/x.ro)" >/dev/null 2>&1 || fail "a file that is read-only was written"
cmp "$T/a/brick1/pyt/x.ro" "$T/f"
for i in 1 2 3; do ! nfs-cat "$(nfs_url pyt/none)" 2>/dev/null; done
[ "$(own hits)" -ge 2 ] || fail "the absent name was asked for each time"
nfs-cp "$T/f" "$(nfs_url pyt/none)"
nfs-cat "$(nfs_url pyt/none)" | cmp - "$T/f"
wait_for 10 grep -q '"fop": "put".*"errno": 0' "$T/audit.jsonl"

say "an edit, while clients are served"
for i in first second; do s3curl -T "$T/f" "$WG_S3_ENDPOINT/pyt/$i"; done
nfs-cat "$(nfs_url pyt/second)" | cmp - "$T/f"
! nfs-cat "$(nfs_url pyt/first)" >/dev/null 2>&1 || fail "the translator did not refuse"
[ "$(own edition)" = 1 ]
touch "$T/go"
while [ -e "$T/go" ]; do
    nfs-cat "$(nfs_url pyt/a/b)" | cmp - "$T/f" && s3curl "$WG_S3_ENDPOINT/pyt/a/b" | cmp - "$T/f" || touch "$T/failed"
done &
for i in 2 3 4; do
    sed -i "s/b'first'/b'second'/; s/'edition': .*}/'edition': $i}/" "$T/mine.py"
    kill -HUP "$(gateway_pid)"
    wait_for 20 eval "[ \"\$(own edition)\" = $i ]"
done
rm "$T/go"
wait
[ ! -e "$T/failed" ] || fail "a client's call failed during a reload"
nfs-cat "$(nfs_url pyt/first)" | cmp - "$T/f"
! nfs-cat "$(nfs_url pyt/second)" 2>/dev/null || fail "the new code is not at work"

say "an edit that treats another fop, and has an option: the graph changes"
python3 - "$T/mine.py" <<'EOF'
import sys
text = open(sys.argv[1]).read().replace("class Mine(Xlator):", """class Mine(Xlator):
    options = {'more': windgate.Int(7)}
    def handover(self, old):
        self.refused = old.refused + 100
    def readlink(self, call, args):
        return unwind(errno.EACCES)""").replace("'edition': 4", "'edition': 5")
open(sys.argv[1], "w").write("import windgate\n" + text)
EOF
kill -HUP "$(gateway_pid)"
wait_for 20 eval '[ "$(own edition | head -1)" = 5 ]'
[ "$(own refused | head -1)" -ge 101 ] || fail "nothing was handed over"
nfs-cat "$(nfs_url pyt/first)" | cmp - "$T/f"

say "an edit that is wrong"
echo 'class Mine(' >>"$T/mine.py"
kill -HUP "$(gateway_pid)"
wait_for 20 grep -q 'mine.py:.*SyntaxError' "$T/a/log/gateway.log"
nfs-cat "$(nfs_url pyt/first)" | cmp - "$T/f"
! nfs-cat "$(nfs_url pyt/second)" 2>/dev/null || fail "the old code is gone"
if "$WG_BIN" check-config --config "$T/a/conf/gateway.conf" >"$T/check" 2>&1; then cat "$T/check"; fail "check-config did not mind"; fi
grep 'mine.py:.*SyntaxError' "$T/check"
