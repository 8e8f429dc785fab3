#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: system calls on a kernel mount end as they do on a local file system, errors included
. "$(dirname "$0")/lib.sh"
need_client
need python3
start
mkdir "$T/local"
python3 "$E2E/posix_cases.py" "$T/local" >"$T/want"
client -- sh -c "mkdir \$NFS_MNT/posix && exec python3 '$E2E/posix_cases.py' \$NFS_MNT/posix >'$T/got'"
say "$(wc -l <"$T/want") lines"
diff -u "$T/want" "$T/got"
