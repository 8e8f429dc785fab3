#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: the source tarball holds every file of the repository
. "$(dirname "$0")/lib.sh"
need git make
[ -e "$WG_TEST_BUILD/Makefile" ] || skip "$WG_TEST_BUILD is no build directory"
git -C "$TOP" rev-parse --is-inside-work-tree >/dev/null 2>&1 || skip "this is no git work tree"
export MAKEFLAGS=
make -C "$WG_TEST_BUILD" distdir distdir="$T/dist" >"$T/log" 2>&1 || { tail -5 "$T/log"; fail "make distdir"; }
git -C "$TOP" ls-files | grep -vE '^(\.ci/|\.git)' | while read -r f; do
    [ -e "$TOP/$f" ] || continue             # removed and not committed yet
    [ -e "$T/dist/$f" ] || echo "$f"
done >"$T/missing"
cat "$T/missing"
[ ! -s "$T/missing" ] || fail "files that the tarball leaves out"
