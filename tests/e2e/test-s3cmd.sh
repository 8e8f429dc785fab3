#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: s3cmd puts, gets, lists, copies and removes
. "$(dirname "$0")/lib.sh"
need s3cmd
start
host=${WG_S3_ENDPOINT#http://}
s() { s3cmd -c /dev/null --no-ssl --host "$host" --host-bucket "$host" --access_key "$AWS_ACCESS_KEY_ID" --secret_key "$AWS_SECRET_ACCESS_KEY" --no-progress "$@"; }
random_file "$T/f" 100000
random_file "$T/big" 20000000
s mb s3://cmd
s put "$T/f" s3://cmd/dir/f
s put --multipart-chunk-size-mb=6 "$T/big" s3://cmd/big
s ls -r s3://cmd
s get s3://cmd/dir/f "$T/f2" && cmp "$T/f" "$T/f2"
s get s3://cmd/big "$T/big2" && cmp "$T/big" "$T/big2"
s cp s3://cmd/dir/f s3://cmd/g && s mv s3://cmd/g s3://cmd/h
s info s3://cmd/h | grep 100000 >/dev/null
s --signature-v2 get s3://cmd/h "$T/h" && cmp "$T/f" "$T/h"
s del -r -f s3://cmd && s rb s3://cmd
