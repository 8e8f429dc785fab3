#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: users, edges of lists, multipart checksums, tags and ACLs are as AWS has them, over http
. "$(dirname "$0")/lib.sh"
start
WG_S3=$WG_S3_ENDPOINT
. "$E2E/s3-details-work"
