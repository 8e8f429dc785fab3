#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a copy onto a full brick is 507, nothing of it shows, its space comes back; sparse files of 4.5 GiB stay sparse
. "$(dirname "$0")/lib.sh"
. "$E2E/two-bricks.sh"
need_root
need mkfs.ext4
truncate -s 200M "$T/disk"
mkfs.ext4 -q -F "$T/disk"
mkdir -p "$T/two"
mount -o loop "$T/disk" "$T/two" 2>"$T/err" || skip "can't mount a loop device: $(cat "$T/err")"
on_exit 'umount -l "$T/two"'
BRICK_MORE='tune = { posix = { replaced-keep = "0s"; }; };'
two_bricks
free() { df --output=avail -k "$T/two" | tail -1; }
random_file "$T/big" 250000000
random_file "$T/small" 30000000
s3curl -T "$T/big" "$S3/bk1/big"
s3curl -T "$T/small" "$S3/bk1/small"
copy bk1/small bk2/k >/dev/null
before=$(free)
for i in 1 2 3; do
    status=$(s3curl -o "$T/answer" -w '%{http_code}' -X PUT -H "x-amz-copy-source: /bk1/big" "$S3/bk2/k" 2>/dev/null) || true
    [ "$status" = 507 ] || { cat "$T/answer"; fail "status $status"; }
done
s3curl "$S3/bk2/k" | cmp - "$T/small"
ls -a "$T/two/bk2" | grep -qx k && [ "$(find "$T/two/bk2" -type f | wc -l)" = 1 ]
back() { [ "$(free)" -ge $((before - 2000)) ]; }
wait_for 30 back
say "a brick that becomes full in the middle"
random_file "$T/mid" 70000000
s3curl -T "$T/mid" "$S3/bk1/mid"
pids=()
for i in 1 2 3; do
    (s3curl -o /dev/null -w '%{http_code}\n' -X PUT -H "x-amz-copy-source: /bk1/mid" "$S3/bk2/m$i" >"$T/status$i" 2>/dev/null || true) &
    pids+=($!)
done
wait "${pids[@]}"
cat "$T"/status?
[ "$(grep -cx 507 "$T"/status? | grep -c :1)" -gt 0 ] && ! grep -vhxE '200|507' "$T"/status?
for i in 1 2 3; do
    if grep -q 200 "$T/status$i"; then
        cmp "$T/mid" "$T/two/bk2/m$i" && s3curl -X DELETE "$S3/bk2/m$i"
    else
        [ ! -e "$T/two/bk2/m$i" ]
    fi
done
wait_for 30 back
copy bk1/mid bk2/mid >/dev/null && cmp "$T/mid" "$T/two/bk2/mid"
copy bk1/small bk2/again >/dev/null && cmp "$T/small" "$T/two/bk2/again"

say "4.5 GiB, of which 2 MiB are not holes"
truncate -s 4608M "$T/one/bk1/sparse"
head -c 1000000 /dev/urandom | tee "$T/piece" | dd of="$T/one/bk1/sparse" conv=notrunc bs=64K status=none
dd if="$T/piece" of="$T/one/bk1/sparse" conv=notrunc bs=64K seek=$((4400 << 4)) status=none
copy bk1/sparse bk2/sparse >/dev/null
[ "$(stat -c %s "$T/two/bk2/sparse")" = $((4608 << 20)) ]
[ "$(stat -c %b "$T/two/bk2/sparse")" -lt 16384 ]
for at in 0 $((4400 << 4)); do
    cmp -n 1000000 -i "$((at << 16)):0" "$T/two/bk2/sparse" "$T/piece"
done
[ "$(dump_of gateway | number s3 bytes-copied-through-gateway)" = 0 ]
