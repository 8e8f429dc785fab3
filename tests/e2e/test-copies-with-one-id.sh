#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: files that were copied inside a brick with their xattrs get ids of their own, and status says which
. "$(dirname "$0")/lib.sh"
need cp
start
printf 'the first' >"$T/f"
s3curl -X PUT "$WG_S3_ENDPOINT/ids" >/dev/null
s3curl -T "$T/f" "$WG_S3_ENDPOINT/ids/first" >/dev/null
stop
cp -a --preserve=xattr "$WG_BRICK_DIRS/ids/first" "$WG_BRICK_DIRS/ids/copied"
rm "$WG_BRICK_DIRS/.windgate/index/data.mdb"
start_again
status() { "$WG_BIN" status --control "$T/a/run/brick1.sock"; }
wait_for 30 eval 'status | grep -q twin_files'
status | grep -qE '^ *- /ids/copied is a copy of /ids/first with its xattrs; it has got an id of its own' ||
    fail "status does not say it: $(status)"
[ "$(s3curl "$WG_S3_ENDPOINT/ids/copied")" = 'the first' ] || fail "the copy can't be read"
[ "$(s3curl "$WG_S3_ENDPOINT/ids/first")" = 'the first' ] || fail "the first can't be read"
