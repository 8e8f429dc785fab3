#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An export's rules over the wire: NFS_PORT MOUNT_PORT, of an appliance that test-nfs-rules.sh has set up."""
import os
import socket
import struct
import sys

import nfs3
from nfs3 import ACCES, PERM, Mount, NfsError, Pack

ROFS = 30
PORTS = int(sys.argv[1]), int(sys.argv[2])


def mount(export, **who):
    return Mount('127.0.0.1', *PORTS, export, **who)


def refused(status, what, *args, **kw):
    try:
        what(*args, **kw)
    except NfsError as e:
        assert e.status in (status if isinstance(status, tuple) else (status,)), e
        return
    raise AssertionError('allowed: %s%s' % (what.__name__, args[1:]))


def owner(m, fh):
    a = m.getattr(fh)
    return a['uid'], a['gid']


free = mount('/vol')
mine = free.mkdir(free.root, b'roots-own', 0o700)
secret = free.create(mine, b'secret', mode=0o600)
free.write_all(secret, b'for root')
everyone = free.mkdir(free.root, b'for-everyone', 0o777)
free.setattr(everyone, mode=0o777)


def root_is_squashed():
    m = mount('/root-squash')
    d, _ = m.lookup(m.root, b'for-everyone')
    assert owner(m, m.create(d, b'by-root', mode=0o644)) == (65534, 65534)
    own, _ = m.lookup(m.root, b'roots-own')
    refused(ACCES, m.lookup, own, b'secret')
    refused((ACCES, PERM), m.create, own, b'x')
    refused((ACCES, PERM), m.setattr, own, mode=0o777)
    refused((ACCES, PERM), m.setattr, own, uid=65534)
    refused((ACCES, PERM), m.rename, m.root, b'roots-own', d, b'taken')
    assert m.access(own) == 0
    # The handle that another export gave is another export's: it opens nothing here, nor is this one's there.
    assert m.root != free.root
    # Group 0 among the groups, or as the group, is no way round it; other users are who they are.
    free.setattr(mine, mode=0o770)
    for who in ({'uid': 1000, 'gid': 0}, {'uid': 1000, 'gid': 1000, 'gids': [0]}):
        refused(ACCES, mount('/root-squash', **who).lookup, own, b'secret')
    user = mount('/root-squash', uid=1000, gid=1001)
    assert owner(user, user.create(d, b'by-user', mode=0o644)) == (1000, 1001)


def all_are_squashed():
    for who in ({'uid': 0}, {'uid': 1000, 'gid': 1001, 'gids': [5, 6]}):
        m = mount('/all-squash', **who)
        d, _ = m.lookup(m.root, b'for-everyone')
        assert owner(m, m.create(d, b'by-%d' % who['uid'], mode=0o644)) == (1234, 2345)


def read_only_is_read_only():
    m = mount('/read-only')
    d, _ = m.lookup(m.root, b'for-everyone')
    own, _ = m.lookup(m.root, b'roots-own')
    f, _ = m.lookup(own, b'secret')
    assert m.read_all(f) == b'for root'
    assert m.access(f) & ~0x23 == 0, 'MODIFY, EXTEND or DELETE'
    refused(ROFS, m.create, d, b'x')
    refused(ROFS, m.mkdir, d, b'x')
    refused(ROFS, m.symlink, d, b'x', b'y')
    refused(ROFS, m.mknod, d, b'x', nfs3.FIFO)
    refused(ROFS, m.write, f, 0, b'x')
    refused(ROFS, m.setattr, f, mode=0o777)
    refused(ROFS, m.setattr, f, size=0)
    refused(ROFS, m.remove, own, b'secret')
    refused(ROFS, m.rmdir, m.root, b'roots-own')
    refused(ROFS, m.rename, own, b'secret', d, b'x')
    refused(ROFS, m.link, f, d, b'x')
    # A handle of the writable export whose bytes are changed to say this one's, and the other way round, is neither's.
    for a, b in ((m.root, free.root), (free.root, m.root)):
        refused((nfs3.BADHANDLE, nfs3.STALE), m.getattr, a[:9] + b[9:13] + a[13:])
    assert free.read_all(secret) == b'for root'


def reserved_ports_only():
    refused(ACCES, mount, '/reserved')            # from a port above 1023
    call = socket.create_connection

    def from_below_1024(addr, timeout):
        for port in range(1023, 600, -1):
            try:
                return call(addr, timeout, ('127.0.0.1', port))
            except OSError:
                continue
        raise SystemExit('no reserved port is free')
    socket.create_connection = from_below_1024
    m = mount('/reserved')
    m.getattr(m.root)
    root = m.root
    m.close()
    socket.create_connection = call
    free.rpc.close()
    refused((ACCES, PERM), free.getattr, root)    # its handle is no way round it


def others_are_refused():
    refused(ACCES, mount, '/elsewhere')
    refused(nfs3.NOENT, mount, '/none')


def flavors():
    """AUTH_NONE is refused where no rule allows it, and the anonymous user where one does; others are too weak."""
    def getattr_as(flavor, fh):
        s = socket.create_connection(('127.0.0.1', PORTS[0]), 30)
        p = Pack().u32(7).u32(0).u32(2).u32(100003).u32(3).u32(1).u32(flavor).opaque(b'').u32(0).u32(0).opaque(fh)
        s.sendall(struct.pack('>I', 0x80000000 | len(p.b)) + bytes(p.b))
        s.recv(4, socket.MSG_WAITALL)
        reply = struct.unpack('>5I', s.recv(65536)[:20])
        s.close()
        return reply[2:]
    assert getattr_as(0, free.root) == (1, 1, 5), 'AUTH_TOOWEAK'
    assert getattr_as(6, free.root) == (1, 1, 5), 'AUTH_TOOWEAK'
    assert getattr_as(0, mount('/all-squash').root)[0] == 0


for test in (root_is_squashed, all_are_squashed, read_only_is_read_only, reserved_ports_only, others_are_refused, flavors):
    if test is reserved_ports_only and os.getuid():
        continue
    test()
    print(test.__name__)
