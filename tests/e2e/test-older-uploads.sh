#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: unfinished uploads that an older release began are listed, completed, aborted, and go with their bucket
. "$(dirname "$0")/lib.sh"
need_boto3
start
"$PYTHON3" "$E2E/older_uploads.py" "$WG_S3_ENDPOINT" "$WG_BRICK_DIRS"
