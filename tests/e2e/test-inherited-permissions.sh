#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: setgid directories and default ACLs are inherited by what clients make
. "$(dirname "$0")/lib.sh"
need_client
need setfacl getfacl
start
mkdir "$WG_BRICK_DIRS/acl"
setfacl -d -m u:1234:rwx,g::r-x,o::- "$WG_BRICK_DIRS/acl" || skip "no ACLs on $T"
client -- bash -c 'set -e; cd $NFS_MNT; mkdir sg; chown 0:777 sg; chmod 2775 sg; touch sg/f; mkdir sg/d
    [ "$(stat -c %g sg/f)" = 777 ]; [ "$(stat -c %g sg/d)" = 777 ]; [ -g sg/d ]; touch acl/f; mkdir acl/d'
getfacl -p "$WG_BRICK_DIRS/acl/f" | tee "$T/acl"
grep -q '^user:1234:rwx' "$T/acl"
getfacl -p "$WG_BRICK_DIRS/acl/d" | grep '^default:user:1234:rwx' >/dev/null
