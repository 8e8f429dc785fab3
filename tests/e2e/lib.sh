# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What end-to-end tests share. A test is a script of its own, tests/e2e/test-NAME.sh, that begins
#
#     #!/usr/bin/env bash
#     # SPDX-License-Identifier: Apache-2.0
#     # test: a sentence that says what holds
#     . "$(dirname "$0")/lib.sh"
#
# and ends with status 0; a command that fails, fails the test (set -e). It runs alone as well:
# tests/e2e/test-NAME.sh uses build-tests/windgate, or $WG_TEST_BIN.
#
#   skip WHY...             ends the test as skipped
#   fail WHY...             ends it as failed
#   need_root, need TOOL..  skip unless
#   on_exit CMD             run at the end, last registered first
#   wait_for SECONDS CMD..  until CMD succeeds
#   free_port               prints a TCP port that nobody uses
#   start [OPTION]..        an appliance in $T/a on free ports (quickstart --detach); sets WG_*, AWS_*
#   stop, start_again       quickstart --stop; the same appliance again
#   brick_pid, gateway_pid  of this moment
#   start_gateway, start_brick  after a kill
#   second_gateway          another gateway over the appliance's brick; sets nfs2, mount2, http2, https2, second (its pid)
#   client [OPTION].. -- CMD..  CMD in a Linux kernel that has the export mounted at $NFS_MNT
#   s3curl ARGS..           curl with a signature
#   $T                      a directory of the test, removed at the end
set -euo pipefail
shopt -s inherit_errexit
# What the caller has set for other servers is not for these.
unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

E2E=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
TOP=$(readlink -e "$E2E/../..")
WG_TEST_BUILD=${WG_TEST_BUILD:-$TOP/build-tests}
WG_TEST_BIN=${WG_TEST_BIN:-$WG_TEST_BUILD/windgate}
T=$(mktemp -d "${TMPDIR:-/tmp}/wg-test.XXXXXX")
chmod 755 "$T"
export T

