#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of fuzz_nfs3 and fuzz_mount beside this file: well-formed calls."""
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
here = os.path.dirname(os.path.abspath(__file__))
for name, cases in (('nfs3', NFS), ('mount', MOUNT)):
    folder = os.path.join(here, 'corpus', name)
    os.makedirs(folder, exist_ok=True)
    for case, (first, args) in cases.items():
        with open(os.path.join(folder, case), 'wb') as f:
            f.write(bytes([first]) + args)
