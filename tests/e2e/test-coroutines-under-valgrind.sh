#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: coroutines, leases and locks are clean under Valgrind, which no sanitizer build can show
. "$(dirname "$0")/lib.sh"
need valgrind make gcc
[ -f "$WG_TEST_BUILD/Makefile" ] || skip "$WG_TEST_BUILD is not configured"
for t in test_co test_co_lease test_locks; do
    make -s -C "$WG_TEST_BUILD" "tests/unit/valgrind/$t" >"$T/make.log" 2>&1 || { tail "$T/make.log"; fail "$t is not built"; }
    (cd "$WG_TEST_BUILD" && valgrind -q --error-exitcode=9 --fair-sched=yes --leak-check=full --show-leak-kinds=definite \
        --errors-for-leak-kinds=definite "tests/unit/valgrind/$t") >"$T/$t.log" 2>&1 || { tail -40 "$T/$t.log"; fail "$t"; }
    grep '^100%' "$T/$t.log"
done
