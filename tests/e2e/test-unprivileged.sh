#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: an appliance that an ordinary user starts works, with every file of that user
. "$(dirname "$0")/lib.sh"
need_root
need setpriv
mkdir "$T/home" && chown 65534:65534 "$T/home" && chmod 777 "$T"
cp "$WG_TEST_BIN" "$T/windgate" && chmod 755 "$T/windgate"
cp "$TOP/quickstart" "$T/quickstart"
as() { setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all env HOME="$T/home" "$@"; }
on_exit 'as "$T/quickstart" --bin "$T/windgate" --dir "$T/home/a" --stop >/dev/null 2>&1'
as "$T/quickstart" --bin "$T/windgate" --no-install --detach --dir "$T/home/a" --nfs-port "$(free_port)" --mount-port "$(free_port)" \
    --s3-port "$(free_port)" --s3-tls-port "$(free_port)" --brick-port "$(free_port)" >"$T/out" 2>&1 || { cat "$T/out"; tail -5 "$T"/home/a/log/*.log; exit 1; }
grep -q 'every file belongs to uid 65534' "$T/out"
grep -q 'self-check passed' "$T/out"
. "$T/home/a/env"
s3curl -X PUT "$WG_S3_ENDPOINT/bkt"
echo hello >"$T/f" && s3curl -T "$T/f" "$WG_S3_ENDPOINT/bkt/f"
[ "$(stat -c %u "$WG_BRICK_DIRS/bkt/f")" = 65534 ]
