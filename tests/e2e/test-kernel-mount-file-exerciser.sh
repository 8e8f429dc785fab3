#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: random reads, writes, mappings and truncations on a kernel mount agree with a model, and S3 with both
. "$(dirname "$0")/lib.sh"
need_client
need python3
start
s3curl -X PUT "$WG_S3_ENDPOINT/bkt"
python3 "$E2E/file_exerciser.py" "$T/model" 1 500    # the exerciser itself, on a local file
client -- sh -c "for seed in 1 2 3; do
    python3 '$E2E/file_exerciser.py' \$NFS_MNT/bkt/f\$seed \$seed 500 & pids=\"\$pids \$!\"; done
    for p in \$pids; do wait \$p || exit 1; done; cp \$NFS_MNT/bkt/f? '$T/'"
for seed in 1 2 3; do
    s3curl "$WG_S3_ENDPOINT/bkt/f$seed" | cmp - "$T/f$seed"
done
