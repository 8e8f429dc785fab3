#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What strangers, and an insider gone mad, do to a brick's listener: PORT PID CERTS STRANGERS.

CERTS has ca.pem and gateway.{pem,key}, STRANGERS pairs of files by the names used below.
"""
import os
import socket
import ssl
import struct
import sys
import time

port, pid, certs, strangers = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
WELCOME = 4
HALF_MB, MB = 1 << 19, 1 << 20


def plain():
    s = socket.create_connection(('127.0.0.1', port), 30)
    return s


def context(pair=None, version=ssl.TLSVersion.TLSv1_3):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.load_verify_locations(certs + '/ca.pem')
    c.check_hostname = False
    c.minimum_version = c.maximum_version = version
    if pair:
        c.load_cert_chain(pair + '.pem', pair + '.key')
    return c


def connect(*args, **kw):
    return context(*args, **kw).wrap_socket(plain())


def ended(s):
    """What it said before it closed the connection; it must close it."""
    got = b''
    try:
        while piece := s.recv(65536):
            got += piece
    except (ConnectionError, ssl.SSLError):
        pass
    s.close()
    return got


def refused(name, *args, **kw):
    """No frame, the welcome least of all, for whoever this is."""
    try:
        s = connect(*args, **kw)
    except (ssl.SSLError, ConnectionError):
        return
    assert ended(s) == b'', name + ' is welcome'


def send(s, *pieces):
    try:
        for p in pieces:
            s.sendall(p)
    except (ConnectionError, ssl.SSLError):
        pass


def insider():
    s = connect(certs + '/gateway')
    head = b''
    while len(head) < 32:
        head += s.recv(32 - len(head))
    assert head[:4] == b'WGT1' and head[5] == WELCOME
    return s


def header(kind=16, flags=0, body=0, payload=0, magic=b'WGT1', version=1):
    return magic + struct.pack('<BBHQQII', version, kind, flags, 1, 0, body, payload)


def strangers_are_refused():
    for name in ('self-signed', 'other-ca', 'expired', 'not-yet', 'not-allowed', 'tricky-name'):
        refused(name, strangers + '/' + name)
    refused('no certificate')
    refused('TLS 1.2', certs + '/gateway', version=ssl.TLSVersion.TLSv1_2)


def garbage_before_tls():
    for text in (b'hello\n', b'GET / HTTP/1.1\r\n\r\n', header(WELCOME), b'\x16\x03\x01\xff\xff' + b'\1' * 70000, b'\x16\x03\x01\0\0' * 9000,
                 b'\x16\x03\x01\x00\x04\x01\xff\xff\xff', os.urandom(100000), bytes(100000), b'\x80' * 3000):
        s = plain()
        send(s, text)
        try:
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass                                # it is closed already
        ended(s)
    for i in range(40):                         # half a hello, and gone: at once, or by a reset
        s = plain()
        send(s, b'\x16\x03\x01\x02\x00\x01'[:i % 7])
        if i % 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        s.close()


def frames_that_break_rules():
    """Of one who has the right certificate: the connection ends, and nothing else does."""
    bad = [b'garbage' * 100, bytes(1000), os.urandom(5000), header(magic=b'WGT2'), header(version=9),
           header(body=0xffffffff), header(payload=0xffffffff), header(body=0x7fffffff, payload=0x7fffffff), header(body=65537),
           header(payload=MB + 65537), header(flags=0x4000), header(kind=7), header(kind=1, payload=100) + bytes(100),
           header(kind=1, payload=0xffffffff), header(kind=WELCOME), header(kind=255), header(kind=16, body=100) + b'\xff' * 100,
           header(kind=17, body=65536) + os.urandom(65536), header(kind=2, body=10) + bytes(10),
           header(flags=0x8000, payload=MB) + header(flags=0x8000, payload=MB)]
    for text in bad:
        s = insider()
        send(s, text)
        s.settimeout(3)                         # some only make it an answer; those are let go
        try:
            while s.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass
        s.close()


def half_frames():
    whole = header(16, body=500, payload=HALF_MB) + os.urandom(500 + HALF_MB)
    for cut in (1, 4, 31, 32, 33, 500, 532, 533, 100000, len(whole) - 1):
        s = insider()
        send(s, whole[:cut])
        if cut % 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        s.close()


def silent_ones():
    """They hold a thread for 5 s, then they are dropped."""
    for s in [plain() for _ in range(60)]:
        ended(s)


def state():
    memory = next(int(line.split()[1]) for line in open('/proc/%d/status' % pid) if line.startswith('VmRSS'))
    return len(os.listdir('/proc/%d/fd' % pid)), len(os.listdir('/proc/%d/task' % pid)), memory


def all_attacks():
    for attack in (strangers_are_refused, garbage_before_tls, frames_that_break_rules, half_frames, silent_ones):
        begin = time.monotonic()
        attack()
        print('%s: %.1f s' % (attack.__name__, time.monotonic() - begin))


fds, threads, _ = state()
all_attacks()
end = time.monotonic() + 60
while state()[0] > fds or state()[1] > threads + 1:     # a thread is joined when the next connection comes
    assert time.monotonic() < end, 'descriptors, threads, KiB: %s, before %s' % (state(), (fds, threads))
    time.sleep(0.1)
    plain().close()
first = state()[2]                              # buffers and pools are warm
for _ in range(3):
    garbage_before_tls()
    half_frames()
last = state()[2]
print('descriptors %d, threads %d; KiB after the first round %d, after three more %d' % (fds, threads, first, last))
assert last < first + 40000
