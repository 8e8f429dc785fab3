#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Buckets of several users, edges of lists, multipart uploads and their checksums, tags, ACLs: asked
of a running server through boto3, and by signed requests that boto3 would not send.

    s3_details.py --endpoint URL [--ca FILE] [--other ACCESS:SECRET] [Test.name ...]

AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY come from the environment; --other is a second user.
"""
import argparse
import base64
import hashlib
import os
import re
import ssl
import sys
import unittest
import urllib.error
import urllib.parse
import urllib.request
import zlib

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

ARGS = None
MIB = 1 << 20


def client(access=None, secret=None, **config):
    return boto3.client('s3', endpoint_url=ARGS.endpoint, verify=ARGS.ca or None, region_name='us-east-1',
                        aws_access_key_id=access, aws_secret_access_key=secret,
                        config=Config(retries={'max_attempts': 1}, s3={'addressing_style': 'path'}, **config))


def crc64nvme(data):
    table = crc64nvme.__dict__.setdefault('table', [])
    if not table:
        for c in range(256):
            for _ in range(8):
                c = c >> 1 ^ (0x9A6C9329AC4BC9B5 if c & 1 else 0)
            table.append(c)
    crc = (1 << 64) - 1
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return base64.b64encode((crc ^ (1 << 64) - 1).to_bytes(8, 'big')).decode()


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, 'big')).decode()


class Case(unittest.TestCase):
    n = 0

    def setUp(self):
        Case.n += 1
        self.s3 = client()
        self.b = 'detail-%d-%d' % (os.getpid(), Case.n)
        self.s3.create_bucket(Bucket=self.b)

    def fails(self, code, fn, *args, **kw):
        with self.assertRaises(ClientError) as c:
            fn(*args, **kw)
        got = c.exception.response
        self.assertIn(got['Error']['Code'], code if isinstance(code, tuple) else (code,))
        return got

    def put(self, *keys, data=b'x'):
        for k in keys:
            self.s3.put_object(Bucket=self.b, Key=k, Body=data)

    def raw(self, method, path, body=b'', headers={}):
        """A request signed as it stands; (status, body, headers)."""
        r = AWSRequest(method=method, url=ARGS.endpoint + path, data=body, headers=dict(headers))
        S3SigV4Auth(Credentials(os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY']), 's3', 'us-east-1').add_auth(r)
        q = urllib.request.Request(ARGS.endpoint + path, data=body or None, method=method, headers=dict(r.headers))
        tls = ssl.create_default_context(cafile=ARGS.ca) if ARGS.ca else None
        try:
            with urllib.request.urlopen(q, context=tls) as a:
                return a.status, a.read(), a.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read(), e.headers


class Users(Case):
    def setUp(self):
        if not ARGS.other:
            self.skipTest('no second user given')
        super().setUp()
        self.other = client(*ARGS.other.split(':'))

    def test_names_are_global_and_buckets_private(self):
        self.put('k')
        self.fails('BucketAlreadyExists', self.other.create_bucket, Bucket=self.b)
        self.assertNotIn(self.b, [b['Name'] for b in self.other.list_buckets()['Buckets']])
        self.fails('403', self.other.head_bucket, Bucket=self.b)
        for fn in (self.other.list_objects_v2, self.other.list_objects, self.other.list_multipart_uploads, self.other.delete_bucket,
                   self.other.get_bucket_acl, self.other.get_bucket_location):
            self.fails('AccessDenied', fn, Bucket=self.b)
        for fn in (self.other.get_object, self.other.delete_object, self.other.create_multipart_upload, self.other.get_object_tagging):
            self.fails('AccessDenied', fn, Bucket=self.b, Key='k')
        self.fails('AccessDenied', self.other.put_object, Bucket=self.b, Key='new', Body=b'')
        r = self.other.delete_objects(Bucket=self.b, Delete={'Objects': [{'Key': 'k'}]})
        self.assertEqual(r['Errors'][0]['Code'], 'AccessDenied')
        self.s3.head_object(Bucket=self.b, Key='k')

    def test_an_upload_is_its_users(self):
        up = self.s3.create_multipart_upload(Bucket=self.b, Key='k')['UploadId']
        for fn, kw in ((self.other.abort_multipart_upload, {}), (self.other.list_parts, {}), (self.other.upload_part, {'PartNumber': 1, 'Body': b'x'})):
            self.fails('AccessDenied', fn, Bucket=self.b, Key='k', UploadId=up, **kw)
        self.s3.abort_multipart_upload(Bucket=self.b, Key='k', UploadId=up)


class Buckets(Case):
    def test_pages_of_buckets(self):
        names = sorted('%s-%d' % (self.b, i) for i in range(5))
        for n in names:
            self.s3.create_bucket(Bucket=n)
        got, kw = [], {}
        while True:
            r = self.s3.list_buckets(MaxBuckets=2, Prefix=self.b + '-', **kw)
            got += [b['Name'] for b in r['Buckets']]
            if 'ContinuationToken' not in r:
                break
            kw = {'ContinuationToken': r['ContinuationToken']}
        self.assertEqual(got, names)

    def test_locations(self):
        self.fails(('InvalidLocationConstraint', 'IllegalLocationConstraintException'), self.s3.create_bucket, Bucket=self.b + 'x',
                   CreateBucketConfiguration={'LocationConstraint': 'eu-west-1'})
        self.assertEqual(self.raw('GET', '/%s/?location' % self.b)[1].count(b'LocationConstraint'), 1)
        self.assertEqual(self.raw('PUT', '/%sy' % self.b, b'<no')[1].count(b'MalformedXML'), 1)

    def test_names_and_making_again(self):
        self.assertEqual(self.raw('PUT', '/' + self.b)[0], 200)     # us-east-1 answers so
        for name in ('a.-b', 'a-.b', 'a' * 64, 'xn--abc'):
            self.assertIn(b'<Code>InvalidBucketName<', self.raw('PUT', '/' + name)[1], name)

    def test_signatures_of_version_2(self):
        """boto signs "/bucket/" and sends "/bucket"."""
        v2 = client(signature_version='s3')
        self.put('a', 'b/c')
        self.assertEqual([o['Key'] for o in v2.list_objects_v2(Bucket=self.b)['Contents']], ['a', 'b/c'])
        self.assertEqual(v2.get_bucket_acl(Bucket=self.b)['Owner'], self.s3.get_bucket_acl(Bucket=self.b)['Owner'])
        tls = ssl.create_default_context(cafile=ARGS.ca) if ARGS.ca else None
        for op, kw in (('list_objects_v2', {}), ('head_bucket', {}), ('get_object', {'Key': 'b/c'})):
            url = v2.generate_presigned_url(op, {'Bucket': self.b, **kw}, ExpiresIn=60)
            q = urllib.request.Request(url, method='HEAD' if op == 'head_bucket' else 'GET')
            self.assertEqual(urllib.request.urlopen(q, context=tls).status, 200, op)

    def test_what_is_refused(self):
        self.fails('InvalidArgument', self.s3.put_bucket_acl, Bucket=self.b, ACL='public-ish')
        self.fails('NotImplemented', self.s3.create_bucket, Bucket=self.b + 'x', ACL='public-read')
        self.fails('NotImplemented', self.s3.put_bucket_acl, Bucket=self.b, ACL='public-read')
        self.s3.put_bucket_acl(Bucket=self.b, ACL='private')
        self.put('k')
        self.s3.put_object_acl(Bucket=self.b, Key='k', ACL='private')
        acl = self.s3.get_object_acl(Bucket=self.b, Key='k')
        self.s3.put_object_acl(Bucket=self.b, Key='k', AccessControlPolicy={'Owner': acl['Owner'], 'Grants': acl['Grants']})
        for m, q in (('PUT', 'cors'), ('PUT', 'policy'), ('PUT', 'lifecycle'), ('PUT', 'tagging'), ('PUT', 'website'), ('PUT', 'object-lock'),
                     ('GET', 'inventory'), ('GET', 'analytics'), ('PUT', 'versioning'),
                     ('PUT', 'abac'), ('GET', 'abac'), ('PUT', 'metadataInventoryTable')):
            self.assertEqual(self.raw(m, '/%s?%s' % (self.b, q), b'<x/>' if m == 'PUT' else b'')[0], 501, (m, q))
        self.assertEqual(self.raw('POST', '/%s' % self.b, b'x')[0], 501)
        self.fails('NoSuchWebsiteConfiguration', self.s3.get_bucket_website, Bucket=self.b)
        self.fails('ServerSideEncryptionConfigurationNotFoundError', self.s3.get_bucket_encryption, Bucket=self.b)
        self.fails('ReplicationConfigurationNotFoundError', self.s3.get_bucket_replication, Bucket=self.b)
        self.fails('ObjectLockConfigurationNotFoundError', self.s3.get_object_lock_configuration, Bucket=self.b)
        self.fails('NoSuchPublicAccessBlockConfiguration', self.s3.get_public_access_block, Bucket=self.b)
        self.fails('OwnershipControlsNotFoundError', self.s3.get_bucket_ownership_controls, Bucket=self.b)
        self.s3.delete_bucket_policy(Bucket=self.b)
        self.s3.delete_bucket_cors(Bucket=self.b)
        self.assertEqual(self.s3.get_bucket_request_payment(Bucket=self.b)['Payer'], 'BucketOwner')
        self.s3.get_bucket_logging(Bucket=self.b)
        self.s3.get_bucket_notification_configuration(Bucket=self.b)


class Lists(Case):
    def test_arguments_that_are_none(self):
        for q in ('max-keys=-1', 'max-keys=x', 'encoding-type=x', 'list-type=2&continuation-token=', 'list-type=2&continuation-token=%21%21%21%21',
                  'list-type=2&continuation-token=AAAA', 'versions&version-id-marker=x', 'uploads&max-uploads=x'):
            self.assertEqual(self.raw('GET', '/%s?%s' % (self.b, q))[0], 400, q)

    def test_max_keys_above_1000_is_1000(self):
        self.assertEqual(self.s3.list_objects_v2(Bucket=self.b, MaxKeys=5000)['MaxKeys'], 1000)

    def test_keys_that_xml_cannot_hold(self):
        keys = ['a\x01b', 'c\ufffd', 'd e+f&<>', 'tab\t', 'nl\n', 'cr\r']
        self.put(*keys)
        self.assertEqual(sorted(o['Key'] for o in self.s3.list_objects_v2(Bucket=self.b)['Contents']), sorted(keys))
        r = self.s3.delete_objects(Bucket=self.b, Delete={'Objects': [{'Key': k} for k in keys[1:]]})
        self.assertEqual(len(r['Deleted']), 5)

    def test_v1_marker_and_next_marker(self):
        self.put('a/1', 'a/2', 'b', 'c/1', 'd')
        r = self.s3.list_objects(Bucket=self.b, Delimiter='/', MaxKeys=1)
        self.assertEqual((r['CommonPrefixes'][0]['Prefix'], r['NextMarker'], r['IsTruncated']), ('a/', 'a/', True))
        r = self.s3.list_objects(Bucket=self.b, Delimiter='/', MaxKeys=2, Marker='a/')
        self.assertEqual(([o['Key'] for o in r['Contents']], r['CommonPrefixes'][0]['Prefix'], r['NextMarker']), (['b'], 'c/', 'c/'))
        r = self.s3.list_objects(Bucket=self.b, MaxKeys=2)
        self.assertNotIn('NextMarker', r)

    def test_versions_in_pages(self):
        keys = ['k%02d' % i for i in range(7)]
        self.put(*keys)
        got = []
        for page in self.s3.get_paginator('list_object_versions').paginate(Bucket=self.b, PaginationConfig={'PageSize': 3}):
            got += [v['Key'] for v in page['Versions']]
        self.assertEqual(got, keys)

    def test_a_thousand_and_more(self):
        import concurrent.futures
        keys = ['%04d' % i for i in range(1100)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(self.put, keys))
        r = self.s3.list_objects_v2(Bucket=self.b)
        self.assertEqual((r['KeyCount'], r['IsTruncated']), (1000, True))
        r = self.s3.list_objects_v2(Bucket=self.b, ContinuationToken=r['NextContinuationToken'])
        self.assertEqual([o['Key'] for o in r['Contents']], keys[1000:])
        r = self.s3.delete_objects(Bucket=self.b, Delete={'Quiet': True, 'Objects': [{'Key': k} for k in keys[:1000]]})
        self.assertNotIn('Deleted', r)
        self.assertEqual(self.s3.list_objects_v2(Bucket=self.b)['KeyCount'], 100)
        body = '<Delete>' + ''.join('<Object><Key>%d</Key></Object>' % i for i in range(1001)) + '</Delete>'
        self.assertIn(b'MalformedXML', self.raw('POST', '/%s?delete' % self.b, body.encode())[1])

    def test_delete_many_one_by_one(self):
        self.put('a', 'b')
        etag = self.s3.head_object(Bucket=self.b, Key='a')['ETag']
        r = self.s3.delete_objects(Bucket=self.b, Delete={'Objects': [
            {'Key': 'a', 'ETag': '"%s"' % ('0' * 32)}, {'Key': 'b', 'VersionId': 'null'}, {'Key': 'c', 'VersionId': 'other'}, {'Key': 'k' * 1025}]})
        self.assertEqual({e['Key'][:3]: e['Code'] for e in r['Errors']}, {'a': 'PreconditionFailed', 'c': 'NoSuchVersion', 'kkk': 'KeyTooLongError'})
        self.assertEqual([d['Key'] for d in r['Deleted']], ['b'])
        self.s3.delete_objects(Bucket=self.b, Delete={'Objects': [{'Key': 'a', 'ETag': etag}]})
        self.assertEqual(self.s3.list_objects_v2(Bucket=self.b)['KeyCount'], 0)


class Headers(Case):
    """What goes wrong with a request's headers, and what answers say beside their body."""

    def test_a_small_body_is_held_against_its_md5(self):
        body = b'<Delete><Object><Key>k</Key></Object></Delete>'
        self.put('k')
        md5 = lambda data: {'Content-MD5': base64.b64encode(hashlib.md5(data).digest()).decode()}
        self.assertIn(b'<Code>BadDigest<', self.raw('POST', '/%s?delete' % self.b, body, md5(b'other'))[1])
        self.assertIn(b'<Code>InvalidDigest<', self.raw('POST', '/%s?delete' % self.b, body, {'Content-MD5': 'x'})[1])
        self.assertIn(b'<Code>BadDigest<', self.raw('POST', '/%s?delete' % self.b, body, {'x-amz-checksum-crc32': crc32(b'other')})[1])
        self.s3.head_object(Bucket=self.b, Key='k')
        self.assertIn(b'<Deleted>', self.raw('POST', '/%s?delete' % self.b, body, md5(body))[1])

    def test_ranges_with_if_range(self):
        self.put('k', data=b'0123456789')
        h = self.raw('HEAD', '/%s/k' % self.b)[2]
        get = lambda cond: self.raw('GET', '/%s/k' % self.b, headers={'Range': 'bytes=2-4', 'If-Range': cond})[:2]
        for same in (h['ETag'], h['Last-Modified']):
            self.assertEqual(get(same), (206, b'234'))
        for other in ('"x"', 'W/' + h['ETag'], 'Sat, 29 Oct 1994 19:43:31 GMT', 'x'):
            self.assertEqual(get(other), (200, b'0123456789'), other)
        status, text, h = self.raw('GET', '/%s/k' % self.b, headers={'Range': 'bytes=10-'})
        self.assertEqual((status, h['Content-Range']), (416, 'bytes */10'))
        self.assertIn(b'<ActualObjectSize>10<', text)

    def test_what_a_read_can_not_mean(self):
        self.put('k')
        self.assertIn(b'<Code>InvalidRequest<', self.raw('GET', '/%s/k' % self.b, headers={'x-amz-server-side-encryption-customer-algorithm': 'AES256'})[1])
        self.assertIn(b'<Code>InvalidArgument<', self.raw('GET', '/%s/k?versionId=' % self.b)[1])
        self.assertIn(b'<Code>NoSuchVersion<', self.raw('GET', '/%s/k?versionId=x' % self.b)[1])

    def test_an_absent_source_is_named(self):
        copy = lambda src: self.raw('PUT', '/%s/to' % self.b, headers={'x-amz-copy-source': src})[1]
        self.assertIn(b'<Key>absent</Key>', copy('/%s/absent' % self.b))
        self.assertIn(b'<BucketName>%s-none</BucketName>' % self.b.encode(), copy('/%s-none/k' % self.b))
        self.assertIn(b'<Key>to</Key>', self.raw('GET', '/%s/to' % self.b)[1])


