#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: aws-cli makes buckets, copies up and down, lists, syncs and removes over https
. "$(dirname "$0")/lib.sh"
start
WG_S3=$WG_S3_TLS_ENDPOINT
. "$E2E/aws-cli-work"
