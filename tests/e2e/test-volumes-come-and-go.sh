#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: SIGHUP adds and removes a volume 10 times while another is used, and no call is lost
. "$(dirname "$0")/lib.sh"
need nfs-cat nfs-cp
[ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
WG_NFS_PORT=$(free_port)
WG_MOUNT_PORT=$WG_NFS_PORT
mkdir "$T/one" "$T/two"
# The second volume's reads take a second: one is under way when it goes.
two_volume='{ name = "two"; directory = "two"; layers = ( { type = "debug/delay"; name = "slow"; options = { fops = "read"; delay = "1s"; }; } ); }'
two_export='{ path = "/two"; volume = "two"; squash = "none"; privileged-port = false; }'
configure() {                                # with "two", or without
    cat >"$T/c.new" <<C
state = "state";
control = "control";
volumes = ( { name = "one"; directory = "one"; }${1:+, $two_volume} );
exports = ( { path = "/one"; volume = "one"; squash = "none"; privileged-port = false; }${1:+, $two_export} );
nfs = { listen = "127.0.0.1"; port = $WG_NFS_PORT; mount-port = 0; rpcbind = false; };
C
    mv "$T/c.new" "$T/c.conf"
}
configure
"$WG_TEST_BIN" gateway --config "$T/c.conf" >"$T/log" 2>&1 &
gateway=$!
on_exit 'kill $gateway 2>/dev/null; wait $gateway || tail -5 "$T/log"'
wait_for 20 "$WG_TEST_BIN" status --control "$T/control"
serves_two() { "$WG_TEST_BIN" status --control "$T/control" --json | grep -q '"/two"'; }
serves_one_only() { ! serves_two; }
url() { WG_EXPORT=/$1 nfs_url "$2"; }
seen=0                                       # on a busy machine the second may be over too soon: not in every round
under_way_or_over() {
    if "$WG_TEST_BIN" statedump --only slow --control "$T/control" | grep -q 'held=1'; then seen=$((seen + 1)); return 0; fi
    ! kill -0 "$reader" 2>/dev/null
}
random_file "$T/f" 20000

load() {                                     # on the volume that stays
    local i=0
    while [ -e "$T/run" ]; do
        i=$((i + 1))
        { nfs-cp "$T/f" "$(url one "n$i")" && nfs-cat "$(url one "n$i")" | cmp - "$T/f"; } >/dev/null ||
            { echo "round $i" >>"$T/wrong"; return; }
        echo $i >"$T/rounds"
    done
}
touch "$T/run"
load & load=$!
on_exit 'rm -f "$T/run"; wait $load || true'

for i in $(seq 10); do
    configure two
    kill -HUP $gateway
    wait_for 20 serves_two
    nfs-cp "$T/f" "$(url two "f$i")" >/dev/null
    nfs-cat "$(url two "f$i")" >"$T/copy" & reader=$!
    wait_for 20 under_way_or_over
    configure
    kill -HUP $gateway
    wait_for 20 serves_one_only
    # Its last calls are under way, but it is closed: nothing is made of it again.
    ! "$WG_TEST_BIN" graph insert two debug/trace --control "$T/control" 2>"$T/err" || fail "a closed volume was changed"
    grep -q 'closed' "$T/err" || fail "round $i: $(cat "$T/err")"
    wait $reader || fail "round $i: a read that was under way has no answer"
    cmp "$T/f" "$T/copy"
    cmp "$T/f" "$T/two/f$i"
    ! nfs-cat "$(url two "f$i")" >/dev/null 2>&1 || fail "round $i: what was removed is served"
    [ ! -e "$T/wrong" ] || fail "the other volume: $(cat "$T/wrong")"
done
[ $seen -gt 0 ] || fail "no volume went under a call"
rm "$T/run"
wait $load
[ ! -e "$T/wrong" ] || fail "the other volume: $(cat "$T/wrong")"
echo "$(cat "$T/rounds") rounds of load"
one_store() { [ "$("$WG_TEST_BIN" statedump --control "$T/control" | grep -c 'type=storage/posix')" = 1 ]; }
wait_for 20 one_store                        # the removed one's goes when its calls have ended
kill -TERM $gateway
wait $gateway
