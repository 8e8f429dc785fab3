#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients make a bucket of one name at once, on either volume: URL ROUNDS DIR DIR. One of them makes it, on one volume."""
import datetime
import hashlib
import hmac
import http.client
import os
import sys
import threading
from urllib.parse import urlsplit

host, rounds, dirs = urlsplit(sys.argv[1]).netloc, int(sys.argv[2]), sys.argv[3:]
ON_TWO = b'<CreateBucketConfiguration><LocationConstraint>vtwo</LocationConstraint></CreateBucketConfiguration>'


def signed(path):
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day, region = now.strftime('%Y%m%dT%H%M%SZ'), now.strftime('%Y%m%d'), os.environ['AWS_DEFAULT_REGION']
    names = 'host;x-amz-content-sha256;x-amz-date'
    canonical = 'PUT\n%s\n\nhost:%s\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:%s\n\n%s\nUNSIGNED-PAYLOAD' % (path, host, stamp, names)
    scope = '%s/%s/s3/aws4_request' % (day, region)
    key = ('AWS4' + os.environ['AWS_SECRET_ACCESS_KEY']).encode()
    text = 'AWS4-HMAC-SHA256\n%s\n%s\n%s' % (stamp, scope, hashlib.sha256(canonical.encode()).hexdigest())
    for part in (day, region, 's3', 'aws4_request', text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return {'x-amz-date': stamp, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'Authorization':
            'AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s' % (os.environ['AWS_ACCESS_KEY_ID'], scope, names, key.hex())}


def make(i, barrier, statuses):
    c = http.client.HTTPConnection(host, timeout=60)
    c.connect()
    for n in range(rounds):
        path = '/race-%d' % n
        headers = signed(path)
        barrier.wait()
        c.request('PUT', path, ON_TWO if i % 2 else b'', headers)
        r = c.getresponse()
        r.read()
        statuses[n].append(r.status)
    c.close()


clients = 6
barrier, statuses = threading.Barrier(clients), [[] for _ in range(rounds)]
threads = [threading.Thread(target=make, args=(i, barrier, statuses)) for i in range(clients)]
for t in threads:
    t.start()
for t in threads:
    t.join()
double = [n for n in range(rounds) if sum(os.path.isdir('%s/race-%d' % (d, n)) for d in dirs) != 1]
print('%d rounds; on volume one %d' % (rounds, sum(os.path.isdir('%s/race-%d' % (dirs[0], n)) for n in range(rounds))))
assert not double, 'on two volumes, or none: %s' % double
assert all(200 in s and set(s) <= {200, 409} for s in statuses), statuses
