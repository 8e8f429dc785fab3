#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: every NFSv3 procedure does what RFC 1813 says, through gateway, TLS and brick
. "$(dirname "$0")/lib.sh"
need_root
need python3
start
python3 "$E2E/nfs_procedures.py" --nfs-port "$WG_NFS_PORT" --mount-port "$WG_MOUNT_PORT" --export "$WG_EXPORT"
