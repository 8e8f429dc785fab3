#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a second start on the same directory finds data, users, ports and handles again
. "$(dirname "$0")/lib.sh"
start
ports="$WG_NFS_PORT $WG_MOUNT_PORT $WG_S3_ENDPOINT $WG_S3_TLS_ENDPOINT $WG_BRICK_PORTS $AWS_ACCESS_KEY_ID"
random_file "$T/file" 300000
s3curl -X PUT "$WG_S3_ENDPOINT/kept"
s3curl -T "$T/file" "$WG_S3_ENDPOINT/kept/dir/file"
stop
start_again
[ "$ports" = "$WG_NFS_PORT $WG_MOUNT_PORT $WG_S3_ENDPOINT $WG_S3_TLS_ENDPOINT $WG_BRICK_PORTS $AWS_ACCESS_KEY_ID" ]
s3curl "$WG_S3_ENDPOINT/kept/dir/file" | cmp - "$T/file"
nfs-cat "$(nfs_url kept/dir/file)" | cmp - "$T/file"
cmp "$WG_BRICK_DIRS/kept/dir/file" "$T/file"
