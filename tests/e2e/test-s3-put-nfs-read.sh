#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: an object put by S3 is a plain file of the user's, read by a kernel's mount
. "$(dirname "$0")/lib.sh"
need_client
start
random_file "$T/small" 1000
random_file "$T/big" 20000000
s3curl -X PUT "$WG_S3_ENDPOINT/bucket"
s3curl -T "$T/small" "$WG_S3_ENDPOINT/bucket/a/b/small"
s3curl -T "$T/big" --cacert "$WG_CA" "$WG_S3_TLS_ENDPOINT/bucket/big"
[ "$(stat -c %u:%g "$WG_BRICK_DIRS/bucket/a/b/small")" = "$(id -u):$(id -g)" ]
client -- bash -c 'cmp $T/small $NFS_MNT/bucket/a/b/small && cmp $T/big $NFS_MNT/bucket/big'
