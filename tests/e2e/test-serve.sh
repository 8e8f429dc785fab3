#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: windgate serve DIR has both doors over a local directory, and makes a user at its first start
. "$(dirname "$0")/lib.sh"
need curl nfs-cat
[ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
nfs=$(free_port) s3=$(free_port)
serve() { "$WG_TEST_BIN" serve "$T/dir" --listen 127.0.0.1 --nfs-port $nfs --mount-port 0 --s3-port $s3 --any-port --squash none --layer upper=io-threads:threads=3 --control "$T/c" >"$T/$1" 2>&1 & }
serve out1
on_exit 'kill $(jobs -p) 2>/dev/null; wait'
wait_for 20 "$WG_TEST_BIN" status --control "$T/c"
cat "$T/out1"
eval "$(grep -o 'export AWS_.*' "$T/out1")"
WG_NFS_PORT=$nfs WG_MOUNT_PORT=$nfs WG_EXPORT=/data
random_file "$T/f" 2500000
s3curl -X PUT "http://127.0.0.1:$s3/bkt"
s3curl -T "$T/f" "http://127.0.0.1:$s3/bkt/x/y"
nfs-cat "$(nfs_url bkt/x/y)" | cmp - "$T/f"
cmp "$T/dir/bkt/x/y" "$T/f"
nfs-cp "$T/f" "$(nfs_url bkt/z)"
s3curl "http://127.0.0.1:$s3/bkt/z" | cmp - "$T/f"
! nfs-ls "$(nfs_url .windgate)" 2>/dev/null || fail "that must not succeed"
say "stop, start again"
kill -TERM $! && wait $!
serve out2
wait_for 20 "$WG_TEST_BIN" status --control "$T/c"
! grep -q AWS_SECRET "$T/out2" || fail "that must not succeed"
s3curl "http://127.0.0.1:$s3/bkt/z" | cmp - "$T/f"
kill -TERM $! && wait $!
