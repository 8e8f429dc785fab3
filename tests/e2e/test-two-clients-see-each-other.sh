#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: what one client closed, another that opens then sees
. "$(dirname "$0")/lib.sh"
need_client
start
mkdir "$T/sync"
one='for i in 1 2 3 4 5; do while [ ! -e $T/sync/two.$((i - 1)) ]; do sleep 0.05; done; echo "round $i" >$NFS_MNT/shared; touch $T/sync/one.$i; done'
two='for i in 1 2 3 4 5; do while [ ! -e $T/sync/one.$i ]; do sleep 0.05; done; [ "$(cat $NFS_MNT/shared)" = "round $i" ] || exit 9; touch $T/sync/two.$i; done'
touch "$T/sync/two.0"
client -- bash -c "$one" & a=$!
client -- bash -c "$two" & b=$!
wait $a
wait $b
