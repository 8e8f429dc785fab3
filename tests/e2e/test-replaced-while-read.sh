#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a file that is being read through a mount while a PUT replaces it is read to its end, unchanged
. "$(dirname "$0")/lib.sh"
need_client
start
random_file "$T/old" 120000000
random_file "$T/new" 50000000
s3curl -X PUT "$WG_S3_ENDPOINT/bucket"
s3curl -T "$T/old" "$WG_S3_ENDPOINT/bucket/file"
cat >"$T/reader" <<'P'
import os, sys, time
f = open(os.environ["NFS_MNT"] + "/bucket/file", "rb")
out = open(os.environ["T"] + "/read", "wb")
out.write(f.read(10000000))
open(os.environ["T"] + "/reading", "w").close()
while not os.path.exists(os.environ["T"] + "/replaced"):
    time.sleep(0.05)
while True:
    b = f.read(1 << 20)
    if not b:
        break
    out.write(b)
P
client -- python3 "$T/reader" & c=$!
wait_for 60 test -e "$T/reading"
s3curl -T "$T/new" "$WG_S3_ENDPOINT/bucket/file"
touch "$T/replaced"
wait $c
cmp "$T/old" "$T/read"
s3curl "$WG_S3_ENDPOINT/bucket/file" | cmp - "$T/new"
