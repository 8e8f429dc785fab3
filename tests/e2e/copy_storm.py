#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies between two buckets on two bricks while a command kills and restarts bricks.

Each worker owns some keys in both buckets and knows what each may hold. It puts new sources, copies in
both directions, as a whole or by parts, within a bucket and across; sources are replaced and deleted while
they are copied. A copy that was answered with success must hold, whole, what its source held at some moment
of the copy; one that failed has changed nothing, or was done (nobody knows); nothing else ever shows.
"""
import argparse
import hashlib
import random
import subprocess
import threading
import time

import boto3
import botocore

ABSENT = 'absent'


class Worker(threading.Thread):
    def __init__(self, n, args, stop):
        super().__init__(daemon=True)
        self.n, self.args, self.stop = n, args, stop
        self.rnd = random.Random(args.seed * 100 + n)
        # Each try is one: what happened is ours to find out.
        self.s3 = boto3.client('s3', endpoint_url=args.endpoint, config=botocore.config.Config(
            retries={'max_attempts': 0}, read_timeout=150, connect_timeout=20, s3={'addressing_style': 'path'}))
        self.may = {}           # (bucket, key) -> set of md5s, one of which it holds
        self.copies = self.failures = self.count = 0
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
                self.count += 1
            for where in list(self.may):
                self.check(where)
        except Exception as e:  # noqa: everything is a failure of the test, shown by the main thread
            self.error = '%s: %s after %d steps' % (type(e).__name__, e, self.count)

    def name(self):
        return self.rnd.choice(self.args.buckets), 'w%d/%d' % (self.n, self.rnd.randrange(4))

    def insist(self, what, *args, **kw):
        """Until it succeeds; for what is not under test."""
        end = time.time() + 120
        while True:
            try:
                return what(*args, **kw)
            except (botocore.exceptions.ClientError, botocore.exceptions.HTTPClientError,
                    botocore.exceptions.ConnectionError) as e:
                code = getattr(e, 'response', {}).get('ResponseMetadata', {}).get('HTTPStatusCode')
                if code == 404:
                    return None
                if (code or 503) < 500 and code not in (409,):
                    raise
                if time.time() > end:
                    raise
                time.sleep(0.2)

    def put(self, where):
        data = self.rnd.randbytes(self.rnd.choice([1, 70000, 3 << 20, 9000001, 30 << 20]))
        md5 = hashlib.md5(data).hexdigest()
        self.may[where] = self.may.get(where, {ABSENT}) | {md5}
        self.insist(self.s3.put_object, Bucket=where[0], Key=where[1], Body=data)
        self.may[where] = {md5}

    def delete(self, where):
        self.may[where] = self.may.get(where, {ABSENT}) | {ABSENT}
        self.insist(self.s3.delete_object, Bucket=where[0], Key=where[1])
        self.may[where] = {ABSENT}

    def copy_whole(self, to, source):
        self.s3.copy_object(Bucket=to[0], Key=to[1], CopySource={'Bucket': source[0], 'Key': source[1]})

    def copy_parts(self, to, source):
        size = self.s3.head_object(Bucket=source[0], Key=source[1])['ContentLength']
        if size < 6 << 20:
            return self.copy_whole(to, source)
        up = self.s3.create_multipart_upload(Bucket=to[0], Key=to[1])['UploadId']
        etag, parts = None, []
        try:
            cut = 5 << 20
            for i, (a, z) in enumerate([(0, cut), (cut, size)]):
                extra = {'CopySourceIfMatch': etag} if etag else {}
                r = self.s3.upload_part_copy(Bucket=to[0], Key=to[1], UploadId=up, PartNumber=i + 1,
                                             CopySource={'Bucket': source[0], 'Key': source[1]},
                                             CopySourceRange='bytes=%d-%d' % (a, z - 1), **extra)
                parts.append({'PartNumber': i + 1, 'ETag': r['CopyPartResult']['ETag']})
            self.s3.complete_multipart_upload(Bucket=to[0], Key=to[1], UploadId=up,
                                              MultipartUpload={'Parts': parts})
        except Exception:
            self.insist(self.s3.abort_multipart_upload, Bucket=to[0], Key=to[1], UploadId=up)
            raise

    def replace_meanwhile(self, source):
        """In a thread: what the source may have been grows before it changes."""
        if self.rnd.random() < 0.5:
            return None
        time.sleep(self.rnd.random() * 0.1)
        what = self.put if self.rnd.random() < 0.7 else self.delete
        t = threading.Thread(target=what, args=(source,), daemon=True)
        t.start()
        return t

    def copy(self, to, source):
        was = set(self.may.get(source, {ABSENT}))
        before = set(self.may.get(to, {ABSENT}))
        result = []

        def run():
            try:
                # Parts of several versions would be one object: only of a source that stays.
                (self.copy_parts if stays else self.copy_whole)(to, source)
                result.append(None)
            except Exception as e:  # noqa: looked at below
                result.append(e)

        stays = self.rnd.random() < 0.4
        t = threading.Thread(target=run, daemon=True)
        t.start()
        other = None if stays else self.replace_meanwhile(source)
        t.join()
        if other:
            other.join()
        sources = (was | self.may.get(source, set())) - {ABSENT}
        if result[0] is None:
            self.copies += 1
            self.may[to] = sources
        else:
            self.failures += 1
            code = getattr(result[0], 'response', {}).get('ResponseMetadata', {}).get('HTTPStatusCode', 503)
            if code < 500 and code not in (404, 409):
                raise result[0]
            self.may[to] = before | sources
        self.check(to)

    def check(self, where):
        r = self.insist(self.s3.get_object, Bucket=where[0], Key=where[1])
        got, size = ABSENT, 0
        while r:
            try:
                data = r['Body'].read()
                got, size = hashlib.md5(data).hexdigest(), len(data)
                break
            except Exception:  # noqa: the brick was killed while it sent
                r = self.insist(self.s3.get_object, Bucket=where[0], Key=where[1])
                if r is None:
                    got = ABSENT
        if got not in self.may.get(where, {ABSENT}):
            raise AssertionError('%s/%s holds %s (%d bytes), not one of %s' % (*where, got, size, self.may.get(where)))
        if r and '-' not in r['ETag'] and r['ETag'] != '"%s"' % got:
            raise AssertionError('%s/%s: ETag %s of content %s' % (*where, r['ETag'], got))
        self.may[where] = {got}

    def step(self):
        source, to = self.name(), self.name()
        if self.may.get(source, {ABSENT}) == {ABSENT} or self.rnd.random() < 0.1:
            self.put(source)
        elif source != to:
            self.copy(to, source)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--endpoint', required=True)
    p.add_argument('--buckets', nargs=2, required=True)
    p.add_argument('--kill', required=True)
    p.add_argument('--kills', type=int, default=10)
    p.add_argument('--workers', type=int, default=3)
    p.add_argument('--pause', type=float, default=0.8)
    p.add_argument('--seed', type=int, default=int(time.time()))
    args = p.parse_args()
    print('seed', args.seed, flush=True)
    stop = threading.Event()
    workers = [Worker(n, args, stop) for n in range(args.workers)]
    for w in workers:
        w.start()
    rnd = random.Random(args.seed)
    for _ in range(args.kills):
        time.sleep(rnd.random() * args.pause)
        if any(w.error for w in workers):
            break
        subprocess.run([args.kill], shell=True, check=True)
    stop.set()
    for w in workers:
        w.join()
    print('steps %d, copies %d, failed %d' % tuple(sum(getattr(w, a) for w in workers)
                                                   for a in ('count', 'copies', 'failures')))
    errors = [w.error for w in workers if w.error]
    if errors or not sum(w.copies for w in workers):
        raise SystemExit('\n'.join(errors) or 'nothing was copied')


main()
