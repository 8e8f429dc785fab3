# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Two bricks, each a volume of one gateway, over TLS; they may copy from each other. Sourced after lib.sh:
#
#   two_bricks [PEERS]      configures and starts all ($T/w); PEERS=none: the bricks do not know each other
#   start_one NAME          brick "one" or "two", or "gateway"; again after a kill
#   pid_of NAME             kill_one NAME: kill -9, and waits
#   dump_of NAME            the statedump, JSON
#   number WHERE KEY < JSON the sum of KEY in sections, or translators, of that name
#   $S3, $AWS_*             the S3 door; buckets bk1 (volume one) and bk2 (volume two)
#   $BRICKS/{one,two}       the bricks' directories (BRICKS=$T unless set before)
two_certs() {
    local n
    "$WG_TEST_BIN" certs ca --dir "$T/w/certs" >/dev/null
    for n in gateway one two; do "$WG_TEST_BIN" certs node "$n" --dir "$T/w/certs" >/dev/null; done
}
tls_of() { echo "tls = { certificate = \"certs/$1.pem\"; key = \"certs/$1.key\"; ca = \"certs/ca.pem\"; };"; }
brick_conf() {                               # name, port, other, its port
    cat <<C
control = "$1.sock";
$(tls_of "$1")
bricks = ( { name = "$3"; address = "127.0.0.1:$4"; volume = "v$3"; } );
brick = {
    name = "$1"; volume = "v$1"; directory = "$BRICKS/$1"; listen = "127.0.0.1:$2"; init = true;
    allow = [ "gateway" ];
    $([ "$PEERS" = none ] || echo "pull-allow = [ \"$3\" ]; peers = [ \"$3\" ];")
    ${BRICK_MORE:-}
};
C
}
gateway_conf() {                             # port of one, of two
    cat <<C
control = "gateway.sock";
state = "state";
$(tls_of gateway)
bricks = ( { name = "one"; address = "127.0.0.1:$1"; }, { name = "two"; address = "127.0.0.1:$2"; } );
volumes = ( { name = "vone"; brick = "one"; }, { name = "vtwo"; brick = "two"; } );
exports = ( { path = "/one"; volume = "vone"; squash = "none"; privileged-port = false; },
            { path = "/two"; volume = "vtwo"; squash = "none"; privileged-port = false; } );
nfs = { listen = "127.0.0.1"; port = $WG_NFS_PORT; mount-port = 0; rpcbind = false; };
s3 = { listen = "127.0.0.1"; volume = "vone"; volumes = [ "vtwo" ]; port = $1; };
C
}
start_one() {
    local kind=brick
    [ "$1" != gateway ] || kind=gateway
    "$WG_TEST_BIN" $kind --config "$T/w/$1.conf" </dev/null >>"$T/w/$1.log" 2>&1 &
    PIDS[$1]=$!
    disown $!
    wait_for 30 "$WG_TEST_BIN" status --control "$T/w/$1.sock" --timeout 1
}
declare -A PIDS
pid_of() { echo "${PIDS[$1]}"; }
kill_one() {
    kill -9 "${PIDS[$1]}" 2>/dev/null || true
    while kill -0 "${PIDS[$1]}" 2>/dev/null; do sleep 0.02; done
}
stop_two() {
    local n
    for n in gateway one two; do [ -z "${PIDS[$n]:-}" ] || kill "${PIDS[$n]}" 2>/dev/null || true; done
    for n in gateway one two; do
        for _ in $(seq 200); do kill -0 "${PIDS[$n]:-0}" 2>/dev/null || break; sleep 0.05; done
        [ -z "${PIDS[$n]:-}" ] || kill -9 "${PIDS[$n]}" 2>/dev/null || true
    done
}
dump_of() { "$WG_TEST_BIN" statedump --control "$T/w/$1.sock" --json; }
# The sum of all numbers under KEY in the JSON's objects named like WHERE ("" is anywhere).
number() {
    python3 -c '
import json, sys
where, key = sys.argv[1], sys.argv[2]
def walk(x, inside):
    n = 0
    if isinstance(x, dict):
        here = inside or x.get("name") == where or x.get("type") == where
        for k, v in x.items():
            if k == key and here and isinstance(v, (int, float)): n += v
            else: n += walk(v, here or k == where)
    elif isinstance(x, list):
        n += sum(walk(v, inside) for v in x)
    return n
print(walk(json.load(sys.stdin), where == ""))' "$1" "$2"
}
two_bricks() {
    PEERS=${1:-both}
    [ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
    need curl python3
    BRICKS=${BRICKS:-$T}
    mkdir -p "$T/w" "$BRICKS/one" "$BRICKS/two"
    WG_NFS_PORT=$(free_port) WG_MOUNT_PORT=$WG_NFS_PORT
    local one two s3
    one=$(free_port) two=$(free_port) s3=$(free_port)
    two_certs
    brick_conf one "$one" two "$two" >"$T/w/one.conf"
    brick_conf two "$two" one "$one" >"$T/w/two.conf"
    gateway_conf "$one" "$two" | sed "s/port = $one; };\$/port = $s3; };/" >"$T/w/gateway.conf"
    eval "$("$WG_TEST_BIN" user add u --uid 0 --gid 0 --config "$T/w/gateway.conf" 2>/dev/null |
        sed -n 's/^access key */AWS_ACCESS_KEY_ID=/p;s/^secret key */AWS_SECRET_ACCESS_KEY=/p')" || fail "no user"
    AWS_DEFAULT_REGION=us-east-1
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION
    S3=http://127.0.0.1:$s3
    on_exit 'if [ "$status" != 0 ] && [ "$status" != 77 ]; then tail -n 15 "$T"/w/*.log; fi; stop_two'
    start_one one
    start_one two
    start_one gateway
    s3curl -X PUT "$S3/bk1"
    s3curl -X PUT "$S3/bk2" -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" -d '<CreateBucketConfiguration><LocationConstraint>vtwo</LocationConstraint></CreateBucketConfiguration>'
    [ -d "$BRICKS/one/bk1" ] && [ -d "$BRICKS/two/bk2" ] || fail "a bucket is not where it was to be"
}
copy() { s3curl -X PUT -H "x-amz-copy-source: /$1" "$S3/$2"; }  # from, to
