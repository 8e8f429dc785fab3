#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: 200 changes of gateway's and brick's graphs under NFS and S3 load, and not one wrong answer
. "$(dirname "$0")/lib.sh"
start
gw=$T/a/run/gateway.sock br=$T/a/run/brick1.sock
graph() { local sock=$1; shift; "$WG_BIN" graph "$@" --control "$sock"; }
s3curl -X PUT "$WG_S3_ENDPOINT/bkt" >/dev/null
random_file "$T/f" 300000

nfs_load() {                                 # what is written is what is read; names come and go
    local i=0
    while [ -e "$T/run" ]; do
        i=$((i + 1))
        nfs-cp "$T/f" "$(nfs_url "n$i")" >/dev/null && nfs-cat "$(nfs_url "n$i")" | cmp - "$T/f" || { echo "nfs $i" >>"$T/wrong"; return; }
        echo $i >"$T/nfs.done"
    done
}
s3_load() {
    local i=0
    while [ -e "$T/run" ]; do
        i=$((i + 1))
        { s3curl -T "$T/f" "$WG_S3_ENDPOINT/bkt/k$i" && s3curl "$WG_S3_ENDPOINT/bkt/k$i" | cmp - "$T/f" &&
            s3curl -X DELETE "$WG_S3_ENDPOINT/bkt/k$i" &&
            [ "$(s3curl "$WG_S3_ENDPOINT/bkt/k$i" -o /dev/null -w '%{http_code}' 2>/dev/null)" = 404 ]; } >/dev/null ||
            { echo "s3 $i" >>"$T/wrong"; return; }
        echo $i >"$T/s3.done"
    done
}
touch "$T/run"
nfs_load & s3_load &
on_exit 'rm -f "$T/run"; wait'

changes=0
change() { graph "$@" >/dev/null || fail "windgate graph $*"; changes=$((changes + 1)); }
for i in $(seq 20); do
    change "$gw" insert vol debug/trace --name t
    change "$br" insert vol debug/io-stats --name st
    change "$gw" insert vol performance/nl-cache --name nlc --below t
    change "$gw" set vol/t fops lookup
    change "$br" insert vol debug/trace --name u --above st
    change "$gw" set vol/nlc ttl 2s
    change "$gw" remove vol/t
    change "$br" remove vol/st
    change "$gw" remove vol/nlc
    change "$br" remove vol/u
    [ ! -e "$T/wrong" ] || fail "wrong: $(cat "$T/wrong")"
done
[ $changes = 200 ]
rm "$T/run"
wait
[ ! -e "$T/wrong" ] || fail "wrong: $(cat "$T/wrong")"
echo "beside $changes changes: $(cat "$T/nfs.done") rounds by NFS, $(cat "$T/s3.done") by S3"
for sock in "$gw" "$br"; do                  # old graphs are gone, the connections are those of before
    wait_for 20 sh -c "'$WG_BIN' graph show --control '$sock' | grep -q '; 0 graphs of before'"
done
[ "$(grep -c 'lane server .* is up' "$T/a/log/brick1.log")" = 3 ] || fail "the gateway connected again"

say "SIGHUP with other layers does the same; what can't change is refused and named"
kill -HUP "$(gateway_pid)"                   # nothing differs: what was changed by hand would stay
sed -i 's|layers = (  );|layers = ( { type = "debug/trace"; name = "fromconf"; } );|' "$T/a/conf/gateway.conf" "$T/a/conf/brick1.conf"
kill -HUP "$(gateway_pid)" "$(brick_pid)"
for sock in "$gw" "$br"; do
    wait_for 20 sh -c "'$WG_BIN' graph show --control '$sock' | grep -q fromconf"
done
sed -i "s|directory = .*|directory = \"$T/other\";|" "$T/a/conf/brick1.conf"
kill -HUP "$(brick_pid)"
wait_for 20 grep -q "option directory of store (storage/posix) can't change while it runs" "$T/a/log/brick1.log"
! graph "$br" remove vol/server 2>"$T/err" && grep -q 'must stay on top' "$T/err" || fail "that must not succeed"
! graph "$gw" remove brick1 2>"$T/err" && grep -q "can't be left out" "$T/err" || fail "that must not succeed"
nfs-cp "$T/f" "$(nfs_url last)" >/dev/null
nfs-cat "$(nfs_url last)" | cmp - "$T/f"
graph "$gw" show vol --json | grep -q '"draining":'
