#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a start goes on from whatever an interrupted one has left behind
. "$(dirname "$0")/lib.sh"
[ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
mkdir "$T/a"
try() {                                      # what was left
    say "with $1"
    start
    s3curl -X PUT "$WG_S3_ENDPOINT/bkt"
    stop >/dev/null
    rm -rf "$T/a"
    mkdir -p "$T/a"
}
"$WG_TEST_BIN" certs ca --dir "$T/a/certs" >/dev/null
try "a CA without certificates"
"$WG_TEST_BIN" certs ca --dir "$T/a/certs" >/dev/null
"$WG_TEST_BIN" certs node brick1 --dir "$T/a/certs" >/dev/null
rm "$T/a/certs/brick1.pem"
try "a key without its certificate"
mkdir -m 700 "$T/a/gateway"
"$WG_TEST_BIN" user add demo --users "$T/a/gateway/users.db" >/dev/null
try "a user whose keys nobody has noted"
