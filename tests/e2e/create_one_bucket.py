#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients make a bucket of one name at once, on either volume: URL ROUNDS DIR DIR. One of them makes it, on one volume."""
import http.client
import os
import socket
import sys
import threading
from urllib.parse import urlsplit

import s3raw

host, rounds, dirs = urlsplit(sys.argv[1]).netloc, int(sys.argv[2]), sys.argv[3:]
ON_TWO = b'<CreateBucketConfiguration><LocationConstraint>vtwo</LocationConstraint></CreateBucketConfiguration>'


def make(i, barrier, statuses):
    s = socket.create_connection(host.rsplit(':', 1), 60)
    for n in range(rounds):
        request = s3raw.request(host, 'PUT', '/race-%d' % n, body=ON_TWO if i % 2 else b'')
        barrier.wait()
        s.sendall(request)
        r = http.client.HTTPResponse(s)
        r.begin()
        r.read()
        statuses[n].append(r.status)
    s.close()


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
