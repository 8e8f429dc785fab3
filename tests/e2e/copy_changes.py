#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a copy between bricks does when its source changes meanwhile. Bucket bk1 is a directory of NFS export /one."""
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import boto3
import botocore

import nfs3

endpoint, port, work, pid_two, windgate = sys.argv[1:6]
snapshots = len(sys.argv) > 6       # the file system makes them: then no change makes a copy fail
SIZE = 40 << 20
s3 = boto3.client('s3', endpoint_url=endpoint, config=botocore.config.Config(
    retries={'max_attempts': 0}, read_timeout=150, s3={'addressing_style': 'path'}))
nfs = nfs3.Mount('127.0.0.1', int(port), int(port), '/one')
bucket = nfs.lookup(nfs.root, b'bk1')[0]
old = os.urandom(1 << 20) * (SIZE >> 20)
new = os.urandom(1 << 20) * (SIZE >> 20)


def md5(data):
    return hashlib.md5(data).hexdigest()


def dump(name):
    return subprocess.run([windgate, 'statedump', '--control', '%s/%s.sock' % (work, name)], check=True,
                          capture_output=True, text=True).stdout


class Copy(threading.Thread):
    """Begun, and some of it read: the constructor returns in the middle."""
    def __init__(self, key, to, wait=True):
        super().__init__(daemon=True)
        self.key, self.to, self.status, self.etag = key, to, None, None
        self.start()
        end = time.time() + 60
        while wait and 'reads_under_way=' not in dump('one') and self.status is None:
            assert time.time() < end, 'the copy does not begin'
        time.sleep(0.1)

    def run(self):
        try:
            r = s3.copy_object(Bucket='bk2', Key=self.to, CopySource={'Bucket': 'bk1', 'Key': self.key})
            self.etag, self.status = r['CopyObjectResult']['ETag'].strip('"'), 200
        except botocore.exceptions.ClientError as e:
            self.status = e.response['ResponseMetadata']['HTTPStatusCode']

    def result(self):
        self.join()
        return self.status


def got(key):
    try:
        return s3.get_object(Bucket='bk2', Key=key)['Body'].read()
    except botocore.exceptions.ClientError as e:
        assert e.response['ResponseMetadata']['HTTPStatusCode'] == 404, e
        return None


def handle(key):
    return nfs.lookup(bucket, key.encode())[0]


def put(key, data=old):
    s3.put_object(Bucket='bk1', Key=key, Body=data)


def replaced():
    put('a')
    c = Copy('a', 'a')
    put('a', new)
    assert c.result() == 200 and got('a') == old and c.etag == md5(old), (c.status, c.etag)


def deleted():
    put('b')
    c = Copy('b', 'b')
    s3.delete_object(Bucket='bk1', Key='b')
    assert c.result() == 200 and got('b') == old and c.etag == md5(old), (c.status, c.etag)


def removed():
    put('c')
    c = Copy('c', 'c')
    nfs.remove(bucket, b'c')
    assert c.result() == 200 and got('c') == old and c.etag == md5(old), (c.status, c.etag)


def overwritten():
    put('d')
    fh = handle('d')
    c = Copy('d', 'd')
    nfs.write_all(fh, new)
    nfs.commit(fh)
    assert c.result() == 200 or not snapshots and c.status == 409, c.status   # a snapshot of before, or (after some tries) what is there then
    data = got('d')
    if c.status == 200:
        assert data in (old, new), 'a mixture'
        assert c.etag.endswith('-0') or c.etag == md5(data), c.etag
    else:
        assert data is None


def truncated():
    put('e')
    c = Copy('e', 'e')
    nfs.setattr(handle('e'), size=1000)
    status = c.result()
    assert (status, got('e')) in (((200, old),) if snapshots else ((200, old), (409, None))), status


def busy():
    """A writer that never rests: what a copy shows is what was there at one moment."""
    fh = nfs.create(bucket, b'f')
    blocks = 20
    for i in range(blocks):
        nfs.write(fh, i << 20, (0).to_bytes(8, 'big') * (1 << 17))
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n += 1
            for i in range(blocks):
                nfs.write(fh, i << 20, n.to_bytes(8, 'big'))

    t = threading.Thread(target=write, daemon=True)
    t.start()
    s3.put_object(Bucket='bk2', Key='f', Body=b'before')
    c = Copy('f', 'f', wait=False)
    status = c.result()
    stop.set()
    t.join()
    data = got('f')
    assert status == 200 or not snapshots, status
    if status == 200:
        v = [int.from_bytes(data[i << 20:(i << 20) + 8], 'big') for i in range(blocks)]
        assert v == sorted(v, reverse=True) and v[0] - v[-1] <= 1, v
    else:
        assert status == 409 and data == b'before', status


def expired():
    """The pulling brick stands still for longer than a reference lives."""
    put('g')
    c = Copy('g', 'g')
    os.kill(int(pid_two), signal.SIGSTOP)
    end = time.time() + 60
    while 'made_by=' in dump('one'):
        assert time.time() < end, 'it does not expire'
        time.sleep(0.2)
    os.kill(int(pid_two), signal.SIGCONT)
    assert c.result() == 200 and got('g') == old and c.etag == md5(old), (c.status, c.etag)


def given_up():
    """The client hangs up: what was staged and referred to goes."""
    put('h')
    impatient = boto3.client('s3', endpoint_url=endpoint, config=botocore.config.Config(
        retries={'max_attempts': 0}, read_timeout=0.5, s3={'addressing_style': 'path'}))
    try:
        impatient.copy_object(Bucket='bk2', Key='h', CopySource={'Bucket': 'bk1', 'Key': 'h'})
    except botocore.exceptions.ReadTimeoutError:
        pass
    end = time.time() + 60
    while 'made_by=' in dump('one') or 'to_offset=' in dump('two'):
        assert time.time() < end, 'it is still there'
        time.sleep(0.2)
    assert got('h') in (None, old)


for case in (replaced, deleted, removed, overwritten, truncated, busy, expired, given_up):
    begin = time.time()
    case()
    print('%s: %.1f s' % (case.__name__, time.time() - begin), flush=True)
