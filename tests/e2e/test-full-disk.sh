#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a full disk is NOSPC to NFS and 507 to S3, and everything works again when space returns
. "$(dirname "$0")/lib.sh"
need_root
need mkfs.ext4
truncate -s 300M "$T/disk"
mkfs.ext4 -q -F "$T/disk"
mkdir -p "$T/a/brick1"
mount -o loop "$T/disk" "$T/a/brick1" 2>"$T/err" || skip "can't mount a loop device: $(cat "$T/err")"
on_exit 'umount -l "$T/a/brick1"'
start
s3curl -X PUT "$WG_S3_ENDPOINT/bucket"
random_file "$T/f" 20000000
cp "$T/f" "$T/kept" && s3curl -T "$T/kept" "$WG_S3_ENDPOINT/bucket/kept"
for i in $(seq 20); do
    status=$(s3curl -o "$T/answer" -w '%{http_code}' -T "$T/f" "$WG_S3_ENDPOINT/bucket/f$i" 2>/dev/null) || break
done
cat "$T/answer"
[ "$status" = 507 ]
! s3curl -I "$WG_S3_ENDPOINT/bucket/f$i" >/dev/null 2>&1 || fail "that must not succeed"
python3 - "$E2E" "$WG_NFS_PORT" "$WG_MOUNT_PORT" "$WG_EXPORT" <<'P'
import sys
sys.path.insert(0, sys.argv[1])
import nfs3
m = nfs3.Mount('127.0.0.1', int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
try:
    fh = m.create(m.root, b'big')
    for i in range(40):
        m.write(fh, i << 20, bytes(1 << 20))
        m.commit(fh)
    sys.exit('the disk did not fill')
except nfs3.NfsError as e:
    assert e.status == nfs3.NOSPC, e
    print('NFS3ERR_NOSPC')
P
s3curl "$WG_S3_ENDPOINT/bucket/kept" | cmp - "$T/kept"
for i in $(seq 20); do s3curl -X DELETE "$WG_S3_ENDPOINT/bucket/f$i" >/dev/null; done
s3curl -T "$T/f" "$WG_S3_ENDPOINT/bucket/again"
s3curl "$WG_S3_ENDPOINT/bucket/again" | cmp - "$T/f"
