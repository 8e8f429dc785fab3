#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a copy between bricks is whole, or fails, when its source is replaced, removed, cut or written meanwhile, or expires
. "$(dirname "$0")/lib.sh"
. "$E2E/two-bricks.sh"
need_boto3
BRICK_MORE='layers = ( { type = "debug/delay"; options = { fops = "ref_read"; delay = "50ms"; }; } );
    tune = { posix = { reference-lifetime = "1s"; }; pull = { pieces = 2; }; };'
two_bricks
PYTHONPATH=$E2E "$PYTHON3" "$E2E/copy_changes.py" "$S3" "$WG_NFS_PORT" "$T/w" "$(pid_of two)" "$WG_TEST_BIN"
dump_of one >"$T/dump"
[ "$(number storage/posix expired <"$T/dump")" -gt 0 ]
