#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: spoiled and cut requests at both doors: no crash, no leak, no 500, nothing stored is lost, connections end
. "$(dirname "$0")/lib.sh"
need python3
start
python3 "$E2E/doors_abuse.py" "${WG_TEST_SECONDS:-8}" "${WG_TEST_SEED:-$RANDOM}" "${WG_S3_ENDPOINT##*:}" "${WG_S3_TLS_ENDPOINT##*:}" \
    "$WG_NFS_PORT" "$WG_MOUNT_PORT" "$WG_EXPORT" "$(gateway_pid)"
