#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a file written through a mount is listed, read and ranged by S3 at once
. "$(dirname "$0")/lib.sh"
need_client
start
random_file "$T/data" 3000000
client -- bash -c 'mkdir -p $NFS_MNT/made/dir && cp $T/data $NFS_MNT/made/dir/data && mkdir $NFS_MNT/made/empty'
s3curl "$WG_S3_ENDPOINT/made/dir/data" | cmp - "$T/data"
s3curl -r 1000000-1999999 "$WG_S3_ENDPOINT/made/dir/data" | cmp - <(tail -c +1000001 "$T/data" | head -c 1000000)
s3curl "$WG_S3_ENDPOINT/made?list-type=2" >"$T/list"
grep -q '<Key>dir/data</Key>' "$T/list"
grep -q '<Size>3000000</Size>' "$T/list"
grep -q '<Key>empty/</Key>' "$T/list"
one=$(s3curl -I "$WG_S3_ENDPOINT/made/dir/data" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
client -- bash -c 'printf x | dd of=$NFS_MNT/made/dir/data bs=1 seek=100 conv=notrunc status=none'
two=$(s3curl -I "$WG_S3_ENDPOINT/made/dir/data" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
echo "ETags $one $two"
[ -n "$one" ] && [ -n "$two" ] && [ "$one" != "$two" ]
