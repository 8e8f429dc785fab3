#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a gateway that stands still and remembers absent names delays a change once, and never shows the past
. "$(dirname "$0")/lib.sh"
need python3
start --layers '{ type = "performance/nl-cache"; }'
second_gateway
cat >"$T/ask.py" <<'PY'
import signal, os, sys
import nfs3
a, b = (nfs3.Mount('127.0.0.1', int(n), int(m), sys.argv[3], timeout=60) for n, m in (x.split(':') for x in sys.argv[1:3]))
pid = int(sys.argv[4])
def there(m, name):
    try:
        m.lookup(m.root, name)
        return True
    except nfs3.NfsError as e:
        assert e.status == 2, e.status
        return False
names = [b'n%d' % i for i in range(10)]
assert not any(there(b, n) for n in names)
os.kill(pid, signal.SIGSTOP)
try:
    for n in names:
        a.mkdir(a.root, n)
finally:
    os.kill(pid, signal.SIGCONT)
for n in names:
    assert there(b, n), n
PY
PYTHONPATH=$E2E python3 "$T/ask.py" "$WG_NFS_PORT:$WG_MOUNT_PORT" "$nfs2:$mount2" "$WG_EXPORT" $second
# One change met the lease, the nine others found it ended.
expired=$("$WG_BIN" statedump --control "$T/a/run/brick1.sock" --json | grep -o '"expired_waiting":[^,}]*' | tr -dc '0-9')
[ "$expired" -le 1 ] || fail "changes waited for $expired leases, not for one"
