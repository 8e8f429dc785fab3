#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: each mistake in a configuration is one line with file and line, and names the nearest setting
. "$(dirname "$0")/lib.sh"
[ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
bad() {                                      # expected message, text
    printf '%s\n' "$2" >"$T/c.conf"
    if out=$("$WG_TEST_BIN" check-config --config "$T/c.conf" 2>&1); then fail "accepted: $2"; fi
    grep -qF -- "$1" <<<"$out" || { echo "$out"; fail "no '$1' for: $2"; }
}
good='state = "s"; s3 = { enabled = false; }; volumes = ( { name = "v"; directory = "d"; } );'
printf '%s\n' "$good" >"$T/c.conf" && "$WG_TEST_BIN" check-config --config "$T/c.conf"
bad "c.conf:2: unknown setting 'prt' in nfs (did you mean 'port'?)" "$good
nfs = { prt = 1; };"
bad "c.conf:1: unknown setting 'volume' (did you mean 'volumes'?)" "volume = 1; $good"
bad "c.conf:2: nfs.port must be from 0 to 65535, not 70000" "$good
nfs = { port = 70000; };"
bad "c.conf:3: nfs.rpcbind must be true or false" "$good
nfs = {
rpcbind = 1; };"
bad "c.conf:2: export /x: there is no volume 'w'" "$good
exports = ( { path = \"/x\"; volume = \"w\"; } );"
bad "c.conf:1: syntax error" 'a b c'
bad "has no end" 'a = "b'
bad "nested more than" "a = $(printf '(%.0s' {1..50})"
bad "drain must be a time" "$good drain = \"soon\";"
bad "no translator 'posx' (did you mean 'posix'?)" 'state = "s"; s3 = { enabled = false; }; volumes = ( { name = "v"; directory = "d"; tune = { posx = { a = 1; }; }; } );'
bad "storage/posix has no option 'replaced-kep' (did you mean 'replaced-keep'?)" 'state = "s"; s3 = { enabled = false; }; volumes = ( { name = "v"; directory = "d"; tune = { posix = { replaced-kep = 1; }; }; } );'
bad "c.conf:2: replaced-keep of storage/posix takes a time" 'state = "s"; s3 = { enabled = false; }; volumes = ( { name = "v"; directory = "d"; tune = { posix = {
replaced-keep = "long"; }; }; } );'
layered() { echo "state = \"s\"; s3 = { enabled = false; }; volumes = ( { name = \"v\"; directory = \"d\"; layers = ($1
); } );"; }
bad "c.conf:2: no translator 'performance/io-thread' (did you mean 'performance/io-threads'?)" "$(layered '
{ type = "performance/io-thread"; }')"
bad "c.conf:3: performance/io-threads has no option 'thread' (did you mean 'threads'?)" "$(layered '
{ type = "performance/io-threads"; options = {
thread = 3; }; }')"
bad "threads of performance/io-threads takes a whole number from" "$(layered '{ type = "io-threads"; options = { threads = "many"; }; }')"
bad "there are two translators 'store'" "$(layered '{ type = "io-threads"; name = "store"; }')"
bad "storage/posix can't be a layer" "$(layered '{ type = "posix"; }')"
bad "unknown setting 'nam' in a layer (did you mean 'name'?)" "$(layered '{ type = "io-threads"; nam = "n"; }')"
layered '{ type = "io-threads"; name = "upper"; options = { threads = 3; }; }, { type = "io-threads"; }' >"$T/c.conf"
"$WG_TEST_BIN" check-config --config "$T/c.conf"
"$WG_TEST_BIN" graph --config "$T/c.conf" | tr '\n' ' ' | tr -s ' ' |
    grep -F 'volume upper type performance/io-threads option threads "3" subvolumes io-threads-2 end-volume' >/dev/null
echo 'state = "s"; s3 = { enabled = false; }; volumes = ( { name = "v"; directory = "d"; tune = { posix = { init = false; }; }; } );' >"$T/c.conf"
"$WG_TEST_BIN" check-config --config "$T/c.conf"    # what the user says wins over what is generated
bad "c.conf:2: nfs.listen must be a numeric address" "$good
nfs = { listen = \"nope\"; };"
bad "c.conf:3: nfs.listen must be a numeric address" "$good
nfs = { listen = [ \"127.0.0.1\",
\"10.0.0.1:80\" ]; };"
bad "c.conf:2: exports.clients must be \"*\", an address or a network such as 10.0.0.0/8, not '10.0.0.0/99'" "$good
exports = ( { path = \"/v\"; volume = \"v\"; clients = \"10.0.0.0/99\"; } );"
bad "c.conf:2: nfs.timeout must be a time" "$good
nfs = { timeout = \"20x\"; };"
bad "c.conf:2: s3.listen must be a numeric address without port" "${good/s3 = *; \};/}
s3 = { listen = \"127.0.0.1:9000\"; };"
bad "c.conf:2: brick.listen must be host:port" "$good
brick = { name = \"b\"; volume = \"v\"; directory = \"d\"; plain = true; listen = \"nope\"; };"
bad "c.conf:2: bricks.address must be host:port" "$good
bricks = ( { name = \"b\"; address = \"nope:x\"; } );"
bad "c.conf:2: volumes.id must be a UUID" "${good/volumes*/}
volumes = ( { name = \"v\"; directory = \"d\"; id = \"nope\"; } );"
bad "c.conf:2: log.level must be" "$good
log = { level = \"loud\"; };"
bad "@include is not supported" "$good
@include \"other.conf\""
bad "c.conf:2: mismatched element type" "$good
nfs = { listen = [ 1, \"a\" ]; };"
bad "c.conf:3: syntax error" "$good
nfs = { listen =
\"a\" \"b\" = 3 \"lost\"; };"
printf '%s\n' "${good/\"s\"/\"s\" /* b */ \"t\"}" >"$T/c.conf" && "$WG_TEST_BIN" check-config --config "$T/c.conf"
bad "needs certificate, key and ca in tls" 'state = "s"; s3 = { enabled = false; }; bricks = ( { name = "b"; address = "h:1"; } ); volumes = ( { name = "v"; brick = "b"; } );'
"$WG_TEST_BIN" graph --config "$T/c.conf" | grep protocol/client >/dev/null
"$WG_TEST_BIN" help --settings | grep mount-port >/dev/null
for o in "" "--directory $T/none" "--directory $T/none --certs $T/none"; do
    # shellcheck disable=SC2086              # a list of options
    ! "$WG_TEST_BIN" brick $o 2>"$T/err" || fail "brick $o"
    grep -qE '^windgate brick: --(directory|certs|allow) .*is missing' "$T/err"
done
! "$WG_TEST_BIN" gatewy 2>"$T/err" && grep -q "did you mean 'gateway'" "$T/err" || fail "that must not succeed"
! { "$WG_TEST_BIN" help --man; "$WG_TEST_BIN" user; "$WG_TEST_BIN" help --settings; } 2>&1 | grep ' $' || fail "that must not succeed"
for c in $("$WG_TEST_BIN" --help | sed -n '/^commands/,/^$/s/^  \([a-z-]*\).*/\1/p' | grep -v help | sort -u); do "$WG_TEST_BIN" "$c" --help >/dev/null; done
