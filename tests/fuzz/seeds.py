#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of fuzz_nfs3, fuzz_mount, fuzz_rpc, fuzz_frame and s3meta beside this file: what is well formed, or nearly."""
import os
import struct

FH = b'\xfe' * 8


def u32(*v):
    return struct.pack('>%dI' % len(v), *v)


def u64(v):
    return struct.pack('>Q', v)


def s(b):
    return u32(len(b)) + b + bytes(-len(b) % 4)


SATTR = u32(1, 0o644, 1, 1, 1, 2, 1) + u64(5) + u32(1, 2, 7, 8)
NONE = u32(0, 0, 0, 0, 0, 0)
NFS = {
    'null': (0, b''), 'getattr': (1, FH), 'setattr': (2, FH + SATTR + u32(1, 2, 3)), 'setattr-none': (2, FH + NONE + u32(0)),
    'lookup': (3, FH + s(b'name')), 'lookup-up': (3, FH + s(b'..')), 'lookup-absent': (3, FH + s(b'absent')),
    'access': (4, FH + u32(63)), 'readlink': (5, FH), 'read': (6, FH + u64(9) + u32(4096)),
    'write': (7, FH + u64(9) + u32(5, 2) + s(b'hello')), 'create': (8, FH + s(b'new') + u32(1) + SATTR),
    'create-exclusive': (8, FH + s(b'new') + u32(2) + u64(1)), 'mkdir': (9, FH + s(b'dir') + SATTR),
    'symlink': (10, FH + s(b'ln') + NONE + s(b'target')), 'mknod-chr': (11, FH + s(b'c') + u32(4) + NONE + u32(1, 3)),
    'mknod-fifo': (11, FH + s(b'p') + u32(7) + NONE), 'mknod-reg': (11, FH + s(b'p') + u32(1)),
    'remove': (12, FH + s(b'f')), 'rmdir': (13, FH + s(b'd')), 'rename': (14, FH + s(b'a') + FH + s(b'b')),
    'link': (15, FH + FH + s(b'l')), 'readdir': (16, FH + u64(0) + u64(0) + u32(512)),
    'readdir-on': (16, FH + u64(20) + u64(0) + u32(512)),
    'readdirplus': (17, FH + u64(0) + u64(0) + u32(512, 4096)), 'readdirplus-all': (17, FH + u64(0) + u64(0) + u32(1 << 20, 1 << 20)),
    'fsstat': (18, FH), 'fsinfo': (19, FH), 'pathconf': (20, FH), 'commit': (21, FH + u64(0) + u32(0)),
    'bad-handle': (1, s(b'x' * 37)), 'long-name': (3, FH + s(b'n' * 300)), 'no-procedure': (22, b''), 'version': (252, b''),
}
MOUNT = {
    'mnt': (24 + 1, s(b'/test')), 'mnt-below': (24 + 1, s(b'/test/a/b/')), 'mnt-up': (24 + 1, s(b'/test/../x')),
    'mnt-file': (24 + 1, s(b'/test/file')), 'mnt-closed': (24 + 1, s(b'/closed')), 'mnt-v1': (8 + 1, s(b'/test')),
    'umnt': (24 + 3, s(b'/test')), 'dump': (24 + 2, b''), 'umntall': (24 + 4, b''), 'export': (24 + 5, b''),
    'export-v1': (8 + 5, b''), 'null': (24, b''), 'none': (24 + 7, b''), 'v4': (32, b''), 'mnt-empty': (24 + 1, s(b'')),
    'mnt-absent': (24 + 1, s(b'/test/absent')), 'mnt-long': (24 + 1, s(b'/' + b'a' * 1023)),
}


# --- RPC: bytes of a connection (see fuzz_rpc.c): 0xfd 0xfd is a record's mark
MARK = b'\xfd\xfd'
SYS = u32(1) + s(u32(7) + s(b'host') + u32(0, 0, 2, 1, 2))
NOBODY = u32(0, 0)


def call(prog, vers, proc, args=b'', cred=SYS, rpc=2, kind=0, xid=77):
    return MARK + u32(xid, kind, rpc, prog, vers, proc) + cred + NOBODY + args


