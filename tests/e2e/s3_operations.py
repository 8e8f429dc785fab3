#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an S3 client may expect of each operation, asked through boto3 of a running server.

    s3_operations.py --endpoint URL [--ca FILE] [--nfs-port P --mount-port P --export /e] [Test.name ...]

AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY come from the environment. With the NFS ports the
questions between the doors are asked too.
"""
import argparse
import concurrent.futures
import hashlib
import io
import os
import random
import sys
import unittest
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

ARGS = None
MIB = 1 << 20


def client(**config):
    return boto3.client('s3', endpoint_url=ARGS.endpoint, verify=ARGS.ca or None, region_name='us-east-1',
                        config=Config(retries={'max_attempts': 1}, s3={'addressing_style': 'path'}, **config))


class Case(unittest.TestCase):
    n = 0

    def setUp(self):
        Case.n += 1
        self.s3 = client()
        self.b = 'case-%d-%d' % (os.getpid(), Case.n)
        self.s3.create_bucket(Bucket=self.b)

    def put(self, key, data=b'', **kw):
        return self.s3.put_object(Bucket=self.b, Key=key, Body=data, **kw)

    def get(self, key, **kw):
        return self.s3.get_object(Bucket=self.b, Key=key, **kw)

    def body(self, key, **kw):
        return self.get(key, **kw)['Body'].read()

    def head(self, key, **kw):
        return self.s3.head_object(Bucket=self.b, Key=key, **kw)

    def keys(self, **kw):
        out = []
        for page in self.s3.get_paginator('list_objects_v2').paginate(Bucket=self.b, **kw):
            out += [o['Key'] for o in page.get('Contents', [])]
        return out

    def fails(self, code, fn, *args, **kw):
        with self.assertRaises(ClientError) as c:
            fn(*args, **kw)
        got = c.exception.response
        codes = code if isinstance(code, tuple) else (code,)
        self.assertIn(got['Error']['Code'], codes)
        return got


class Buckets(Case):
    def test_life_of_a_bucket(self):
        self.s3.head_bucket(Bucket=self.b)
        self.assertIn(self.b, [b['Name'] for b in self.s3.list_buckets()['Buckets']])
        self.assertIsNone(self.s3.get_bucket_location(Bucket=self.b)['LocationConstraint'])
        self.put('x')
        self.fails('BucketNotEmpty', self.s3.delete_bucket, Bucket=self.b)
        self.s3.delete_object(Bucket=self.b, Key='x')
        self.s3.delete_bucket(Bucket=self.b)
        self.fails('404', self.s3.head_bucket, Bucket=self.b)
        self.fails('NoSuchBucket', self.s3.delete_bucket, Bucket=self.b)

    def test_a_bucket_of_ones_own_is_not_made_twice(self):
        try:
            self.s3.create_bucket(Bucket=self.b)    # us-east-1 answers 200
        except ClientError as e:
            self.assertEqual(e.response['Error']['Code'], 'BucketAlreadyOwnedByYou')

    def test_an_absent_bucket(self):
        for fn in (self.s3.list_objects_v2, self.s3.list_objects, self.s3.list_multipart_uploads):
            self.fails('NoSuchBucket', fn, Bucket='absent-bucket')
        self.fails('NoSuchBucket', self.s3.get_object, Bucket='absent-bucket', Key='k')
        self.fails('NoSuchBucket', self.s3.put_object, Bucket='absent-bucket', Key='k')

    def test_names_that_are_none(self):
        s3 = boto3.client('s3', endpoint_url=ARGS.endpoint, verify=ARGS.ca or None, region_name='us-east-1',
                          config=Config(s3={'addressing_style': 'path'}))
        s3.meta.events.unregister('before-parameter-build.s3', boto3.session.botocore.handlers.validate_bucket_name)
        for name in ('ab', 'Upper', 'a..b', '192.168.1.1', '-a-b', 'x' * 64):
            self.fails('InvalidBucketName', s3.create_bucket, Bucket=name)

    def test_sub_resources_that_clients_probe(self):
        self.assertEqual(self.s3.get_bucket_acl(Bucket=self.b)['Grants'][0]['Permission'], 'FULL_CONTROL')
        self.assertNotIn('Status', self.s3.get_bucket_versioning(Bucket=self.b))
        self.fails('NoSuchBucketPolicy', self.s3.get_bucket_policy, Bucket=self.b)
        self.fails('NoSuchCORSConfiguration', self.s3.get_bucket_cors, Bucket=self.b)
        self.fails('NoSuchLifecycleConfiguration', self.s3.get_bucket_lifecycle_configuration, Bucket=self.b)
        self.fails('NoSuchTagSet', self.s3.get_bucket_tagging, Bucket=self.b)


class Objects(Case):
    def test_bytes_come_back_with_their_md5_as_etag(self):
        for n in (0, 1, 4096, MIB - 1, MIB, MIB + 1, 5 * MIB + 3):
            data = random.Random(n).randbytes(n)
            etag = self.put('k', data)['ETag']
            r = self.get('k')
            self.assertEqual(r['Body'].read(), data)
            self.assertEqual((etag, r['ETag'], r['ContentLength']), ('"%s"' % hashlib.md5(data).hexdigest(),) * 2 + (n,))
            self.assertEqual(self.head('k')['ETag'], etag)

    def test_headers_and_metadata(self):
        self.put('k', b'x', ContentType='text/x-test', CacheControl='no-cache', ContentDisposition='inline',
                 ContentEncoding='gzip', ContentLanguage='de', Metadata={'a': 'b', 'n': '1 2'})
        for r in (self.head('k'), self.get('k')):
            self.assertEqual((r['ContentType'], r['CacheControl'], r['ContentDisposition'], r['ContentEncoding'], r['ContentLanguage']),
                             ('text/x-test', 'no-cache', 'inline', 'gzip', 'de'))
            self.assertEqual(r['Metadata'], {'a': 'b', 'n': '1 2'})
        self.put('plain', b'x')
        self.assertEqual(self.head('plain')['ContentType'], 'binary/octet-stream')
        self.assertNotIn('ContentEncoding', self.head('plain'))

    def test_more_metadata_than_an_inode_holds(self):
        self.fails('MetadataTooLarge', self.put, 'k', b'x', ContentType='t/' + 'x' * 8000)
        self.fails('MetadataTooLarge', self.put, 'k', b'x', Metadata={'a': 'b' * 2100})
        self.fails('404', self.head, 'k')

    def test_response_headers_can_be_asked_for(self):
        self.put('k', b'x')
        r = self.get('k', ResponseContentType='a/b', ResponseContentDisposition='attachment')
        self.assertEqual((r['ContentType'], r['ContentDisposition']), ('a/b', 'attachment'))

    def test_ranges(self):
        data = bytes(range(256)) * 8192
        self.put('k', data)
        for spec, part in (('0-0', data[:1]), ('5-9', data[5:10]), ('-7', data[-7:]), ('%d-' % (len(data) - 3), data[-3:]),
                           ('100-99999999', data[100:]), ('-99999999', data)):
            r = self.get('k', Range='bytes=' + spec)
            self.assertEqual(r['Body'].read(), part)
            self.assertEqual(r['ResponseMetadata']['HTTPStatusCode'], 206)
        self.assertEqual(self.get('k', Range='bytes=5-9')['ContentRange'], 'bytes 5-9/%d' % len(data))
        self.assertEqual(self.fails('InvalidRange', self.get, 'k', Range='bytes=%d-' % len(data))['ResponseMetadata']['HTTPStatusCode'], 416)

    def test_absent_keys(self):
        self.fails('NoSuchKey', self.get, 'none')
        self.fails('404', self.head, 'none')
        self.s3.delete_object(Bucket=self.b, Key='none')

    def test_conditions_of_reading(self):
        etag = self.put('k', b'x')['ETag']
        when = self.head('k')['LastModified']
        self.get('k', IfMatch=etag)
        self.fails('PreconditionFailed', self.get, 'k', IfMatch='"%s"' % ('0' * 32))
        self.fails(('304', 'NotModified'), self.get, 'k', IfNoneMatch=etag)
        self.fails('304', self.head, 'k', IfModifiedSince=when)
        self.get('k', IfUnmodifiedSince=when)

    def test_conditions_of_writing(self):
        etag = self.put('k', b'1', IfNoneMatch='*')['ETag']
        self.fails('PreconditionFailed', self.put, 'k', b'2', IfNoneMatch='*')
        self.fails('PreconditionFailed', self.put, 'k', b'2', IfMatch='"%s"' % ('0' * 32))
        self.fails(('NoSuchKey', '404'), self.put, 'absent', b'2', IfMatch=etag)
        self.put('k', b'2', IfMatch=etag)
        self.assertEqual(self.body('k'), b'2')

    def test_one_of_many_racing_writers_wins(self):
        def one(i):
            try:
                client().put_object(Bucket=self.b, Key='race', Body=b'%d' % i, IfNoneMatch='*')
                return i
            except ClientError as e:
                self.assertIn(e.response['Error']['Code'], ('PreconditionFailed', 'ConditionalRequestConflict'))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            won = [i for i in pool.map(one, range(16)) if i is not None]
        self.assertEqual(len(won), 1)
        self.assertEqual(self.body('race'), b'%d' % won[0])

    def test_every_checksum_is_verified_and_given_back(self):
        for alg in ('CRC32', 'SHA1', 'SHA256'):
            got = self.put('k', b'hello world', ChecksumAlgorithm=alg)
            self.assertEqual(self.head('k', ChecksumMode='ENABLED')['Checksum' + alg], got['Checksum' + alg])
        self.fails(('BadDigest', 'InvalidRequest'), self.put, 'bad', b'hello', ChecksumCRC32='AAAAAA==')
        self.fails('BadDigest', self.put, 'bad', b'hello', ContentMD5='XrY7u+Ae7tCTyyK7j1rNww==')
        self.fails('InvalidDigest', self.put, 'bad', b'hello', ContentMD5='short')
        self.fails('404', self.head, 'bad')

    def test_tags(self):
        self.put('k', b'x', Tagging='a=1&b=2')
        tags = lambda: {t['Key']: t['Value'] for t in self.s3.get_object_tagging(Bucket=self.b, Key='k')['TagSet']}
        self.assertEqual(tags(), {'a': '1', 'b': '2'})
        self.assertEqual(self.get('k')['TagCount'], 2)
        self.s3.put_object_tagging(Bucket=self.b, Key='k', Tagging={'TagSet': [{'Key': 'c', 'Value': '3'}]})
        self.assertEqual(tags(), {'c': '3'})
        self.s3.delete_object_tagging(Bucket=self.b, Key='k')
        self.assertEqual(tags(), {})

    def test_presigned_urls(self):
        self.put('dir/a b+c', b'signed')
        for version in ('s3', 's3v4'):
            s3 = client(signature_version=version)
            url = s3.generate_presigned_url('get_object', {'Bucket': self.b, 'Key': 'dir/a b+c'}, ExpiresIn=60)
            self.assertEqual(self.fetch(url), b'signed')
            url = s3.generate_presigned_url('put_object', {'Bucket': self.b, 'Key': 'up'}, ExpiresIn=60)
            self.fetch(urllib.request.Request(url, data=version.encode(), method='PUT', headers={'Content-Type': ''}))
            self.assertEqual(self.body('up'), version.encode())

    def fetch(self, url):
        import ssl
        context = ssl.create_default_context(cafile=ARGS.ca) if ARGS.ca else None
        with urllib.request.urlopen(url, context=context) as r:
            return r.read()

    def test_what_is_not_supported_says_so(self):
        self.fails('NotImplemented', self.s3.put_bucket_versioning, Bucket=self.b, VersioningConfiguration={'Status': 'Enabled'})
        self.fails(('NotImplemented', 'InvalidArgument'), self.put, 'k', b'x', SSECustomerAlgorithm='AES256', SSECustomerKey='k' * 32)
        self.fails(('NotImplemented', 'InvalidArgument', 'InvalidRequest'), self.put, 'k', b'x', ObjectLockMode='GOVERNANCE')

    def test_wrong_secrets_and_none(self):
        bad = boto3.client('s3', endpoint_url=ARGS.endpoint, verify=ARGS.ca or None, region_name='us-east-1',
                           aws_access_key_id=os.environ['AWS_ACCESS_KEY_ID'], aws_secret_access_key='wrong')
        self.fails('SignatureDoesNotMatch', bad.list_buckets)
        bad = boto3.client('s3', endpoint_url=ARGS.endpoint, verify=ARGS.ca or None, region_name='us-east-1',
                           aws_access_key_id='NOSUCHKEY', aws_secret_access_key='wrong')
        self.fails('InvalidAccessKeyId', bad.list_buckets)
        from botocore import UNSIGNED
        self.put('k', b'x')
        self.fails('AccessDenied', client(signature_version=UNSIGNED).get_object, Bucket=self.b, Key='k')


class Keys(Case):
    ODD = ['a', 'a/', 'a/b', 'a//b', '/lead', '//', 'b/', './x', '../y', 'z/../w', 'z/./w', 'a/b/..', 'c' * 256, 'd/' + 'e' * 600 + '/f',
           '.@x', 'p/.@q', 'sp ace', 'pl+us', 'per%cent', 'per%2Fcent', 'q?m', 'am&p', '<x>', 'quo"te', "ti'ck", 'back\\slash', 'col:on',
           '\u00e9\u4e2d', '\U0001f600', 'tab\there', 'new\nline', 'k' * 1024, '.windgate', '.windgate/x', '~', '*', '#h', 'semi;', 'eq=', ',']

    def test_any_key_works_and_lists_in_byte_order(self):
        for i, k in enumerate(self.ODD):
            self.put(k, b'%d' % i)
        for i, k in enumerate(self.ODD):
            self.assertEqual(self.body(k), b'%d' % i, k)
        self.assertEqual(self.keys(), sorted(self.ODD, key=lambda k: k.encode()))
        random.Random(3).shuffle(self.ODD)
        for i, k in enumerate(self.ODD):
            self.s3.delete_object(Bucket=self.b, Key=k)
            self.fails('404', self.head, k)
        self.assertEqual(self.keys(), [])
        self.s3.delete_bucket(Bucket=self.b)

    def test_a_key_too_long(self):
        self.fails('KeyTooLongError', self.put, 'k' * 1025, b'x')

    def test_a_file_and_a_directory_of_one_name_in_both_orders(self):
        self.put('x', b'file')
        self.put('x/y', b'below')
        self.put('u/v', b'below')
        self.put('u', b'file')
        self.assertEqual([self.body(k) for k in ('x', 'x/y', 'u', 'u/v')], [b'file', b'below', b'file', b'below'])
        self.s3.delete_object(Bucket=self.b, Key='x/y')
        self.assertEqual(self.body('x'), b'file')
        self.assertEqual(self.keys(), ['u', 'u/v', 'x'])


class Lists(Case):
    def setUp(self):
        super().setUp()
        rnd = random.Random(4)
        parts = ['a', 'a-', 'a0', 'b', 'c.d', 'e']
        self.all = sorted({'/'.join(rnd.choice(parts) for _ in range(rnd.randrange(1, 4))) for _ in range(120)})
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(self.put, self.all))

    def model(self, prefix='', delimiter='', after=''):
        keys, prefixes = [], []
        for k in self.all:
            if not k.startswith(prefix):
                continue
            at = k.find(delimiter, len(prefix)) if delimiter else -1
            if at >= 0:
                if k[:at + len(delimiter)] not in prefixes:
                    prefixes.append(k[:at + len(delimiter)])
            elif k > after:
                keys.append(k)
        return keys, [p for p in prefixes if p > after]

    def test_prefix_delimiter_and_pages_agree_with_a_model(self):
        for prefix in ('', 'a', 'a/', 'a-', 'b/a', 'none', 'c.d/'):
            for delimiter in ('', '/', '-', 'a/'):
                want = self.model(prefix, delimiter)
                for size in (1, 7, 1000):
                    if size == 1 and not prefix:
                        continue
                    keys, prefixes = [], []
                    for page in self.s3.get_paginator('list_objects_v2').paginate(
                            Bucket=self.b, Prefix=prefix, Delimiter=delimiter, PaginationConfig={'PageSize': size}):
                        keys += [o['Key'] for o in page.get('Contents', [])]
                        prefixes += [p['Prefix'] for p in page.get('CommonPrefixes', [])]
                        self.assertLessEqual(page['KeyCount'], size)
                    self.assertEqual((keys, prefixes), want, (prefix, delimiter, size))

    def test_start_after_and_marker(self):
        for after in ('a', 'a/a', 'b/', 'zzz', 'a-'):
            r = self.s3.list_objects_v2(Bucket=self.b, StartAfter=after)
            self.assertEqual([o['Key'] for o in r.get('Contents', [])], [k for k in self.all if k > after])
            r = self.s3.list_objects(Bucket=self.b, Marker=after, Delimiter='/')
            want = self.model('', '/', after)
            self.assertEqual([o['Key'] for o in r.get('Contents', [])], want[0])
            self.assertEqual([p['Prefix'] for p in r.get('CommonPrefixes', [])], want[1])

    def test_versions_are_null(self):
        r = self.s3.list_object_versions(Bucket=self.b)
        self.assertEqual([v['Key'] for v in r['Versions']], self.all)
        self.assertEqual({v['VersionId'] for v in r['Versions']}, {'null'})

    def test_sizes_etags_and_no_rows_at_all(self):
        o = self.s3.list_objects_v2(Bucket=self.b, MaxKeys=1)['Contents'][0]
        self.assertEqual((o['Size'], o['ETag'], o['StorageClass']), (0, '"%s"' % hashlib.md5().hexdigest(), 'STANDARD'))
        r = self.s3.list_objects_v2(Bucket=self.b, MaxKeys=0)
        self.assertEqual((r['KeyCount'], r['IsTruncated']), (0, False))

    def test_delete_many(self):
        r = self.s3.delete_objects(Bucket=self.b, Delete={'Objects': [{'Key': k} for k in self.all[:50]] + [{'Key': 'none'}]})
        self.assertEqual(len(r['Deleted']), 51)
        self.assertEqual(self.keys(), self.all[50:])


class Copies(Case):
    def test_copy_keeps_or_replaces_metadata(self):
        data = random.Random(5).randbytes(3 * MIB)
        etag = self.put('src dir/s+rc', data, Metadata={'a': '1'}, ContentType='x/y')['ETag']
        r = self.s3.copy_object(Bucket=self.b, Key='dst', CopySource={'Bucket': self.b, 'Key': 'src dir/s+rc'})
        self.assertEqual(r['CopyObjectResult']['ETag'], etag)
        h = self.head('dst')
        self.assertEqual((self.body('dst'), h['Metadata'], h['ContentType'], h['ETag']), (data, {'a': '1'}, 'x/y', etag))
        self.s3.copy_object(Bucket=self.b, Key='dst', CopySource={'Bucket': self.b, 'Key': 'dst'}, MetadataDirective='REPLACE', Metadata={'b': '2'})
        h = self.head('dst')
        self.assertEqual((self.body('dst'), h['Metadata'], h['ETag']), (data, {'b': '2'}, etag))
        self.fails('InvalidRequest', self.s3.copy_object, Bucket=self.b, Key='dst', CopySource={'Bucket': self.b, 'Key': 'dst'})
        self.fails('NoSuchKey', self.s3.copy_object, Bucket=self.b, Key='x', CopySource={'Bucket': self.b, 'Key': 'none'})
        self.fails('PreconditionFailed', self.s3.copy_object, Bucket=self.b, Key='x', CopySource={'Bucket': self.b, 'Key': 'dst'}, CopySourceIfNoneMatch=etag)


class Multipart(Case):
    def test_the_whole_way(self):
        data = random.Random(6).randbytes(11 * MIB)
        up = self.s3.create_multipart_upload(Bucket=self.b, Key='m/k', Metadata={'a': 'b'}, ContentType='t/u')['UploadId']
        pieces = [data[:5 * MIB], data[5 * MIB:10 * MIB], data[10 * MIB:]]
        etags = {}
        for n in (3, 1, 2):
            etags[n] = self.s3.upload_part(Bucket=self.b, Key='m/k', UploadId=up, PartNumber=n, Body=pieces[n - 1])['ETag']
        self.assertEqual([p['PartNumber'] for p in self.s3.list_parts(Bucket=self.b, Key='m/k', UploadId=up)['Parts']], [1, 2, 3])
        self.assertEqual([(u['Key'], u['UploadId']) for u in self.s3.list_multipart_uploads(Bucket=self.b)['Uploads']], [('m/k', up)])
        self.assertEqual(self.keys(), [])
        parts = {'Parts': [{'PartNumber': n, 'ETag': etags[n]} for n in (1, 2, 3)]}
        r = self.s3.complete_multipart_upload(Bucket=self.b, Key='m/k', UploadId=up, MultipartUpload=parts)
        want = hashlib.md5(b''.join(hashlib.md5(p).digest() for p in pieces)).hexdigest() + '-3'
        h = self.head('m/k')
        self.assertEqual((r['ETag'], h['ETag'], h['Metadata'], h['ContentType'], h['ContentLength']), ('"%s"' % want,) * 2 + ({'a': 'b'}, 't/u', len(data)))
        self.assertEqual(self.body('m/k'), data)
        self.assertNotIn('Uploads', self.s3.list_multipart_uploads(Bucket=self.b))
        self.assertEqual(self.body('m/k', PartNumber=2), pieces[1])

    def test_mistakes(self):
        up = self.s3.create_multipart_upload(Bucket=self.b, Key='k')['UploadId']
        e = [self.s3.upload_part(Bucket=self.b, Key='k', UploadId=up, PartNumber=n, Body=b'small')['ETag'] for n in (1, 2)]
        done = lambda *parts: self.s3.complete_multipart_upload(Bucket=self.b, Key='k', UploadId=up, MultipartUpload={'Parts': [{'PartNumber': n, 'ETag': t} for n, t in parts]})
        self.fails('InvalidPartOrder', done, (2, e[1]), (1, e[0]))
        self.fails('InvalidPart', done, (1, '"%s"' % ('0' * 32)))
        self.fails('InvalidPart', done, (7, e[0]))
        self.fails('EntityTooSmall', done, (1, e[0]), (2, e[1]))
        self.fails('NoSuchUpload', self.s3.upload_part, Bucket=self.b, Key='k', UploadId='nope', PartNumber=1, Body=b'')
        self.fails('InvalidArgument', self.s3.upload_part, Bucket=self.b, Key='k', UploadId=up, PartNumber=10001, Body=b'')
        self.s3.abort_multipart_upload(Bucket=self.b, Key='k', UploadId=up)
        self.fails('NoSuchUpload', self.s3.abort_multipart_upload, Bucket=self.b, Key='k', UploadId=up)
        self.fails('404', self.head, 'k')
        self.s3.delete_bucket(Bucket=self.b)

    def test_parts_can_be_copied(self):
        data = random.Random(7).randbytes(6 * MIB)
        self.put('src', data)
        up = self.s3.create_multipart_upload(Bucket=self.b, Key='k')['UploadId']
        e = [self.s3.upload_part_copy(Bucket=self.b, Key='k', UploadId=up, PartNumber=n, CopySource={'Bucket': self.b, 'Key': 'src'},
                                      CopySourceRange=r)['CopyPartResult']['ETag'] for n, r in ((1, 'bytes=0-%d' % (5 * MIB - 1)), (2, 'bytes=10-19'))]
        self.s3.complete_multipart_upload(Bucket=self.b, Key='k', UploadId=up, MultipartUpload={'Parts': [{'PartNumber': n + 1, 'ETag': t} for n, t in enumerate(e)]})
        self.assertEqual(self.body('k'), data[:5 * MIB] + data[10:20])

    def test_the_transfer_manager_both_ways(self):
        data = random.Random(8).randbytes(30 * MIB)
        self.s3.upload_fileobj(io.BytesIO(data), self.b, 'big', Config=TransferConfig(multipart_threshold=8 * MIB, max_concurrency=4))
        out = io.BytesIO()
        self.s3.download_fileobj(self.b, 'big', out)
        self.assertEqual(out.getvalue(), data)


class Doors(Case):
    """One truth: NFS beside S3."""

    def setUp(self):
        if not ARGS.nfs_port:
            self.skipTest('no NFS ports given')
        super().setUp()
        import nfs3
        self.m = nfs3.Mount('127.0.0.1', ARGS.nfs_port, ARGS.mount_port, ARGS.export)
        self.addCleanup(self.m.close)
        self.d = self.m.lookup(self.m.root, self.b.encode())[0]

    def test_an_object_is_a_file_and_a_file_an_object(self):
        self.put('dir/o', b'by s3')
        fh = self.m.lookup(self.m.lookup(self.d, b'dir')[0], b'o')[0]
        self.assertEqual(self.m.read_all(fh), b'by s3')
        self.m.write_all(self.m.create(self.d, b'f', mode=0o666), b'by nfs')
        self.assertEqual(self.body('f'), b'by nfs')
        self.assertEqual(self.keys(), ['dir/o', 'f'])
        self.assertEqual(self.body('f', Range='bytes=3-'), b'nfs')

    def test_an_etag_changes_with_the_content(self):
        first = self.put('o', b'one')['ETag']
        fh = self.m.lookup(self.d, b'o')[0]
        self.m.write_all(fh, b'two')
        second = self.head('o')['ETag']
        self.assertNotEqual(first, second)
        self.assertEqual({o['ETag'] for o in self.s3.list_objects_v2(Bucket=self.b)['Contents']}, {second})
        self.assertEqual(self.get('o')['ETag'], second)
        self.m.setattr(fh, mode=0o640)
        self.assertEqual(self.head('o')['ETag'], second)

    def test_a_reader_finishes_the_old_bytes(self):
        old, new = b'o' * (2 * MIB), b'n' * MIB
        self.put('o', old)
        fh = self.m.lookup(self.d, b'o')[0]
        first = self.m.read(fh, 0, MIB)[0]
        self.put('o', new)
        self.assertEqual(first + self.m.read(fh, MIB, MIB)[0], old)
        self.assertEqual(self.m.read_all(self.m.lookup(self.d, b'o')[0]), new)

    def test_an_empty_directory_is_listed_and_can_be_deleted(self):
        self.m.mkdir(self.d, b'd', 0o777)
        self.assertEqual(self.keys(), ['d/'])
        self.assertEqual(self.body('d/'), b'')
        self.s3.delete_object(Bucket=self.b, Key='d/')
        self.assertEqual(self.m.names(self.d), [])

    def test_directories_of_a_put_go_with_their_last_key(self):
        self.put('a/b/c', b'x')
        self.s3.delete_object(Bucket=self.b, Key='a/b/c')
        self.assertEqual(self.m.names(self.d), [])

    def test_links_are_followed_inside_the_bucket_only(self):
        self.put('real', b'content')
        self.m.symlink(self.d, b'good', b'real')
        self.m.symlink(self.d, b'bad', b'../../etc/passwd')
        self.m.symlink(self.d, b'loop', b'loop')
        self.assertEqual(self.body('good'), b'content')
        for k in ('bad', 'loop'):
            self.fails(('NoSuchKey', 'AccessDenied'), self.get, k)
        self.assertNotIn('bad', self.keys())

    def test_writes_go_through_links_of_directories(self):
        """dir is a directory; to it lead link, chain (by link), up (from below) and twice//."""
        self.put('dir/sub/real', b'content')
        self.m.symlink(self.d, b'link', b'dir')
        self.m.symlink(self.d, b'chain', b'./link/')
        self.m.symlink(self.m.lookup(self.d, b'dir')[0], b'up', b'../dir/sub/..')
        self.put('link/a', b'one')
        self.put('chain/big', b'b' * (3 * MIB))
        self.put('dir/up/sub/c', b'two')
        self.put('link/new/d', b'three')
        self.put('link//e', b'four')
        self.put('link/../f', b'five')
        for k, data in (('dir/a', b'one'), ('dir/big', b'b' * (3 * MIB)), ('dir/sub/c', b'two'), ('dir/new/d', b'three'),
                        ('dir//e', b'four'), ('link//e', b'four'), ('dir/../f', b'five'), ('link/../f', b'five')):
            self.assertEqual(self.body(k), data, k)
        self.fails('404', self.head, 'f')
        self.s3.copy_object(Bucket=self.b, Key='chain/copy', CopySource={'Bucket': self.b, 'Key': 'link/a'})
        self.assertEqual(self.body('dir/copy'), b'one')
        up = self.s3.create_multipart_upload(Bucket=self.b, Key='link/multi')['UploadId']
        e = self.s3.upload_part(Bucket=self.b, Key='link/multi', UploadId=up, PartNumber=1, Body=b'part')['ETag']
        parts = {'Parts': [{'PartNumber': 1, 'ETag': e}]}
        for _ in range(2):                   # a repeated Complete finds what it made
            self.s3.complete_multipart_upload(Bucket=self.b, Key='link/multi', UploadId=up, MultipartUpload=parts)
        self.assertEqual(self.body('dir/multi'), b'part')
        self.fails('PreconditionFailed', self.put, 'link/a', b'x', IfNoneMatch='*')
        self.s3.delete_object(Bucket=self.b, Key='link/a')
        self.s3.delete_objects(Bucket=self.b, Delete={'Objects': [{'Key': 'chain/copy'}, {'Key': 'dir/up/sub/c'}]})
        self.assertEqual(self.keys(), sorted(['dir/../f', 'dir//e', 'dir/big', 'dir/multi', 'dir/new/d', 'dir/sub/real']))

    def test_writes_never_leave_the_bucket(self):
        other = self.b + '-other'
        self.s3.create_bucket(Bucket=other)
        self.s3.put_object(Bucket=other, Key='k', Body=b'kept')
        o = other.encode()
        self.put('dir/x', b'')
        links = ((b'up', b'../' + o), (b'abs', b'/' + o), (b'far', b'dir/../../' + o), (b'loop', b'loop/x'),
                 (b'ping', b'pong'), (b'pong', b'ping'), (b'top', b'..'), (b'esc', b'.@='))
        for name, target in links:
            self.m.symlink(self.d, name, target)
        for name, _ in links:
            key = name.decode() + '/k'
            self.fails('AccessDenied', self.put, key, b'x')
            self.fails('AccessDenied', self.put, key, b'x' * (2 * MIB))
            self.fails('AccessDenied', self.s3.copy_object, Bucket=self.b, Key=key, CopySource={'Bucket': self.b, 'Key': 'dir/x'})
            self.s3.delete_object(Bucket=self.b, Key=key)       # nothing there
            self.fails(('404', 'NoSuchKey'), self.head, key)
        self.assertEqual(self.s3.get_object(Bucket=other, Key='k')['Body'].read(), b'kept')
        # the link itself, under its own name, is replaced and removed
        self.put('up', b'plain')
        self.s3.delete_object(Bucket=self.b, Key='abs')
        self.assertEqual(self.body('up'), b'plain')
        self.assertNotIn(b'abs', self.m.names(self.d))

    def test_a_file_names_owner_is_the_users(self):
        self.put('o', b'x')
        self.assertEqual(self.m.getattr(self.m.lookup(self.d, b'o')[0])['uid'], ARGS.uid)


def main():
    global ARGS
    a = argparse.ArgumentParser()
    a.add_argument('--endpoint', required=True)
    a.add_argument('--ca')
    a.add_argument('--nfs-port', type=int)
    a.add_argument('--mount-port', type=int)
    a.add_argument('--export')
    a.add_argument('--uid', type=int, default=1000, help='of the S3 user')
    ARGS, rest = a.parse_known_args()
    unittest.main(argv=[sys.argv[0]] + rest)


if __name__ == '__main__':
    main()
