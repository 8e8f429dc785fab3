#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: one gateway serves two volumes, each with an export of its own, and S3 on the one it is told
. "$(dirname "$0")/lib.sh"
need nfs-cat nfs-cp curl
[ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
WG_NFS_PORT=$(free_port) s3=$(free_port)
WG_MOUNT_PORT=$WG_NFS_PORT
mkdir "$T/one" "$T/two"
cat >"$T/c.conf" <<C
state = "state";
control = "control";
volumes = ( { name = "one"; directory = "one"; }, { name = "two"; directory = "two"; } );
exports = ( { path = "/one"; volume = "one"; squash = "none"; privileged-port = false; },
            { path = "/two/sub"; volume = "two"; directory = "/sub"; squash = "none"; privileged-port = false; },
            { path = "/ro"; volume = "one"; read-only = true; squash = "none"; privileged-port = false; },
            { path = "/else"; volume = "one"; clients = "192.0.2.0/24"; } );
nfs = { listen = "127.0.0.1"; port = $WG_NFS_PORT; mount-port = 0; rpcbind = false; };
s3 = { listen = "127.0.0.1"; volume = "two"; port = $s3; };
C
mkdir "$T/two/sub" && chmod 777 "$T/two/sub"
eval "$("$WG_TEST_BIN" user add u --uid 0 --gid 0 --config "$T/c.conf" 2>/dev/null | sed -n 's/^access key */AWS_ACCESS_KEY_ID=/p;s/^secret key */AWS_SECRET_ACCESS_KEY=/p')" ||
    fail "no user"
"$WG_TEST_BIN" gateway --config "$T/c.conf" >"$T/log" 2>&1 &
on_exit 'kill $! 2>/dev/null; wait; tail -5 "$T/log"'
wait_for 20 "$WG_TEST_BIN" status --control "$T/control"
AWS_DEFAULT_REGION=us-east-1
echo one >"$T/f1" && echo two >"$T/f2"
WG_EXPORT=/one nfs-cp "$T/f1" "$(WG_EXPORT=/one nfs_url f)"
nfs-cp "$T/f2" "$(WG_EXPORT=/two/sub nfs_url f)"
cmp "$T/f1" "$T/one/f" && cmp "$T/f2" "$T/two/sub/f"
nfs-cat "$(WG_EXPORT=/ro nfs_url f)" | cmp - "$T/f1"
! nfs-cp "$T/f2" "$(WG_EXPORT=/ro nfs_url g)" 2>/dev/null || fail "that must not succeed"
! nfs-cat "$(WG_EXPORT=/else nfs_url f)" 2>/dev/null || fail "that must not succeed"
s3curl -X PUT "http://127.0.0.1:$s3/bucket" && s3curl -T "$T/f1" "http://127.0.0.1:$s3/bucket/k" && cmp "$T/f1" "$T/two/bucket/k"
"$WG_TEST_BIN" statedump --control "$T/control" | grep -c 'type=storage/posix' | grep 2 >/dev/null
kill -TERM $! && wait $!
