#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Completes and aborts multipart uploads through two gateways at the same time.

An upload ends in one way: completed, then every abort finds none and every complete gives the same ETag, or
aborted, then every complete finds none and there is no object. Then kills a gateway while it completes one:
the other completes it all the same.
"""
import argparse
import os
import random
import signal
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "uploads"
PART = os.urandom(5 << 20)
LAST = os.urandom(1000)


def client(url):
    return boto3.client("s3", endpoint_url=url, config=Config(retries={"max_attempts": 0}, read_timeout=60,
                                                               s3={"addressing_style": "path"}))


def begin(s3, key, parts=2):
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    done = []
    for n in range(1, parts + 1):
        body = PART if n < parts else LAST
        etag = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=n, Body=body)["ETag"]
        done.append({"PartNumber": n, "ETag": etag})
    return upload, done


def complete(s3, key, upload, parts):
    return s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload,
                                        MultipartUpload={"Parts": parts})["ETag"]


def outcome(fn):
    try:
        return fn()
    except ClientError as e:
        return "error " + e.response["Error"]["Code"]


def check(what, ok):
    if not ok:
        sys.exit(f"FAILED: {what}")


def race(gateways, key):
    upload, parts = begin(gateways[0], key)
    told = {}

    def run(name, fn, start):
        start.wait()
        time.sleep(random.random() * 0.03)
        told[name] = outcome(fn)

    def abort(s3):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
        return "aborted"

    start = threading.Event()
    threads = []
    for i, s3 in enumerate(gateways):
        threads.append(threading.Thread(target=run, args=(f"complete {i}", lambda s3=s3: complete(s3, key, upload, parts),
                                                          start)))
        threads.append(threading.Thread(target=run, args=(f"abort {i}", lambda s3=s3: abort(s3), start)))
    for t in threads:
        t.start()
    start.set()
    for t in threads:
        t.join()
    etags = {v for k, v in told.items() if k.startswith("complete") and not v.startswith("error")}
    aborted = "aborted" in told.values()
    errors = {v for v in told.values() if v.startswith("error")}
    check(f"{key}: {told}", errors <= {"error NoSuchUpload"} and len(etags) <= 1 and aborted != bool(etags))
    there = outcome(lambda: gateways[1].get_object(Bucket=BUCKET, Key=key)["Body"].read())
    check(f"{key}: the object is not what was said: {told}",
          there == (PART + LAST if etags else "error NoSuchKey"))
    return "aborted" if aborted else "completed"


def kill_one(gateways, pid):
    """The first to ask dies in the middle of it, or just before, or after: the second must not notice."""
    upload, parts = begin(gateways[1], "killed", 12)

    def doomed():
        try:
            complete(gateways[1], "killed", upload, parts)
        except (BotoCoreError, ClientError):
            pass

    t = threading.Thread(target=doomed)
    t.start()
    time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    t.join()
    etag = outcome(lambda: complete(gateways[0], "killed", upload, parts))
    check(f"complete after a kill: {etag}", not etag.startswith("error"))
    whole = gateways[0].get_object(Bucket=BUCKET, Key="killed")["Body"].read()
    check("the object is not whole", whole == PART * 11 + LAST)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("endpoint", nargs=2)
    p.add_argument("--uploads", type=int, default=10)
    p.add_argument("--kill", type=int, help="pid of the second gateway")
    a = p.parse_args()
    gateways = [client(url) for url in a.endpoint]
    gateways[0].create_bucket(Bucket=BUCKET)
    ends = [race(gateways, f"key{i}") for i in range(a.uploads)]
    print(f"{ends.count('completed')} completed, {ends.count('aborted')} aborted")
    left = gateways[0].list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    check(f"uploads are left: {left}", not left)
    if a.kill:
        kill_one(gateways, a.kill)


main()
