#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: 10,000 names are listed once each while others are removed and added
. "$(dirname "$0")/lib.sh"
need_client
start
cat >"$T/job" <<'P'
import os
d = os.environ["NFS_MNT"] + "/many"
os.mkdir(d)
for i in range(10000):
    os.close(os.open(f"{d}/n{i:05}", os.O_CREAT | os.O_WRONLY))
seen = []
for k, e in enumerate(os.scandir(d)):
    seen.append(e.name)
    if k % 10 == 0:
        try:
            os.unlink(f"{d}/n{(k * 7) % 10000:05}")
        except FileNotFoundError:
            pass
        os.close(os.open(f"{d}/new{k}", os.O_CREAT | os.O_WRONLY))
names = [n for n in seen if n.startswith("n") and not n.startswith("new")]
assert len(seen) == len(set(seen)), "a name came twice"
left = set(os.listdir(d))
missing = [n for n in left if not n.startswith("new") and n not in set(names)]
assert not missing, missing[:5]
print(len(seen), "seen", len(left), "left")
P
client -- python3 "$T/job"