class Tags(Case):
    def test_tags_stay_beside_metadata(self):
        self.s3.put_object(Bucket=self.b, Key='k', Body=b'abc', Metadata={'m': '1'}, Tagging='a=1&b=x%20y')
        tags = lambda: {t['Key']: t['Value'] for t in self.s3.get_object_tagging(Bucket=self.b, Key='k')['TagSet']}
        etag = self.s3.head_object(Bucket=self.b, Key='k')['ETag']
        self.assertEqual(tags(), {'a': '1', 'b': 'x y'})
        self.s3.put_object_tagging(Bucket=self.b, Key='k', Tagging={'TagSet': [{'Key': 'c', 'Value': '3'}]})
        self.assertEqual(tags(), {'c': '3'})
        self.s3.delete_object_tagging(Bucket=self.b, Key='k')
        self.assertEqual(tags(), {})
        h = self.s3.head_object(Bucket=self.b, Key='k')
        self.assertEqual((h['Metadata'], h['ETag']), ({'m': '1'}, etag))
        self.fails('InvalidTag', self.s3.put_object_tagging, Bucket=self.b, Key='k', Tagging={'TagSet': [{'Key': 'c', 'Value': '3'}] * 2})
        self.fails('BadRequest', self.s3.put_object_tagging, Bucket=self.b, Key='k', Tagging={'TagSet': [{'Key': str(i), 'Value': ''} for i in range(11)]})
        self.fails('NoSuchKey', self.s3.get_object_tagging, Bucket=self.b, Key='none')

    def test_attributes(self):
        self.s3.put_object(Bucket=self.b, Key='k', Body=b'hello world')
        a = self.s3.get_object_attributes(Bucket=self.b, Key='k', ObjectAttributes=['ETag', 'Checksum', 'StorageClass', 'ObjectSize'])
        self.assertEqual((a['ETag'], a['ObjectSize'], a['StorageClass'], a['Checksum']['ChecksumCRC32']),
                         (hashlib.md5(b'hello world').hexdigest(), 11, 'STANDARD', 'DUoRhQ=='))
        self.assertEqual(self.raw('GET', '/%s/k?attributes' % self.b)[0], 400)


