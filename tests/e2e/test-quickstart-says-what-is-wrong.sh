#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a port in use, a second quickstart, a wrong option: one clear line, and nothing stays running
. "$(dirname "$0")/lib.sh"
start
out=$(quickstart --detach 2>&1) && fail "started twice on one directory"
echo "$out"
[ "$(wc -l <<<"$out")" = 1 ]
grep -q 'already running' <<<"$out"
gateway_pid && brick_pid                     # the first one is not hurt

port=${WG_S3_ENDPOINT##*:}
out=$("$TOP/quickstart" --bin "$WG_TEST_BIN" --dir "$T/b" --no-install --detach --s3-port "$port" --nfs-port "$(free_port)" \
    --mount-port "$(free_port)" --s3-tls-port "$(free_port)" --brick-port "$(free_port)" 2>&1) && fail "took a port in use"
echo "$out"
grep -q "port $port is in use.*--s3-port" <<<"$out"
! pgrep -f "$T/b/conf" || fail "half-started processes stay"

out=$(quickstart --nfs-prt 3 2>&1) && fail "took an unknown option"
grep -q "unknown option '--nfs-prt'" <<<"$out"
out=$("$TOP/quickstart" --dir "$T/none" --stop 2>&1) && fail "stopped nothing"
grep -q 'no such directory' <<<"$out"

if [ "$(id -u)" = 0 ] && mkdir "$T/ram" && mount -t ramfs ramfs "$T/ram" 2>/dev/null; then
    on_exit 'umount "$T/ram"'
    out=$("$TOP/quickstart" --bin "$WG_TEST_BIN" --dir "$T/ram/a" --no-install --detach --s3-port "$(free_port)" --nfs-port "$(free_port)" \
        --mount-port "$(free_port)" --s3-tls-port "$(free_port)" --brick-port "$(free_port)" 2>&1) && fail "took a directory without xattrs"
    echo "$out"
    grep "did not start: .*can't hold extended attributes" <<<"$out"
    ! pgrep -f "$T/ram/a/conf" || fail "half-started processes stay"
fi
