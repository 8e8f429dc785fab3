#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests that are right but for a few bytes, cut off anywhere, by many clients of both doors at once: what a fuzzer's
targets can't reach, because it is in the sockets.

usage: doors_abuse.py SECONDS SEED HTTP_PORT HTTPS_PORT NFS_PORT MOUNT_PORT EXPORT GATEWAY_PID     (AWS_* in the environment)

Prints the seed: the same seed makes the same requests, not the same times. A 500 is a finding, but for the one that
libmicrohttpd answers by itself, to a chunk's extension longer than its buffer.
"""
import base64
import hashlib
import os
import random
import socket
import ssl
import struct
import sys
import threading
import time

import nfs3
import s3raw

seconds, seed = float(sys.argv[1]), int(sys.argv[2])
http, https, nfs, mount = (int(a) for a in sys.argv[3:7])
export, pid = sys.argv[7], sys.argv[8]
HOST = '127.0.0.1:%d' % http
findings, counts, lock = [], {}, threading.Lock()


def s3(*args, **kw):
    return s3raw.request(HOST, *args, **kw)


PARTS = b'<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"x"</ETag></Part></CompleteMultipartUpload>'
DELETE = b'<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object></Delete>'
MD5 = base64.b64encode(hashlib.md5(DELETE).digest()).decode()


def s3_requests(r):
    name = 'k%d' % r.randrange(20)
    return r.choice((
        lambda: s3('PUT', '/abuse/' + name, body=bytes(r.randrange(3000))),
        lambda: s3('PUT', '/abuse/' + name, body=bytes(300000)),
        lambda: s3('PUT', '/abuse/' + name, body=b'5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n',
                   payload='STREAMING-UNSIGNED-PAYLOAD-TRAILER', x_amz_decoded_content_length='5', x_amz_trailer='x-amz-checksum-crc32'),
        lambda: s3('GET', '/abuse/' + name, Range='bytes=%d-%d' % (r.randrange(-5, 4000), r.randrange(4000))),
        lambda: s3('GET', '/abuse/big'),
        lambda: s3('HEAD', '/abuse/' + name),
        lambda: s3('DELETE', '/abuse/' + name),
        lambda: s3('GET', '/abuse', 'list-type=2&max-keys=%d&prefix=k' % r.randrange(-1, 9)),
        lambda: s3('GET', '/abuse', 'uploads'),
        lambda: s3('POST', '/abuse/' + name, 'uploads'),
        lambda: s3('POST', '/abuse/' + name, 'uploadId=18ea1a8f78b980d8', body=PARTS),
        lambda: s3('POST', '/abuse', 'delete', body=DELETE, content_md5=MD5),
        lambda: s3('PUT', '/abuse/' + name, x_amz_copy_source='/abuse/big'),
        lambda: s3('PUT', '/abuse/' + name, 'tagging', body=b'<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>'),
        lambda: s3('PUT', '/abuse'),
        lambda: s3('GET', '/'),
    ))()


def spoil(r, data):
    """A few bytes other, gone, twice; or all right."""
    data = bytearray(data)
    for _ in range(r.choice((0, 1, 1, 1, 2, 5))):
        at = r.randrange(len(data)) if r.random() < 0.3 else r.randrange(min(len(data), 900))
        what = r.randrange(6)
        if what == 0:
            data[at] = r.randrange(256)
        elif what == 1:
            del data[at:at + r.choice((1, 2, 4, 30))]
        elif what == 2:
            data[at:at] = data[at:at + r.choice((1, 4, 40))]
        elif what == 3:
            data[at:at] = r.choice((b'\0', b'\r\n', b'\n', b':', b' ', b'%00', b'\xff', b'&', b'A' * 5000, b'0' * 20, b'-1', b'Content-Length: 3\r\n',
                                    b'\r\nTransfer-Encoding: chunked\r\n', b'\r\nConnection: close\r\nX: ', b'\r\nExpect: 100-continue\r\nX: '))
        elif what == 4 and at + 4 <= len(data):
            data[at:at + 4] = r.choice((b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\0\0\0\0', b'\x80\0\0\0'))
        if not data:
            data = bytearray(b'x')
    return bytes(data)


def dial(port, tls):
    s = socket.create_connection(('127.0.0.1', port), 20)
    if tls:
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        s = c.wrap_socket(s)
    return s


def say(r, s, data):
    """In some pieces, to the end or to anywhere; what comes back in a short while."""
    data = data[:r.randrange(len(data) + 1)] if r.random() < 0.2 else data
    out = b''
    try:
        while data:
            n = len(data) if r.random() < 0.7 else r.randrange(1, len(data) + 1)
            s.sendall(data[:n])
            data = data[n:]
        if r.random() < 0.8:
            s.settimeout(r.choice((0.02, 0.2)))
            while len(out) < 200000 and (piece := s.recv(65536)):
                out += piece
    except OSError:                              # timeouts and TLS's errors are some of these
        pass
    if r.random() < 0.3:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()
    return out


def attack_s3(r):
    sent = b''.join(spoil(r, s3_requests(r)) for _ in range(r.choice((1, 1, 3))))
    tls = r.random() < 0.2
    out = say(r, dial(https if tls else http, tls), sent)
    status = out[9:12]
    counts[status] = counts.get(status, 0) + 1
    if b'HTTP/1.1 500' in out and b'libmicrohttpd' not in out:
        with lock:
            findings.append((sent[:2000], out[:1000]))


def attack_nfs(r, handles):
    one = r.choice(handles)
    name = b'n%d' % r.randrange(20)
    P = nfs3.Pack
    proc, args = r.choice((
        (1, P().opaque(one)), (2, P().opaque(one).fixed(nfs3.sattr(mode=0o777)).u32(0)), (3, P().opaque(handles[0]).opaque(name)),
        (4, P().opaque(one).u32(63)), (5, P().opaque(one)), (6, P().opaque(handles[1]).u64(r.randrange(9000)).u32(r.randrange(1 << 21))),
        (7, P().opaque(handles[1]).u64(r.randrange(9000)).u32(500).u32(r.randrange(3)).opaque(bytes(500))),
        (8, P().opaque(handles[0]).opaque(name).u32(r.randrange(2)).fixed(nfs3.sattr(mode=0o644))),
        (9, P().opaque(handles[0]).opaque(name).fixed(nfs3.sattr(mode=0o755))),
        (10, P().opaque(handles[0]).opaque(name).fixed(nfs3.sattr()).opaque(b'to')), (12, P().opaque(handles[0]).opaque(name)),
        (11, P().opaque(handles[0]).opaque(name).u32(r.randrange(8)).fixed(nfs3.sattr(mode=0o644)).u32(1).u32(2)),
        (13, P().opaque(handles[0]).opaque(name)), (14, P().opaque(handles[0]).opaque(name).opaque(handles[0]).opaque(name + b'x')),
        (15, P().opaque(handles[1]).opaque(handles[0]).opaque(name)), (16, P().opaque(handles[0]).u64(0).fixed(bytes(8)).u32(4000)),
        (17, P().opaque(handles[0]).u64(0).fixed(bytes(8)).u32(4000).u32(30000)), (18, P().opaque(one)), (19, P().opaque(one)),
        (20, P().opaque(one)), (21, P().opaque(one).u64(0).u32(0)), (0, P())))
    program = r.choice((100003,) * 9 + (100005,))
    data = b''
    for _ in range(r.choice((1, 1, 20))):
        cred = P().u32(0).opaque(b'abuse').u32(r.choice((0, 1000))).u32(0).u32(0)
        p = P().u32(r.randrange(1 << 32)).u32(0).u32(2).u32(program).u32(3).u32(proc).u32(1).opaque(bytes(cred.b)).u32(0).u32(0)
        call = bytes(p.b) + bytes(args.b)
        if r.random() < 0.7:
            call = spoil(r, call)
        record = struct.pack('>I', 0x80000000 | len(call)) + call
        data += spoil(r, record) if r.random() < 0.2 else record
    say(r, dial(mount if program == 100005 else nfs, False), data)
    counts[b'nfs'] = counts.get(b'nfs', 0) + 1


def descriptors():
    return len(os.listdir('/proc/%s/fd' % pid))


def client(i, handles, until):
    r = random.Random(seed * 1000 + i)
    while time.monotonic() < until and not findings:
        try:
            attack_nfs(r, handles) if i % 2 else attack_s3(r)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass                                 # of the dialling


print('seed', seed)
big = os.urandom(3 << 20)
assert s3raw.ask(HOST, 'PUT', '/abuse')[0] == 200
assert s3raw.ask(HOST, 'PUT', '/abuse/big', body=big)[0] == 200
m = nfs3.Mount('127.0.0.1', nfs, mount, export)
work = m.mkdir(m.root, b'abuse-%d' % os.getpid())
handles = [work, m.create(work, b'file'), m.symlink(work, b'link', b'somewhere'), m.root]
fds = descriptors()
threads = [threading.Thread(target=client, args=(i, handles, time.monotonic() + seconds)) for i in range(6)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print({k.decode('latin1') or 'no answer': v for k, v in sorted(counts.items())})
for sent, out in findings:
    print('sent', sent, '\n500:', out)
assert not findings
m.getattr(work)
assert s3raw.ask(HOST, 'GET', '/abuse/big')[2] == big, 'what was stored is another now'
end = time.monotonic() + 90
while descriptors() > fds + 4:
    assert time.monotonic() < end, 'descriptors: %d, before %d' % (descriptors(), fds)
    time.sleep(0.2)