def nfs(name, **kw):
    return call(100003, 3, NFS[name][0], NFS[name][1], **kw)


def stream(step, how, *parts):
    return bytes([step, how]) + b''.join(parts)


def fragments(data, size):
    out = b''
    for at in range(0, len(data), size):
        piece = data[at:at + size]
        out += u32(len(piece) | (0x80000000 if at + size >= len(data) else 0)) + piece
    return out


def raw(prog, vers, proc, args=b''):
    return call(prog, vers, proc, args)[2:]


ALL = b''.join(nfs(n, xid=i) for i, n in enumerate(NFS) if NFS[n][0] < 22)
RPC = {
    'null': stream(0, 5, call(100003, 3, 0)), 'byte-by-byte': stream(1, 5, nfs('getattr')),
    'all': stream(0, 5, ALL), 'all-in-pieces': stream(9, 5, ALL), 'twice': stream(0, 1, nfs('create'), nfs('create'), nfs('remove')),
    'mount': stream(0, 5, *[call(100005, 3, v[0] % 8, v[1]) for v in MOUNT.values()]),
    'rpc-version': stream(0, 5, call(100003, 3, 0, rpc=3), call(100003, 3, 0)), 'reply': stream(0, 5, call(100003, 3, 0, kind=1)),
    'program': stream(0, 5, call(100099, 3, 0)), 'version': stream(0, 5, call(100003, 4, 0)), 'procedure': stream(0, 5, call(100003, 3, 22)),
    'garbage': stream(0, 5, call(100003, 3, 1)), 'none': stream(0, 5, nfs('getattr', cred=NOBODY)),
    'gss': stream(0, 5, nfs('getattr', cred=u32(6) + s(b'x' * 20))), 'long-credential': stream(0, 5, nfs('getattr', cred=u32(1) + s(b'x' * 401))),
    'bad-credential': stream(0, 5, nfs('getattr', cred=u32(1) + s(b'xx'))),
    'many-groups': stream(0, 5, nfs('getattr', cred=u32(1) + s(u32(1) + s(b'h') + u32(1, 1, 17) + u32(*range(17))))),
    'fragments': stream(0, 5, fragments(raw(100003, 3, 0), 8)), 'fragments-bytes': stream(2, 5, fragments(raw(100005, 3, 1, s(b'/test')), 1)),
    'empty-fragment': stream(0, 5, u32(0)), 'giant': stream(0, 5, u32(0xffffffff)), 'half-mark': stream(0, 4, b'\x80\x00'),
    'too-many-fragments': stream(0, 4, (u32(60000) + bytes(60000)) * 3), 'short': stream(0, 5, MARK + u32(1, 0, 2)),
    'half-record': stream(0, 4, u32(0x80000100) + u32(1, 0, 2, 100003)), 'hang-up': stream(0, 2, ALL),
    'reads-unread': stream(0, 4, *[call(100003, 3, 6, FH + u64(0) + u32(1 << 16), xid=i) for i in range(40)]),
    'reads-hang-up': stream(0, 2, *[call(100003, 3, 6, FH + u64(0) + u32(1 << 16), xid=i) for i in range(40)]),
    'large-write': stream(0, 5, call(100003, 3, 7, FH + u64(0) + u32(50000, 2) + s(bytes(50000)))),
    'large-write-pieces': stream(120, 5, call(100003, 3, 7, FH + u64(0) + u32(50000, 2) + s(bytes(50000))), nfs('null')),
    'streaming': stream(200, 5, *[call(100003, 3, 7, FH + u64(0) + u32(70000, 2) + s(bytes(70000)), xid=i) for i in range(3)]),
}


# --- frames of a lane: the first byte is the step
def frame(kind, ident=1, low=0, body=b'', payload=b'', flags=0, version=1, magic=0x31544757, lengths=None):
    n, m = lengths or (len(body), len(payload))
    return struct.pack('<IBBHQQII', magic, version, kind, flags, ident, low, n, m) + body + payload


