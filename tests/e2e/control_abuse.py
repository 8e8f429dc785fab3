#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients of a control socket that misbehave, while others must get their answers: SOCKET PID."""
import json
import os
import socket
import sys
import time

path, pid = sys.argv[1], sys.argv[2]


def connect(what=b''):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    s.sendall(what)
    return s


def ask(command):
    s = connect(json.dumps({'command': command}).encode() + b'\n')
    text = b''
    while piece := s.recv(1 << 20):
        text += piece
    assert json.loads(text)['ok'], text[:200]
    return text


def descriptors():
    return len(os.listdir('/proc/%s/fd' % pid))


def resident():
    return next(int(line.split()[1]) for line in open('/proc/%s/status' % pid) if line.startswith('VmRSS'))


def until(what, condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def closed(s):                                # by the daemon, whatever it has said before
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass


for _ in range(3):
    big = ask('statedump')
fds, memory = descriptors(), resident()

# Silent ones, more than it keeps: each answer comes although none of them has ended before it.
for attempt in range(20):                     # on a busy machine they may be cut meanwhile, in order
    silent = [connect() for _ in range(20)]
    ask('statedump')
    if descriptors() >= fds + 10:
        break
    for s in silent:
        closed(s)
else:
    raise SystemExit('the silent ones were to be there still')
silent += [connect() for _ in range(60)]
ask('statedump')
for s in silent:
    closed(s)

# Lines that never end.
for piece in (b'x' * 65536, b'[' * 65536, b'\0' * 65536, b'{"command":"' + b's' * 65536):
    s = connect()
    try:
        for _ in range(200):
            s.sendall(piece)
        raise SystemExit('it takes a line of any length')
    except (BrokenPipeError, ConnectionResetError):
        closed(s)

# Garbage, all at once.
many = [connect(os.urandom(3000) + b'\n') for _ in range(40)]
ask('status')
for s in many:
    closed(s)

# Readers who read nothing: their answers are dropped after a while.
lazy = [connect(b'{"command":"statedump"}\n') for _ in range(20)]
ask('status')
ask('statedump')
until('descriptors are not given back', lambda: descriptors() <= fds)
for s in lazy:
    closed(s)
print('%d descriptors; statedump %d bytes; %d KiB resident before, %d after' % (fds, len(big), memory, resident()))
