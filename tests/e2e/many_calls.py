#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""many_calls.py NFS_PORT MOUNT_PORT EXPORT N DIR: mounts, makes DIR/mounted, waits for DIR/go, sends
N GETATTRs over connections of 50 each without waiting, makes DIR/sent, then reads all the answers."""
import os
import socket
import struct
import sys
import time

import nfs3

nfs_port, mount_port, export, n, d = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
m = nfs3.Mount('127.0.0.1', nfs_port, mount_port, export, timeout=30)
socks = [socket.create_connection(('127.0.0.1', nfs_port), timeout=100) for _ in range((n + 49) // 50)]
open(d + '/mounted', 'w').close()
while not os.path.exists(d + '/go'):
    time.sleep(0.02)


def message(xid):
    cred = nfs3.Pack().u32(0).opaque(b'many').u32(0).u32(0).u32(0)
    p = nfs3.Pack().u32(xid).u32(0).u32(2).u32(100003).u32(3).u32(1)
    p.u32(1).opaque(bytes(cred.b)).u32(0).u32(0).opaque(m.root)
    return struct.pack('>I', 0x80000000 | len(p.b)) + bytes(p.b)


sent = {}
for i in range(n):
    s = socks[i // 50]
    s.sendall(message(1000000 + i))
    sent.setdefault(s, set()).add(1000000 + i)
open(d + '/sent', 'w').close()


def read(s, size):
    b = b''
    while len(b) < size:
        piece = s.recv(size - len(b))
        assert piece, 'the connection was closed with calls unanswered'
        b += piece
    return b


bad = 0
for s, xids in sent.items():
    while xids:
        size = struct.unpack('>I', read(s, 4))[0] & 0x7fffffff
        u = nfs3.Unpack(read(s, size))
        xids.remove(u.u32())
        u.take(12)
        u.opaque()
        u.u32()             # accepted: SUCCESS
        bad += u.u32() not in (nfs3.OK, nfs3.JUKEBOX)
print(n, 'answers,', bad, 'of them errors')
sys.exit(bad != 0)
