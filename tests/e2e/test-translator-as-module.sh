#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: the translator of the guide, built outside the tree against installed headers, works as a module
. "$(dirname "$0")/lib.sh"
need make cc pkg-config nfs-cp
[ -e "$WG_TEST_BUILD/Makefile" ] || skip "$WG_TEST_BUILD is no build directory"
make -s -C "$WG_TEST_BUILD" DESTDIR="$T/root" install-pkgincludeHEADERS install-pkgconfigDATA >/dev/null
pc=$(dirname "$(find "$T/root" -name windgate-xlator.pc)")
export PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$T/root
mkdir -p "$T/mine" "$T/modules/features" "$T/old/features"
cp "$TOP"/docs/examples/{seal,limit}.c "$T/mine"
# shellcheck disable=SC2046
build() { cc -std=gnu17 -Wall -Wextra -Werror -O2 -fPIC -shared $(pkg-config --cflags windgate-xlator) "$@"; }
build -o "$T/modules/features/seal.so" "$T/mine/seal.c"
build -o "$T/modules/features/limit.so" "$T/mine/limit.c"
nfs=$(free_port)
"$WG_TEST_BIN" serve "$T/dir" --listen 127.0.0.1 --nfs-port "$nfs" --mount-port 0 --no-s3 --any-port --squash none \
    --module-path "$T/modules" --layer features/seal:after=1h --control "$T/c" >"$T/out" 2>&1 &
on_exit 'kill $(jobs -p) 2>/dev/null; wait'
wait_for 20 "$WG_TEST_BIN" status --control "$T/c"
WG_NFS_PORT=$nfs WG_MOUNT_PORT=$nfs WG_EXPORT=/data
random_file "$T/f" 10000
nfs-cp "$T/f" "$(nfs_url new)" >/dev/null
cmp "$T/f" "$T/dir/new"
"$WG_TEST_BIN" graph set seal after 1d --control "$T/c"
"$WG_TEST_BIN" graph remove seal --control "$T/c"
"$WG_TEST_BIN" graph insert data features/seal after=2h --control "$T/c"
"$WG_TEST_BIN" graph show --control "$T/c" | grep -q '"after" "2h"'
! "$WG_TEST_BIN" graph set seal aftr 1d --control "$T/c" 2>"$T/err" && grep -q "nearest is 'after'" "$T/err" || fail "that must not succeed"

"$WG_TEST_BIN" graph insert data features/limit rate=1 burst=1 --control "$T/c"
nfs-cat "$(nfs_url new)" >"$T/copy" & reader=$!
waits() { "$WG_TEST_BIN" statedump --only limit --control "$T/c" | grep -q 'waiting=[1-9]'; }
wait_for 20 waits
"$WG_TEST_BIN" graph remove limit --control "$T/c"
wait $reader
cmp "$T/f" "$T/copy"

say "a type names a file of a module directory and nothing else"
mkdir -p "$T/modules/features/sub"
cp "$T/modules/features/seal.so" "$T/modules/features/sub/"
cp "$T/modules/features/seal.so" "$T/modules/"
for type in features/../features/seal ./seal ../modules/features/seal "$T/modules/features/seal" features//seal features/seal.so \
    /features/seal features/ /seal 'features\\/seal' features/sub/seal; do
    ! timeout 20 "$WG_TEST_BIN" serve "$T/dir2" --no-s3 --module-path "$T/modules" --layer "$type" 2>"$T/err" || fail "$type was taken"
    [ "$(wc -l <"$T/err")" = 1 ] && grep -q 'no translator' "$T/err" || { cat "$T/err"; fail "$type: what it says"; }
done
say "a module of another version is refused in one line"
sed 's/^WG_MODULE(seal);/const struct wg_module wg_module = { WG_MODULE_ABI + 1, WG_MODULE_LAYOUT, \&seal };/' "$T/mine/seal.c" >"$T/mine/old.c"
build -Wno-missing-declarations -o "$T/old/features/seal.so" "$T/mine/old.c"
! "$WG_TEST_BIN" serve "$T/dir2" --no-s3 --module-path "$T/old" --layer features/seal 2>"$T/err" || fail "that must not succeed"
[ "$(wc -l <"$T/err")" = 1 ] && grep -q 'build it again' "$T/err"
