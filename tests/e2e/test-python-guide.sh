#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: the translators of docs/python-translators.md, as they stand there, do what it says
. "$(dirname "$0")/lib.sh"
need python3
[ -e "$WG_TEST_BUILD/xlators/bindings/python.so" ] || skip "built without Python"
export WG_MODULE_PATH=$WG_TEST_BUILD/xlators
guide=$TOP/docs/python-translators.md

say "every block is a file that the text names; the configuration's layers are used as they are"
python3 - "$guide" "$T" "$TOP/xlators/bindings/python/examples" <<'P'
import os, re, sys
guide, to, examples = sys.argv[1:]
text = open(guide).read()
blocks = re.findall(r"`/etc/windgate/(\w+\.py)`:\n\n```python\n(.*?)```\n", text, re.S)
if len(blocks) != text.count("```python") or len(blocks) < 4:
    sys.exit("a block of Python has no file name before it: `/etc/windgate/NAME.py`:")
for name, code in blocks:
    open(f"{to}/{name}", "w").write("# from the guide\n" + code)
layers = re.search(r"layers = \( (\{ type = \"bindings/python\".*?\}; \}) \);", text, re.S).group(1)
open(f"{to}/layers", "w").write(layers.replace("/etc/windgate", to))
words = {"five": 5}
count, = re.findall(r"(\w+) larger examples are in", text.lower())
if words[count] != len([f for f in os.listdir(examples) if f.endswith(".py")]):
    sys.exit(f"{count} examples are announced")
P
# A checker of types, where there is one, finds nothing to say about them and the examples.
if command -v mypy >/dev/null; then
    MYPYPATH=$WG_MODULE_PATH/bindings/python mypy --cache-dir "$T/mypy" --check-untyped-defs --disable-error-code var-annotated \
        --disable-error-code arg-type "$T"/*.py
fi

say "several in one graph"
layer() { printf '{ type = "bindings/python"; options = { module = "%s"; %s }; }' "$T/$1.py" "${2:-}"; }
start --layers "$(cat "$T/layers"), $(layer capitals), $(layer trash 'keep = "1h";'), $(layer few_names 'names = 4;')"
"$WG_BIN" check-config --config "$T/a/conf/gateway.conf"
nfs() {                                      # a line of Python with m, a mount, and d, its directory "dir"
    python3 - "$E2E" "$WG_NFS_PORT" "$WG_MOUNT_PORT" "$WG_EXPORT" "$1" <<'P'
import sys
sys.path.insert(0, sys.argv[1])
import nfs3
m = nfs3.Mount("127.0.0.1", int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
try:
    d = m.lookup(m.root, b"dir")[0]
except nfs3.NfsError:
    d = None
try:
    exec(sys.argv[5])
except nfs3.NfsError as e:
    print(e.status)
P
}
s3curl -X PUT "$WG_S3_ENDPOINT/dir"
echo "some text" >"$T/text"
python3 -c 'print("x" * 3000000)' >"$T/long"

say "no_secrets"
s3curl -T "$T/text" "$WG_S3_ENDPOINT/dir/a.pem"
[ "$(nfs 'm.lookup(d, b"a.pem")')" = 2 ]
[ "$(nfs 'print(oct(m.getattr(m.lookup(m.root, b"dir")[0])["mode"] & 7))')" = 0o0 ]

say "capitals"
s3curl -T "$T/text" "$WG_S3_ENDPOINT/dir/a.txt"
s3curl -T "$T/long" "$WG_S3_ENDPOINT/dir/b.txt"
[ "$(s3curl "$WG_S3_ENDPOINT/dir/a.txt")" = "SOME TEXT" ]
s3curl "$WG_S3_ENDPOINT/dir/b.txt" | cmp - <(tr x X <"$T/long")
[ "$(nfs-cat "$(nfs_url dir/a.txt)")" = "SOME TEXT" ]
s3curl -T "$T/text" "$WG_S3_ENDPOINT/dir/c"
[ "$(nfs-cat "$(nfs_url dir/c)")" = "some text" ]

say "few_names: there are four"
[ "$(nfs 'm.create(d, b"fifth")')" = 69 ]
[ "$(nfs 'm.mkdir(d, b"fifth")')" = 69 ]
[ "$(nfs 'm.remove(d, b"c")')" = "" ]
nfs 'm.create(d, b"fourth"); m.create(m.mkdir(m.root, b"other"), b"free")'
[ "$(nfs 'm.create(d, b"fifth")')" = 69 ]
[ "$(nfs 'm.rename(d, b"fourth", m.root, b"moved"); m.create(d, b"again")')" = "" ]

say "trash: what was removed is there, and not for ever"
ls "$T/a/brick1/.trash/" | grep '^c\.[0-9]*$'
sed -i 's/keep = "1h"/keep = "1s"/' "$T/a/conf/gateway.conf"
kill "$(gateway_pid)"
wait_for 20 eval '! "$WG_BIN" status --control "$T/a/run/gateway.sock"'
start_gateway
! grep -a 'still under way' "$T/a/log/gateway.log" || fail "the gateway did not end its translators' tasks"
wait_for 20 eval '[ -z "$(ls "$T/a/brick1/.trash")" ]'
! grep -a 'error python' "$T/a/log/gateway.log" || fail "a translator of the guide raised something"
