#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uploads in the names of an older release (record "<id>/upload", ids at random) are shown, go on, and end.

older_uploads.py ENDPOINT BRICK-DIR
"""
import glob
import os
import random
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, BRICK = sys.argv[1:3]
S3 = boto3.client('s3', endpoint_url=ENDPOINT, config=Config(s3={'addressing_style': 'path'}))
PART = b'p' * (5 << 20)


def age(up, first):
    """The upload as the older release kept it: under an id that begins with first."""
    old = '%02x' % first + '%030x' % random.getrandbits(120)
    (record,) = glob.glob(BRICK + '/.windgate/uploads/*/k/*' + up)
    top = os.path.dirname(os.path.dirname(record))
    os.makedirs(os.path.join(top, old), 0o700, exist_ok=True)
    if os.path.isdir(os.path.join(top, up)):
        os.rmdir(os.path.join(top, old))
        os.rename(os.path.join(top, up), os.path.join(top, old))
    os.rename(record, os.path.join(top, old, 'upload'))
    return old


def begin(bucket, key, part=True, first=None):
    up = S3.create_multipart_upload(Bucket=bucket, Key=key)['UploadId']
    etag = S3.upload_part(Bucket=bucket, Key=key, UploadId=up, PartNumber=1, Body=PART)['ETag'] if part else None
    return (age(up, first) if first is not None else up), etag


def listed(bucket, **kw):
    seen, more = [], {}
    while True:
        r = S3.list_multipart_uploads(Bucket=bucket, **kw, **more)
        seen += [(u['Key'], u['UploadId']) for u in r.get('Uploads', [])]
        seen += [(p['Prefix'], None) for p in r.get('CommonPrefixes', [])]
        if not r['IsTruncated']:
            return seen
        more = {'KeyMarker': r['NextKeyMarker'], 'UploadIdMarker': r.get('NextUploadIdMarker', '')}


def main():
    b = 'older'
    S3.create_bucket(Bucket=b)
    want, etags = [], {}
    for i, (key, first) in enumerate([('a', 0x03), ('b', None), ('c/1', 0xfe), ('c/2', None), ('d', 0x40), ('z', 0xa0)]):
        up, etags[key] = begin(b, key, i % 3 == 0 or key == 'z', first)
        want.append((key, up))
    assert listed(b) == want, (listed(b), want)
    for n in (1, 2, 3):
        assert listed(b, MaxUploads=n) == want, (n, listed(b, MaxUploads=n), want)
    rolled = sorted(set((k.split('/')[0] + '/', None) if '/' in k else (k, u) for k, u in want), key=lambda x: x[0])
    for n in (1, 1000):
        assert sorted(listed(b, MaxUploads=n, Delimiter='/'), key=lambda x: x[0]) == rolled, listed(b, Delimiter='/')
    ids = dict(want)
    # One goes on and completes.
    two = S3.upload_part(Bucket=b, Key='a', UploadId=ids['a'], PartNumber=2, Body=b'end')['ETag']
    assert len(S3.list_parts(Bucket=b, Key='a', UploadId=ids['a'])['Parts']) == 2
    S3.complete_multipart_upload(Bucket=b, Key='a', UploadId=ids['a'], MultipartUpload={'Parts': [
        {'PartNumber': 1, 'ETag': etags['a']}, {'PartNumber': 2, 'ETag': two}]})
    assert S3.get_object(Bucket=b, Key='a')['Body'].read() == PART + b'end'
    # Another's key is none of it; one is aborted; the rest goes with the bucket.
    try:
        S3.abort_multipart_upload(Bucket=b, Key='x', UploadId=ids['z'])
        raise AssertionError('aborted under another key')
    except ClientError as e:
        assert e.response['Error']['Code'] == 'NoSuchUpload', e
    S3.abort_multipart_upload(Bucket=b, Key='z', UploadId=ids['z'])
    assert listed(b) == [w for w in want if w[0] not in 'az'], listed(b)
    assert not glob.glob(BRICK + '/.windgate/uploads/*/' + ids['a'] + '/*')
    assert not glob.glob(BRICK + '/.windgate/uploads/*/' + ids['z'] + '/*')
    S3.delete_object(Bucket=b, Key='a')
    S3.delete_bucket(Bucket=b)
    left = [f for d in glob.glob(BRICK + '/.windgate/uploads/*') for _, _, fs in os.walk(d) for f in fs]
    assert not left, left


def many():
    """More than are read at a time, below the ids of today and above."""
    b = 'many-older'
    S3.create_bucket(Bucket=b)
    want = []
    for i in range(150):
        up, _ = begin(b, 'k%03d' % i, False, random.choice((0x02, 0x10, 0x60, 0xf0)))
        want.append(('k%03d' % i, up))
    assert listed(b) == want, (len(listed(b)), len(want))
    assert listed(b, MaxUploads=40) == want
    S3.delete_bucket(Bucket=b)
    assert not [f for d in glob.glob(BRICK + '/.windgate/uploads/*') for _, _, fs in os.walk(d) for f in fs]


main()
many()
