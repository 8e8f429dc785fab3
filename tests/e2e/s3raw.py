# SPDX-License-Identifier: Apache-2.0
"""Signed S3 requests as bytes, for tests that send what no client library would; no dependencies.

The keys and the region are those of the environment, or user=(access key, secret key).
"""
import datetime
import hashlib
import hmac
import os
import re
import socket


def request(host, method, path, query='', body=b'', payload='UNSIGNED-PAYLOAD', user=None, **headers):
    """path and query are encoded already. An underscore in a header's name stands for a dash."""
    access, secret = user or (os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY'])
    now, region = datetime.datetime.now(datetime.timezone.utc), os.environ['AWS_DEFAULT_REGION']
    stamp, day = now.strftime('%Y%m%dT%H%M%SZ'), now.strftime('%Y%m%d')
    h = {'host': host, 'x-amz-content-sha256': payload, 'x-amz-date': stamp}
    h |= {k.lower().replace('_', '-'): v for k, v in headers.items()}
    names = ';'.join(sorted(h))
    query_text = '&'.join(sorted(q if '=' in q else q + '=' for q in query.split('&') if q))
    canonical = '\n'.join((method, path, query_text, ''.join('%s:%s\n' % (k, h[k]) for k in sorted(h)), names, payload))
    scope = '%s/%s/s3/aws4_request' % (day, region)
    text = 'AWS4-HMAC-SHA256\n%s\n%s\n%s' % (stamp, scope, hashlib.sha256(canonical.encode()).hexdigest())
    key = ('AWS4' + secret).encode()
    for part in (day, region, 's3', 'aws4_request', text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    h['authorization'] = 'AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s' % (access, scope, names, key.hex())
    head = '%s %s%s HTTP/1.1\r\n' % (method, path, '?' + query if query else '') + ''.join('%s: %s\r\n' % i for i in h.items())
    if body or method in ('PUT', 'POST'):
        head += 'content-length: %d\r\n' % len(body)
    return head.encode() + b'\r\n' + body


def ask(host, *args, **kw):
    """(status, code of the error or '', the body) of one request on a connection of its own."""
    name, port = host.rsplit(':', 1)
    s = socket.create_connection((name, int(port)), 60)
    s.sendall(request(host, *args, Connection='close', **kw))
    out = b''
    while piece := s.recv(1 << 20):
        out += piece
    s.close()
    head, _, body = out.partition(b'\r\n\r\n')
    code = re.search(rb'<Code>(\w+)</Code>', body)
    return int(head.split()[1]), code.group(1).decode() if code else '', body
