#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a source tree is unpacked on the mount and is the same on the brick
. "$(dirname "$0")/lib.sh"
need_client
start
mkdir -p "$T/src" && cp -r "$TOP/gateway" "$TOP/xlators" "$TOP/frontends" "$TOP/tests/unit" "$T/src"
ln -s gateway "$T/src/link"
tar -C "$T" -czf "$T/src.tar.gz" src
client -- bash -c 'cd $NFS_MNT && tar xzf $T/src.tar.gz && diff -r --no-dereference src $T/src && rm -rf src/xlators'
rm -rf "$T/src/xlators"
diff -r --no-dereference "$T/src" "$WG_BRICK_DIRS/src"