class Multipart(Case):
    def start(self, key='k', **kw):
        return self.s3.create_multipart_upload(Bucket=self.b, Key=key, **kw)['UploadId']

    def part(self, up, n, data, key='k', **kw):
        return self.s3.upload_part(Bucket=self.b, Key=key, UploadId=up, PartNumber=n, Body=data, **kw)

    def done(self, up, parts, key='k', **kw):
        return self.s3.complete_multipart_upload(Bucket=self.b, Key=key, UploadId=up, MultipartUpload={'Parts': parts}, **kw)

    def test_composite_checksum(self):
        data = [os.urandom(5 * MIB), os.urandom(100)]
        up = self.start(ChecksumAlgorithm='SHA256')
        parts = []
        for n, d in enumerate(data, 1):
            r = self.part(up, n, d, ChecksumAlgorithm='SHA256')
            self.assertEqual(r['ChecksumSHA256'], base64.b64encode(hashlib.sha256(d).digest()).decode())
            parts.append({'PartNumber': n, 'ETag': r['ETag'], 'ChecksumSHA256': r['ChecksumSHA256']})
        self.assertEqual([p['ChecksumSHA256'] for p in self.s3.list_parts(Bucket=self.b, Key='k', UploadId=up)['Parts']], [p['ChecksumSHA256'] for p in parts])
        want = base64.b64encode(hashlib.sha256(b''.join(hashlib.sha256(d).digest() for d in data)).digest()).decode() + '-2'
        r = self.done(up, parts)
        self.assertEqual((r['ChecksumSHA256'], r['ChecksumType']), (want, 'COMPOSITE'))
        h = self.s3.head_object(Bucket=self.b, Key='k', ChecksumMode='ENABLED')
        self.assertEqual((h['ChecksumSHA256'], h['ChecksumType']), (want, 'COMPOSITE'))
        a = self.s3.get_object_attributes(Bucket=self.b, Key='k', ObjectAttributes=['ObjectParts', 'Checksum'])
        self.assertEqual((a['ObjectParts']['TotalPartsCount'], a['Checksum']['ChecksumType']), (2, 'COMPOSITE'))

    def attributes(self, key='k', **kw):
        return self.s3.get_object_attributes(Bucket=self.b, Key=key, ObjectAttributes=['ETag', 'ObjectParts', 'Checksum', 'ObjectSize', 'StorageClass'], **kw)

    def sums(self, key='k'):
        """{algorithm: value} and type, as HEAD says; GetObjectAttributes says the same."""
        h, a = self.s3.head_object(Bucket=self.b, Key=key, ChecksumMode='ENABLED'), self.attributes(key).get('Checksum', {})
        of = lambda d: ({k[8:]: v for k, v in d.items() if k.startswith('Checksum') and k != 'ChecksumType'}, d.get('ChecksumType'))
        self.assertEqual(of(h), of(a))
        return of(h)

    def test_sums_of_single_parts_are_kept(self):
        data = [os.urandom(5 * MIB), os.urandom(5 * MIB), os.urandom(10)]
        for alg, kind in (('CRC32', 'COMPOSITE'), ('SHA1', 'COMPOSITE'), ('CRC32', 'FULL_OBJECT')):
            up = self.start(ChecksumAlgorithm=alg, ChecksumType=kind)
            sent = [self.part(up, n, d, ChecksumAlgorithm=alg) for n, d in enumerate(data, 1)]
            self.done(up, [{'PartNumber': n, 'ETag': r['ETag'], 'Checksum' + alg: r['Checksum' + alg]} for n, r in enumerate(sent, 1)], ChecksumType=kind)
            p = self.attributes()['ObjectParts']
            self.assertEqual((p['TotalPartsCount'], p['IsTruncated'], p['MaxParts'], p['PartNumberMarker']), (3, False, 1000, 0))
            self.assertEqual([(x['PartNumber'], x['Size'], x['Checksum' + alg]) for x in p['Parts']],
                             [(n, len(d), r['Checksum' + alg]) for n, (d, r) in enumerate(zip(data, sent), 1)])
            p = self.attributes(MaxParts=1, PartNumberMarker=1)['ObjectParts']
            self.assertEqual(([x['PartNumber'] for x in p['Parts']], p['IsTruncated'], p['NextPartNumberMarker'], p['PartNumberMarker']), ([2], True, 2, 1))
            p = self.attributes(PartNumberMarker=3)['ObjectParts']
            self.assertEqual((p.get('Parts', []), p['IsTruncated']), ([], False))
        self.assertEqual(self.raw('GET', '/%s/k?attributes' % self.b, headers={'x-amz-object-attributes': 'ETag', 'x-amz-max-parts': 'x'})[0], 400)

    def test_crc64nvme_is_what_there_is_without_a_checksum(self):
        quiet = client(request_checksum_calculation='when_required')
        for data in (b'', b'123456789', os.urandom(3 * MIB)):
            r = quiet.put_object(Bucket=self.b, Key='k', Body=data)
            self.assertEqual((r['ChecksumCRC64NVME'], r['ChecksumType']), (crc64nvme(data), 'FULL_OBJECT'))
            self.assertEqual(self.sums(), ({'CRC64NVME': crc64nvme(data)}, 'FULL_OBJECT'))
        data = [os.urandom(5 * MIB), os.urandom(1000)]
        self.s3.put_object(Bucket=self.b, Key='src', Body=data[0])
        whole = crc64nvme(b''.join(data))
        for send in (quiet, self.s3):            # without, and with a checksum of each part that nobody asked for
            up = self.start()
            parts = [send.upload_part(Bucket=self.b, Key='k', UploadId=up, PartNumber=n, Body=d) for n, d in enumerate(data, 1)]
            parts[0] = self.s3.upload_part_copy(Bucket=self.b, Key='k', UploadId=up, PartNumber=1, CopySource=self.b + '/src')['CopyPartResult']
            r = self.done(up, [{'PartNumber': n, 'ETag': p['ETag'], **{k: v for k, v in p.items() if k == 'ChecksumCRC32'}} for n, p in enumerate(parts, 1)])
            self.assertEqual((r['ChecksumCRC64NVME'], r['ChecksumType']), (whole, 'FULL_OBJECT'))
            self.assertEqual(self.sums(), ({'CRC64NVME': whole}, 'FULL_OBJECT'))
            self.assertNotIn('Parts', self.attributes()['ObjectParts'])

    def test_copies_get_the_checksum_asked_for(self):
        data = os.urandom(2 * MIB)
        self.s3.put_object(Bucket=self.b, Key='src', Body=data, ChecksumAlgorithm='CRC32')
        sha = base64.b64encode(hashlib.sha256(data).digest()).decode()
        copy = lambda to, **kw: self.s3.copy_object(Bucket=self.b, Key=to, CopySource=kw.pop('src', self.b + '/src'), **kw)['CopyObjectResult']
        for alg, want in (('SHA256', sha), ('CRC64NVME', crc64nvme(data)), ('CRC32', crc32(data))):
            r = copy('k', ChecksumAlgorithm=alg)
            self.assertEqual((r['Checksum' + alg], r['ChecksumType'], r['ETag']), (want, 'FULL_OBJECT', '"%s"' % hashlib.md5(data).hexdigest()))
            self.assertEqual(self.sums(), ({alg: want}, 'FULL_OBJECT'))
        self.assertEqual((copy('k')['ChecksumCRC32'], self.sums()), (crc32(data), ({'CRC32': crc32(data)}, 'FULL_OBJECT')))
        copy('src', ChecksumAlgorithm='SHA256', MetadataDirective='REPLACE')    # onto itself
        self.assertEqual(self.sums('src'), ({'SHA256': sha}, 'FULL_OBJECT'))
        self.fails('InvalidRequest', copy, 'k', ChecksumAlgorithm='CRC5')
        up = self.start('multi', ChecksumAlgorithm='SHA256')
        p = self.part(up, 1, data, 'multi', ChecksumAlgorithm='SHA256')
        self.done(up, [{'PartNumber': 1, 'ETag': p['ETag'], 'ChecksumSHA256': p['ChecksumSHA256']}], 'multi')
        self.assertEqual(self.sums('multi')[1], 'COMPOSITE')
        copy('k', src=self.b + '/multi', ChecksumAlgorithm='SHA256')
        self.assertEqual(self.sums(), ({'SHA256': sha}, 'FULL_OBJECT'))

    def test_full_object_checksum_and_one_that_is_wrong(self):
        data = [os.urandom(5 * MIB), os.urandom(5 * MIB), os.urandom(77)]
        up = self.start(ChecksumAlgorithm='CRC32', ChecksumType='FULL_OBJECT')
        parts = [{'PartNumber': n, 'ETag': self.part(up, n, d)['ETag']} for n, d in enumerate(data, 1)]
        self.fails('BadDigest', self.done, up, parts, ChecksumCRC32=crc32(b'other'), ChecksumType='FULL_OBJECT')
        r = self.done(up, parts, ChecksumCRC32=crc32(b''.join(data)), ChecksumType='FULL_OBJECT', MpuObjectSize=10 * MIB + 77)
        self.assertEqual((r['ChecksumCRC32'], r['ChecksumType']), (crc32(b''.join(data)), 'FULL_OBJECT'))
        self.assertEqual(self.s3.get_object(Bucket=self.b, Key='k', ChecksumMode='ENABLED')['Body'].read(), b''.join(data))

    def test_checksums_that_do_not_fit(self):
        self.fails('InvalidRequest', self.start, ChecksumAlgorithm='CRC64NVME', ChecksumType='COMPOSITE')
        self.fails('InvalidRequest', self.start, ChecksumAlgorithm='SHA1', ChecksumType='FULL_OBJECT')
        up = self.start(ChecksumAlgorithm='CRC64NVME')
        self.fails('InvalidRequest', self.part, up, 1, b'x', ChecksumAlgorithm='CRC32')
        up = self.start(ChecksumAlgorithm='SHA256')
        r = self.part(up, 1, b'abc', ChecksumAlgorithm='SHA256')
        self.fails('InvalidPart', self.done, up, [{'PartNumber': 1, 'ETag': r['ETag'], 'ChecksumSHA256': base64.b64encode(b'0' * 32).decode()}])
        self.fails('InvalidRequest', self.done, up, [{'PartNumber': 1, 'ETag': r['ETag']}], MpuObjectSize=4)
        self.done(up, [{'PartNumber': 1, 'ETag': r['ETag']}], MpuObjectSize=3)

    def test_completing_again_says_the_same(self):
        up = self.start(Metadata={'a': 'b'}, Tagging='t=1')
        parts = [{'PartNumber': 1, 'ETag': self.part(up, 1, b'one')['ETag']}]
        first, again = self.done(up, parts), self.done(up, parts)
        self.assertEqual(first['ETag'], again['ETag'])
        self.assertEqual(self.s3.get_object_tagging(Bucket=self.b, Key='k')['TagSet'], [{'Key': 't', 'Value': '1'}])
        self.put('k')
        self.fails('NoSuchUpload', self.done, up, parts)

    def test_conditions(self):
        self.put('k', data=b'there')
        etag = self.s3.head_object(Bucket=self.b, Key='k')['ETag']
        up = self.start()
        parts = [{'PartNumber': 1, 'ETag': self.part(up, 1, b'one')['ETag']}]
        self.fails('PreconditionFailed', self.done, up, parts, IfNoneMatch='*')
        self.fails('PreconditionFailed', self.done, up, parts, IfMatch='"%s"' % ('0' * 32))
        self.done(up, parts, IfMatch=etag)
        up = self.start('new')
        parts = [{'PartNumber': 1, 'ETag': self.part(up, 1, b'one', 'new')['ETag']}]
        self.fails('NoSuchKey', self.done, up, parts, 'new', IfMatch=etag)
        self.done(up, parts, 'new', IfNoneMatch='*')

    def test_a_part_again_replaces_it_and_numbers_may_have_gaps(self):
        up = self.start()
        self.part(up, 7, b'old')
        e = [self.part(up, 3, b'a' * 5 * MIB)['ETag'], self.part(up, 7, b'new')['ETag']]
        r = self.s3.list_parts(Bucket=self.b, Key='k', UploadId=up, MaxParts=1)
        self.assertEqual((r['IsTruncated'], r['NextPartNumberMarker'], len(r['Parts'])), (True, 3, 1))
        r = self.s3.list_parts(Bucket=self.b, Key='k', UploadId=up, PartNumberMarker=3)
        self.assertEqual([(p['PartNumber'], p['Size']) for p in r['Parts']], [(7, 3)])
        self.done(up, [{'PartNumber': 3, 'ETag': e[0]}, {'PartNumber': 7, 'ETag': e[1].strip('"')}])
        self.assertEqual(self.s3.get_object(Bucket=self.b, Key='k', Range='bytes=%d-' % (5 * MIB))['Body'].read(), b'new')

    def test_bodies_of_complete_that_are_none(self):
        up = self.start()
        path = '/%s/k?uploadId=%s' % (self.b, up)
        for body, code in ((b'', b'MalformedXML'), (b'<a/>', b'MalformedXML'), (b'<CompleteMultipartUpload/>', b'MalformedXML'),
                           (b'<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>', b'MalformedXML'),
                           (b'<!DOCTYPE a [<!ENTITY b "c">]><CompleteMultipartUpload>&b;</CompleteMultipartUpload>', b'MalformedXML')):
            self.assertIn(code, self.raw('POST', path, body)[1], body)
        self.assertIn(b'NoSuchUpload', self.raw('GET', '/%s/other?uploadId=%s' % (self.b, up))[1])
        for n in ('0', '10001', 'x', ''):
            self.assertIn(b'InvalidArgument', self.raw('PUT', '/%s/k?partNumber=%s&uploadId=%s' % (self.b, n, up), b'x')[1], n)

    def test_lists_of_uploads(self):
        keys = ['a/1', 'a/2', 'b', 'b', 'c/x', 'd']
        ups = {}
        for k in keys:
            ups.setdefault(k, []).append(self.start(k))
        r = self.s3.list_multipart_uploads(Bucket=self.b)
        self.assertEqual([u['Key'] for u in r['Uploads']], keys)
        r = self.s3.list_multipart_uploads(Bucket=self.b, Delimiter='/')
        self.assertEqual(([u['Key'] for u in r['Uploads']], [p['Prefix'] for p in r['CommonPrefixes']]), (['b', 'b', 'd'], ['a/', 'c/']))
        r = self.s3.list_multipart_uploads(Bucket=self.b, Prefix='a/')
        self.assertEqual([u['UploadId'] for u in r['Uploads']], ups['a/1'] + ups['a/2'])
        got, kw = [], {}
        for _ in range(10):
            r = self.s3.list_multipart_uploads(Bucket=self.b, MaxUploads=1, **kw)
            got += [(u['Key'], u['UploadId']) for u in r['Uploads']]
            if not r['IsTruncated']:
                break
            kw = {'KeyMarker': r['NextKeyMarker'], 'UploadIdMarker': r['NextUploadIdMarker']}
        self.assertEqual([k for k, _ in got], keys)
        self.assertEqual(len(set(got)), 6)
        for k, ids in ups.items():
            for i in ids:
                self.s3.abort_multipart_upload(Bucket=self.b, Key=k, UploadId=i)
        self.assertNotIn('Uploads', self.s3.list_multipart_uploads(Bucket=self.b))

    def start_raw(self, key):
        """boto3 can't read an answer that shows a control character."""
        text = self.raw('POST', '/%s/%s?uploads=' % (self.b, urllib.parse.quote(key)))[1]
        return re.search(b'<UploadId>([0-9a-f]{32})<', text)[1].decode()

    def list_uploads(self, n, **kw):
        """All pages of n: (key, id) and prefixes in the order they came."""
        got, more, key = [], {}, urllib.parse.unquote_plus
        while True:
            r = self.s3.list_multipart_uploads(Bucket=self.b, MaxUploads=n, EncodingType='url', **kw, **more)
            rows = [(key(u['Key']), u['UploadId']) for u in r.get('Uploads', [])]
            prefixes = [key(p['Prefix']) for p in r.get('CommonPrefixes', [])]
            self.assertLessEqual(len(rows) + len(prefixes), n)
            got += sorted(rows + [(p, '') for p in prefixes], key=lambda x: x[0].encode())
            if not r['IsTruncated']:
                return got
            self.assertEqual(len(rows) + len(prefixes), n)
            more = {'KeyMarker': key(r['NextKeyMarker']), 'UploadIdMarker': r.get('NextUploadIdMarker', '')}

    def test_pages_of_uploads(self):
        keys = ['a', 'a-b', 'a.b', 'a/', 'a/b', 'a//b', 'a0', 'a~', 'b/c/d', 'b/c/e', 'b.', '.', '..', '.@x', 'k/x', '0/.', '\u00e9', 'a\x01', 'a\x01b',
                'a\x02', 'x' * 300 + '/y', 'x' * 300 + '.y', 'l' * 1000 + 'b', 'l' * 1000 + 'a', 'l' * 1000 + '/a', 'l' * 1000 + '/b', '.' * 600 + 'a',
                '.' * 600 + '/', '.' * 600] + ['a'] * 5
        all_ups = sorted(((k, self.start_raw(k)) for k in keys), key=lambda x: (x[0].encode(), x[1]))
        of_a = [i for k, i in all_ups if k == 'a']
        self.assertEqual(of_a, sorted(of_a))
        self.assertEqual(len(all_ups), len(keys))
        for n in (1, 2, 3, 7, 1000):
            self.assertEqual(self.list_uploads(n), all_ups, n)
            for prefix in ('a', 'a/', 'b/c', 'l' * 1000, 'l' * 1001, '.' * 599, '.'):
                self.assertEqual(self.list_uploads(n, Prefix=prefix), [u for u in all_ups if u[0].startswith(prefix)], (n, prefix))
            for prefix in ('', 'a', 'a/', 'l', 'l' * 1000 + '/', 'b/', 'x'):
                want = []
                for k, i in all_ups:
                    if not k.startswith(prefix):
                        continue
                    cut = k.find('/', len(prefix))
                    row = (k[:cut + 1], '') if cut >= 0 else (k, i)
                    if not want or want[-1] != row:
                        want.append(row)
                self.assertEqual(self.list_uploads(n, Prefix=prefix, Delimiter='/'), want, (n, prefix))
        r = self.s3.list_multipart_uploads(Bucket=self.b, KeyMarker='a', UploadIdMarker=of_a[2], MaxUploads=3, EncodingType='url')
        self.assertEqual([u['UploadId'] for u in r['Uploads']], of_a[3:] + [self.list_uploads(1000)[all_ups.index(('a', of_a[5])) + 1][1]] * (3 - len(of_a[3:])))
        r = self.s3.list_multipart_uploads(Bucket=self.b, KeyMarker='a', MaxUploads=1, EncodingType='url')
        self.assertEqual(r['Uploads'][0]['Key'], 'a%01')
        self.assertEqual(self.s3.list_multipart_uploads(Bucket=self.b, KeyMarker='\u00ff').get('Uploads', []), [])
        self.s3.delete_bucket(Bucket=self.b)

    def test_a_bucket_with_uploads_can_go(self):
        self.part(self.start(), 1, b'x')
        self.s3.delete_bucket(Bucket=self.b)
        self.s3.create_bucket(Bucket=self.b)
        self.assertNotIn('Uploads', self.s3.list_multipart_uploads(Bucket=self.b))

    def test_copied_parts(self):
        src = os.urandom(6 * MIB)
        self.put('src', data=src)
        up = self.start(ChecksumAlgorithm='CRC32')
        copy = lambda n, **kw: self.s3.upload_part_copy(Bucket=self.b, Key='k', UploadId=up, PartNumber=n, CopySource=kw.pop('src', self.b + '/src'), **kw)['CopyPartResult']
        r = copy(1, CopySourceRange='bytes=0-%d' % (5 * MIB - 1))
        self.assertEqual((r['ETag'], r['ChecksumCRC32']), ('"%s"' % hashlib.md5(src[:5 * MIB]).hexdigest(), crc32(src[:5 * MIB])))
        r2 = copy(2)
        for bad in ('bytes=0-%d' % (6 * MIB), 'bytes=5-', 'bytes=-5', '0-5', 'bytes=9-5'):
            self.fails(('InvalidArgument', 'InvalidRange'), copy, 3, CopySourceRange=bad)
        self.fails('NoSuchKey', copy, 3, src=self.b + '/none')
        self.fails('PreconditionFailed', copy, 3, CopySourceIfMatch='"%s"' % ('0' * 32))
        self.done(up, [{'PartNumber': 1, 'ETag': r['ETag']}, {'PartNumber': 2, 'ETag': r2['ETag']}])
        self.assertEqual(self.s3.get_object(Bucket=self.b, Key='k')['Body'].read(), src[:5 * MIB] + src)

    def test_an_abort_beside_parts_leaves_nothing(self):
        import concurrent.futures
        up = self.start()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            def one(n):
                try:
                    self.part(up, n, os.urandom(64 << 10))
                except ClientError as e:
                    self.assertEqual(e.response['Error']['Code'], 'NoSuchUpload')
            jobs = [pool.submit(one, n) for n in range(1, 30)]
            self.s3.abort_multipart_upload(Bucket=self.b, Key='k', UploadId=up)
            for j in jobs:
                j.result()
        self.fails('NoSuchUpload', self.s3.list_parts, Bucket=self.b, Key='k', UploadId=up)


def main():
    global ARGS
    a = argparse.ArgumentParser()
    a.add_argument('--endpoint', required=True)
    a.add_argument('--ca')
    a.add_argument('--other')
    a.add_argument('tests', nargs='*')
    ARGS = a.parse_args()
    unittest.main(argv=[sys.argv[0]] + ARGS.tests)


if __name__ == '__main__':
    main()