hooks=()
on_exit() { hooks+=("$1"); }
finish() {
    local status=$? i
    trap - EXIT
    set +e
    for ((i = ${#hooks[@]} - 1; i >= 0; i--)); do eval "${hooks[i]}"; done
    if grep -qsE 'ERROR:|runtime error:|SUMMARY:' "$T"/sanitizer.*; then
        echo "--- a sanitizer complained:"
        head -n 60 "$T"/sanitizer.*
        [ $status != 0 ] || status=1
    fi
    if [ $status != 0 ] && [ $status != 77 ]; then
        for i in "$T"/a/log/gateway.log "$T"/a/log/brick1.log; do
            [ ! -s "$i" ] || { echo "--- the end of $i:"; tail -n 15 "$i"; }
        done
    fi
    if [ -n "${WG_TEST_KEEP:-}" ]; then echo "kept: $T"; else rm -rf "$T"; fi
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'echo "line $LINENO: \"$BASH_COMMAND\" failed with $?"' ERR

skip() { trap - ERR; echo "skip: $*"; exit 77; }
fail() { trap - ERR; echo "FAILED: $*"; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }
need() { local t; for t; do command -v "$t" >/dev/null || skip "$t is not installed"; done; }
say() { printf '%s %s\n' "$(date +%T.%3N)" "$*"; }

wait_for() {
    local end=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $end ] || { echo "waited in vain for: $*"; return 1; }
        sleep 0.1
    done
}

free_port() {                                # below the range that the kernel gives to clients
    local p
    while :; do
        p=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break
    done
    echo $p
}

# --- an appliance ------------------------------------------------------------------------------
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}:log_path=$T/sanitizer" \
    UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}:log_path=$T/sanitizer" \
    LSAN_OPTIONS="${LSAN_OPTIONS:-suppressions=$TOP/tests/lsan.supp:print_suppressions=0}"

quickstart() { "$TOP/quickstart" --bin "$WG_TEST_BIN" --dir "$T/a" --no-install "$@"; }
load_env() { . "$T/a/env"; }
start() {
    [ -x "$WG_TEST_BIN" ] || skip "$WG_TEST_BIN is not built"
    need curl nfs-cat
    on_exit 'stop >/dev/null 2>&1'
    quickstart --detach --no-check --nfs-port "$(free_port)" --mount-port "$(free_port)" --s3-port "$(free_port)" \
        --s3-tls-port "$(free_port)" --brick-port "$(free_port)" "$@" >"$T/quickstart.log" 2>&1 ||
        { cat "$T/quickstart.log"; fail "the appliance did not start"; }
    load_env
}
stop() { "$TOP/quickstart" --bin "$WG_TEST_BIN" --dir "$T/a" --stop; }
start_again() { quickstart --detach --no-check >"$T/quickstart.log" 2>&1 || { cat "$T/quickstart.log"; return 1; }; load_env; }
json_number() { sed -n "s/.*\"$1\":[^0-9]*\([0-9]*\).*/\1/p" | head -1; }
gateway_pid() { "$WG_BIN" status --control "$T/a/run/gateway.sock" --json | json_number pid; }
brick_pid() { "$WG_BIN" status --control "$T/a/run/brick1.sock" --json | json_number pid; }
start_daemon() {                             # gateway or brick, after it was killed
    local name=$1
    [ "$name" = gateway ] || name=brick1
    setsid "$WG_BIN" "$1" --config "$T/a/conf/$name.conf" </dev/null >>"$T/a/log/$name.log" 2>&1 &
    disown $!
    wait_for 30 "$WG_BIN" status --control "$T/a/run/$name.sock" --timeout 1
}
start_gateway() { start_daemon gateway; }
start_brick() { start_daemon brick; }
second_gateway() {                           # a machine of its own but for the certificate; handles are alike, by their key
    nfs2=$(free_port) mount2=$(free_port) http2=$(free_port) https2=$(free_port)
    mkdir "$T/state2"
    cp -p "$T"/a/gateway/{handle.key,users.db,users.db.key} "$T/state2/"
    sed -e "s|/run/gateway.sock|/run/gateway2.sock|; s|/log/gateway.log|/log/gateway2.log|; s|state = .*|state = \"$T/state2\";|" \
        -e "s| port = $WG_NFS_PORT;| port = $nfs2;|; s|mount-port = .*|mount-port = $mount2;|" \
        -e "s| port = ${WG_S3_ENDPOINT##*:};| port = $http2;|; s|tls-port = .*|tls-port = $https2;|" \
        "$T/a/conf/gateway.conf" >"$T/a/conf/gateway2.conf"
    "$WG_BIN" gateway --config "$T/a/conf/gateway2.conf" >"$T/gateway2.out" 2>&1 &
    second=$!
    on_exit "kill $second 2>/dev/null; wait $second || true"
    wait_for 30 "$WG_BIN" status --control "$T/a/run/gateway2.sock" --timeout 1
}

# --- clients -------------------------------------------------------------------------------------
need_client() {
    need_root
    [ -x /usr/bin/linux.uml ] || skip "user-mode-linux is not installed"
    [ -c /dev/net/tun ] || skip "there is no /dev/net/tun"
    need mount.nfs busybox ip unshare
}
client() {                                   # [run-in-client's options] -- command
    local options=()
    while [ "${1:-}" != -- ]; do options+=("$1"); shift; done
    shift
    # The client's own programs must not write sanitizer logs of ours.
    env -u ASAN_OPTIONS -u UBSAN_OPTIONS -u LSAN_OPTIONS "$TOP/tests/nfs-client/run-in-client" --timeout "${CLIENT_TIMEOUT:-200}" \
        --share "$T" --mount "127.0.0.1:$WG_EXPORT,port=$WG_NFS_PORT,mountport=$WG_MOUNT_PORT${CLIENT_MOUNT_OPTIONS:-}" \
        ${options[@]+"${options[@]}"} -- "$@"
}
s3curl() {
    curl -sS --fail-with-body --noproxy '*' --max-time 60 --aws-sigv4 "aws:amz:$AWS_DEFAULT_REGION:s3" \
        -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "$@"
}
nfs_url() { echo "nfs://127.0.0.1$WG_EXPORT/$1?nfsport=$WG_NFS_PORT&mountport=$WG_MOUNT_PORT&uid=0&gid=0"; }
aws_cli() {                                  # today's aws-cli, at the endpoint of $WG_S3 (default http)
    local aws=$WG_TEST_BUILD/venv/bin/aws
    [ -x "$aws" ] || aws=$(command -v aws) || skip "aws-cli is not installed"
    AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CA_BUNDLE=$WG_CA \
        "$aws" --endpoint-url "${WG_S3:-$WG_S3_ENDPOINT}" "$@"
}
need_boto3() {                               # sets PYTHON3 to one that has boto3
    for PYTHON3 in "$WG_TEST_BUILD/venv/bin/python" python3 /usr/bin/python3; do
        "$PYTHON3" -c 'import boto3' 2>/dev/null && return 0
    done
    skip "python has no boto3"
}
random_file() { head -c "$2" /dev/urandom >"$1"; }
