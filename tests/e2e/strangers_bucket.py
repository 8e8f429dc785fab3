#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever one user asks of another's bucket is refused, and changes nothing: HOST:PORT, and two users' keys, ACCESS:SECRET."""
import base64
import hashlib
import re
import sys

import s3raw

host, alice, bob = sys.argv[1], sys.argv[2].split(':'), sys.argv[3].split(':')


def ask(user, *args, **kw):
    return s3raw.ask(host, *args, user=user, **kw)


assert ask(alice, 'PUT', '/alices')[0] == 200
assert ask(alice, 'PUT', '/alices/o', body=b'secret')[0] == 200
upload = re.search(rb'<UploadId>(.*?)<', ask(alice, 'POST', '/alices/mp', 'uploads')[2]).group(1).decode()
assert ask(alice, 'PUT', '/alices/mp', 'partNumber=1&uploadId=' + upload, body=b'x')[0] == 200
assert ask(bob, 'PUT', '/bobs')[0] == 200 and ask(bob, 'PUT', '/bobs/o', body=b'mine')[0] == 200
own = re.search(rb'<UploadId>(.*?)<', ask(bob, 'POST', '/bobs/mp', 'uploads')[2]).group(1).decode()
PARTS = b'<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"9dd4e461268c8034f5c8564e155c67a6"</ETag></Part></CompleteMultipartUpload>'
TAGS = b'<Tagging><TagSet/></Tagging>'
FROM = {'x_amz_copy_source': '/alices/o'}
for want, args, kw in (
        [('AccessDenied', ('GET', '/alices' + p, q), {}) for p, q in (
            ('/o', ''), ('/none', ''), ('/o', 'acl'), ('/o', 'tagging'), ('', ''), ('', 'list-type=2'), ('', 'versions'), ('', 'uploads'),
            ('', 'location'), ('', 'acl'), ('', 'versioning'), ('', 'policy'), ('/mp', 'uploadId=' + upload))] +
        [('AccessDenied', ('DELETE', '/alices' + p, q), {}) for p, q in (
            ('', ''), ('/o', ''), ('/none', ''), ('/o', 'tagging'), ('/mp', 'uploadId=' + upload))] +
        [('AccessDenied', ('PUT', '/alices/o'), {'body': b'bobs'}), ('AccessDenied', ('PUT', '/alices/new'), {}),
         ('BucketAlreadyExists', ('PUT', '/alices'), {}), ('AccessDenied', ('PUT', '/alices', 'acl'), {'x_amz_acl': 'private'}),
         ('AccessDenied', ('PUT', '/alices/o', 'tagging'), {'body': TAGS}), ('AccessDenied', ('POST', '/alices/x', 'uploads'), {}),
         ('AccessDenied', ('PUT', '/alices/mp', 'partNumber=2&uploadId=' + upload), {'body': b'y'}),
         ('AccessDenied', ('POST', '/alices/mp', 'uploadId=' + upload), {'body': PARTS}),
         ('NoSuchUpload', ('POST', '/bobs/mp', 'uploadId=' + upload), {'body': PARTS}),
         ('NoSuchUpload', ('DELETE', '/bobs/mp', 'uploadId=' + upload), {}),
         ('AccessDenied', ('PUT', '/bobs/c'), FROM), ('AccessDenied', ('PUT', '/alices/c'), {'x_amz_copy_source': '/bobs/o'}),
         ('AccessDenied', ('PUT', '/bobs/mp', 'partNumber=1&uploadId=' + own), FROM),
         ('NoSuchKey', ('PUT', '/bobs/c'), {'x_amz_copy_source': '/bobs/../alices/o'}),
         ('NoSuchKey', ('GET', '/bobs/%2e%2e/alices/o'), {}), ('NoSuchBucket', ('GET', '/.windgate/format'), {})]):
    status, code, body = ask(bob, *args, **kw)
    assert status >= 400 and code == want and b'secret' not in body, (args, kw, status, code)
DELETE = b'<Delete><Object><Key>o</Key></Object></Delete>'
status, code, body = ask(bob, 'POST', '/alices', 'delete', body=DELETE, content_md5=base64.b64encode(hashlib.md5(DELETE).digest()).decode())
assert code == 'AccessDenied' and b'<Deleted>' not in body, body
assert b'alices' not in ask(bob, 'GET', '/')[2]
assert ask(alice, 'GET', '/alices/o')[::2] == (200, b'secret')
assert ask(alice, 'POST', '/alices/mp', 'uploadId=' + upload, body=PARTS)[0] == 200
# A signature is good for what was signed.
whole = s3raw.request(host, 'GET', '/alices/o', user=alice, Connection='close')
for other in (b'DELETE /alices/o ', b'GET /alices/mp ', b'GET /alices/o?acl ', b'PUT /alices/o '):
    s = s3raw.socket.create_connection(host.rsplit(':', 1), 60)
    s.sendall(whole.replace(b'GET /alices/o ', other, 1))
    assert s.recv(65536).split()[1] == b'403', other
