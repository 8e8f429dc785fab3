#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: where the file system shares blocks, a copy on one brick moves nothing, and a reference is a snapshot
. "$(dirname "$0")/lib.sh"
. "$E2E/two-bricks.sh"
need_root
need mkfs.xfs
need_boto3
truncate -s 900M "$T/disk"
mkfs.xfs -q -m reflink=1 "$T/disk" || skip "mkfs.xfs can't make one with reflink"
mkdir -p "$T/one"
mount -o loop "$T/disk" "$T/one" 2>"$T/err" || skip "can't mount XFS: $(cat "$T/err")"
on_exit 'umount -l "$T/one"'
BRICK_MORE='layers = ( { type = "debug/delay"; options = { fops = "ref_read"; delay = "50ms"; }; } );
    tune = { posix = { reference-lifetime = "1s"; }; pull = { pieces = 2; }; };'
two_bricks
used() { sync -f "$T/one"; df --output=used -k "$T/one" | tail -1; }
random_file "$T/f" 200000003
s3curl -T "$T/f" "$S3/bk1/f"
before=$(used)
for i in 1 2 3 4; do copy bk1/f "bk1/f$i" >/dev/null; done # 1 GB in all, of a disk of 900 MB
grown=$(($(used) - before))
say "four copies of 195313 KiB took $grown KiB"
[ "$grown" -lt 2000 ]
cmp "$T/f" "$T/one/bk1/f4"
say "a source that changes meanwhile"
PYTHONPATH=$E2E "$PYTHON3" "$E2E/copy_changes.py" "$S3" "$WG_NFS_PORT" "$T/w" "$(pid_of two)" "$WG_TEST_BIN" snapshots
dump_of one >"$T/dump"
[ "$(number storage/posix source_changed <"$T/dump")" = 0 ]
space_is_back() { [ "$(dump_of one | grep -c made_by)" = 0 ]; }
wait_for 30 space_is_back
