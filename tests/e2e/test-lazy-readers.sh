#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: S3 GETs and NFS READs whose clients never read: memory is bounded, and given back when they go
. "$(dirname "$0")/lib.sh"
need python3
export ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=1     # which else looks like memory that is kept
start
random_file "$T/big" 67108864
s3curl -X PUT "$WG_S3_ENDPOINT/bucket"
s3curl -T "$T/big" "$WG_S3_ENDPOINT/bucket/big"
url=$(python3 - "$WG_S3_ENDPOINT/bucket/big" <<'P'
import datetime, hashlib, hmac, os, sys
from urllib.parse import quote, urlsplit
u, now = urlsplit(sys.argv[1]), datetime.datetime.now(datetime.timezone.utc)
day, stamp = now.strftime('%Y%m%d'), now.strftime('%Y%m%dT%H%M%SZ')
scope = '%s/%s/s3/aws4_request' % (day, os.environ['AWS_DEFAULT_REGION'])
query = '&'.join('X-Amz-%s=%s' % (k, quote(v, safe='')) for k, v in (
    ('Algorithm', 'AWS4-HMAC-SHA256'), ('Credential', os.environ['AWS_ACCESS_KEY_ID'] + '/' + scope), ('Date', stamp), ('Expires', '3600'),
    ('SignedHeaders', 'host')))
canonical = 'GET\n%s\n%s\nhost:%s\n\nhost\nUNSIGNED-PAYLOAD' % (u.path, query, u.netloc)
text = 'AWS4-HMAC-SHA256\n%s\n%s\n%s' % (stamp, scope, hashlib.sha256(canonical.encode()).hexdigest())
key = ('AWS4' + os.environ['AWS_SECRET_ACCESS_KEY']).encode()
for part in (day, os.environ['AWS_DEFAULT_REGION'], 's3', 'aws4_request', text):
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
print('%s?%s&X-Amz-Signature=%s' % (sys.argv[1], query, key.hex()))
P
)
python3 "$E2E/lazy_readers.py" "$(gateway_pid)" "$WG_NFS_PORT" "$WG_MOUNT_PORT" "$WG_EXPORT" "$url" bucket/big
s3curl "$WG_S3_ENDPOINT/bucket/big" | cmp - "$T/big"
