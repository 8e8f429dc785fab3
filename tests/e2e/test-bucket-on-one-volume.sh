#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a bucket that many clients make at once on several volumes is made once, on one of them
. "$(dirname "$0")/lib.sh"
. "$E2E/two-bricks.sh"
two_bricks
python3 "$E2E/create_one_bucket.py" "$S3" 60 "$BRICKS/one" "$BRICKS/two"
