#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: every S3 operation answers boto3 over http as AWS does, and agrees with NFS
. "$(dirname "$0")/lib.sh"
need_boto3
start
"$PYTHON3" "$E2E/s3_operations.py" --endpoint "$WG_S3_ENDPOINT" --uid "$(id -u)" \
    --nfs-port "$WG_NFS_PORT" --mount-port "$WG_MOUNT_PORT" --export "$WG_EXPORT"
