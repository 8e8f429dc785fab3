#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients who ask for much and read nothing: PID NFS_PORT MOUNT_PORT EXPORT, an URL that GETs 64 MiB, and the name of the same
in the export. What the gateway holds for them is bounded, and it gives it back."""
import os
import socket
import struct
import sys
import time
from urllib.parse import urlsplit

import nfs3

pid, ports, export, url, name = sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])), sys.argv[4], urlsplit(sys.argv[5]), sys.argv[6]
GET = ('GET %s?%s HTTP/1.1\r\nHost: %s\r\n\r\n' % (url.path, url.query, url.netloc)).encode()


def mib():
    return next(int(line.split()[1]) for line in open('/proc/%s/status' % pid) if line.startswith('VmRSS')) // 1024


def descriptors():
    return len(os.listdir('/proc/%s/fd' % pid))


def lazy(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(60)
    s.connect(('127.0.0.1', port))
    return s


def ask_s3():
    s = lazy(url.port)
    s.sendall(GET)
    assert b' 200 ' in s.recv(20)
    return s


m = nfs3.Mount('127.0.0.1', *ports, export)
fh = m.root
for part in name.split('/'):
    fh, _ = m.lookup(fh, part.encode())


def ask_nfs():
    s = lazy(ports[0])
    for i in range(200):
        cred = nfs3.Pack().u32(0).opaque(b'lazy').u32(0).u32(0).u32(0)
        p = nfs3.Pack().u32(i).u32(0).u32(2).u32(100003).u32(3).u32(6).u32(1).opaque(bytes(cred.b)).u32(0).u32(0)
        p.opaque(fh).u64(i % 60 << 20).u32(1 << 20)
        s.sendall(struct.pack('>I', 0x80000000 | len(p.b)) + bytes(p.b))
    s.recv(4, socket.MSG_WAITALL)
    return s


def attack(ask, n):
    """The most memory that n of them made it hold, until they went away."""
    fds = descriptors()
    socks = [ask() for _ in range(n)]
    peak = before = mib()
    still = 0
    while still < 10:                           # it reads ahead as far as it means to
        time.sleep(0.1)
        now = mib()
        still = still + 1 if now <= peak else 0
        peak = max(peak, now)
    for s in socks:
        s.close()
    end = time.monotonic() + 60
    while descriptors() > fds:
        assert time.monotonic() < end, 'their connections stay'
        time.sleep(0.1)
    return max(peak, before)


def settled(limit):
    """Resident memory, when it is below limit or has stopped to shrink."""
    end = time.monotonic() + 20
    while mib() > limit and time.monotonic() < end:
        time.sleep(0.2)
    return mib()


for what, ask, each in (('S3', ask_s3, 20), ('NFS', ask_nfs, 20)):
    idle = mib()
    peaks, after = [], []
    for n in (each, 3 * each):
        peaks.append(attack(ask, n))
        after.append(settled(idle + 64))
    print('%s: idle %d MiB; %d and %d readers: at most %s MiB; after them %s MiB' % (what, idle, each, 3 * each, peaks, after))
    assert max(peaks) < idle + 1500, 'there is no bound'      # they ask for 4 GiB and more
    assert after[-1] < idle + 200, 'it keeps the memory'