PIECES = 0x8000
FRAME = {
    'one': frame(16, 1, 0, b'body', b'payload'), 'two': frame(16, 1) + frame(17, 3, 1, b'x' * 100),
    'ping': frame(2) + frame(3) + frame(4), 'ping-body': frame(2, body=b'x'), 'flags': frame(2, flags=1),
    'unknown-type': frame(9), 'unknown-flag': frame(16, flags=0x4000), 'magic': frame(16, magic=1), 'version': frame(16, version=9),
    'body-long': frame(16, lengths=(70000, 0)), 'payload-long': frame(16, lengths=(0, 70000)), 'lengths-giant': frame(16, lengths=(2**32 - 1, 2**32 - 1)),
    'pieces': frame(16, 1, body=b'head', flags=PIECES, lengths=(4, 20)) + frame(1, 1, payload=b'0123456789') + frame(2) + frame(1, 1, payload=b'0123456789'),
    'pieces-none': frame(16, flags=PIECES), 'piece-alone': frame(1, 1, payload=b'x'), 'piece-empty': frame(16, 1, flags=PIECES, lengths=(0, 2)) + frame(1, 1),
    'pieces-other': frame(16, 1, flags=PIECES, lengths=(0, 2)) + frame(1, 2, payload=b'x'),
    'pieces-long': frame(16, 1, flags=PIECES, lengths=(0, 2)) + frame(1, 1, payload=b'xxx'),
    'pieces-twice': frame(16, 1, flags=PIECES, lengths=(0, 2)) + frame(16, 2, flags=PIECES, lengths=(0, 2)),
    'pieces-and-message': frame(16, 1, flags=PIECES, lengths=(0, 2)) + frame(17, 3, body=b'between', payload=b'p' * 9) + frame(1, 1, payload=b'xx'),
    'apart': frame(16, 1, body=b'b' * 30000, payload=b'p' * 3000) + frame(16, 2, body=b'c' * 30000),
    'apart-pieces': frame(16, 3, body=b'b' * 30000, flags=PIECES, lengths=(30000, 4)) + frame(1, 3, payload=b'1234') + frame(16, 9, body=b'e' * 50000),
    'cut': frame(16, 1, body=b'b' * 50, payload=b'p' * 3000)[:900],
    'many': b''.join(frame(16, i, body=b'b' * 60, payload=b'p' * (i * 3)) for i in range(150)),
}


# --- names and keys
KEYS = {'plain': b'a/b', 'both': b'a/', 'empty': b'', 'slashes': b'a//b', 'dots': b'./../a', 'leading': b'/a', 'escape': b'.@=a', 'twin': b'.@fa',
        'chunk': b'.@+' + b'a' * 200, 'dot-chunk': b'.@+.@' + b'a' * 200, 'long': b'k' * 1024, 'too-long': b'k' * 1025, 'component': b'c' * 300 + b'/x',
        'control': bytes(range(1, 32)), 'name-255': b'n' * 255, 'utf8': 'ä/ö'.encode(), 'nul': b'a\0b', 'chunk-path': b'.@+' + b'a' * 200 + b'/bb',
        'sort-self': b'abc\0\x01', 'sort-dir': b'abc/\0\x01', 'sort-twin': b'abc\0\x02', 'sort-chunk': b'abc\0\x03', 'sort-none': b'abc\0\x04', 'sort-bad': b'abc\0\x09',
        'escape-dir': b'.@=./', 'meta': b'.@=', 'odd-escape': b'.@xyz', 'chunk-255': b'.@+' + b'a' * 252}


here = os.path.dirname(os.path.abspath(__file__))


def write(name, cases):
    folder = os.path.join(here, 'corpus', name)
    os.makedirs(folder, exist_ok=True)
    for case, data in cases.items():
        with open(os.path.join(folder, case), 'wb') as f:
            f.write(data)


for name, cases in (('nfs3', NFS), ('mount', MOUNT)):
    write(name, {case: bytes([first]) + args for case, (first, args) in cases.items()})
write('rpc', RPC)
write('frame', {c + '-at-once': b'\xff' + d for c, d in FRAME.items()} | {c + '-in-pieces': b'\x02' + d for c, d in FRAME.items()})
write('keymap', KEYS)
