#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes a daemon's descriptors away, and gives them back: PID LOG KIND PORT."""
import os
import resource
import socket
import struct
import sys
import time

pid, log, kind, port = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
NULL = struct.pack('>10I', 5, 0, 2, 100003, 3, 0, 0, 0, 0, 0)
ASK = {'nfs': struct.pack('>I', 0x80000000 | len(NULL)) + NULL, 's3': b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'brick': b'hello'}[kind]


def cpu():
    f = open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf('SC_CLK_TCK')


def lines():
    return sum('out of descriptors' in line for line in open(log))


soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
before = lines()
# Some are free below the highest: those go first.
used = sorted(int(n) for n in os.listdir('/proc/%d/fd' % pid))
first_free = next(n for n in range(len(used) + 1) if n >= len(used) or used[n] != n)
resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, hard))
socks = []
for i in range(5):
    s = socket.create_connection(('127.0.0.1', port))
    s.settimeout(20)
    s.sendall(ASK)
    socks.append(s)
end = time.time() + 20
while lines() == before and time.time() < end:
    time.sleep(0.05)
start = cpu()
time.sleep(2)
busy = cpu() - start
said = lines() - before
resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
print('%s: %.2f s of CPU in 2 s, said %d times' % (kind, busy, said))
assert busy < 0.5, 'it spins'
assert said == 1, 'it should say so once'
for s in socks:
    try:
        got = s.recv(64)
        assert got or kind == 'brick', 'closed'
    except ConnectionResetError:
        assert kind == 'brick'          # which does not like what was said, but takes it
    s.close()
