#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a copy through a mount survives kill -9 and restart of the gateway, byte for byte
. "$(dirname "$0")/lib.sh"
need_client
start
random_file "$T/data" 150000000
client -- bash -c 'for i in 1 2 3 4 5 6; do cp $T/data $NFS_MNT/copy$i; done; sync; touch $T/done; echo 3 >/proc/sys/vm/drop_caches; for i in 1 2 3 4 5 6; do cmp $T/data $NFS_MNT/copy$i || exit 9; done' & c=$!
wait_for 60 test -s "$WG_BRICK_DIRS/copy1"
kills=0
while kill -0 $c 2>/dev/null && [ $kills -lt 4 ]; do
    kill -9 "$(gateway_pid)"
    sleep 0.5
    start_gateway
    kills=$((kills + 1))
    say "gateway killed and started, $kills"
    sleep 1
done
wait $c
[ $kills -gt 1 ]
for i in 1 2 3 4 5 6; do cmp "$T/data" "$WG_BRICK_DIRS/copy$i"; done
