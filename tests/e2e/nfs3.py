# SPDX-License-Identifier: Apache-2.0
"""A small NFSv3 and MOUNT3 client for tests: raw RPC over TCP (RFC 5531, RFC 1813), no dependencies.

    m = Mount('127.0.0.1', 12049, 12048, '/export')
    fh = m.create(m.root, b'name')
    m.write(fh, 0, b'data'); m.commit(fh)

Every call raises NfsError(status) unless the reply is NFS3_OK. A connection that is cut is made
again and the call sent again with the same xid, as the Linux client does.
"""
import os
import socket
import struct
import time

OK, PERM, NOENT, IO, ACCES, EXIST, NOTDIR, ISDIR, INVAL = 0, 1, 2, 5, 13, 17, 20, 21, 22
NOSPC, NAMETOOLONG, NOTEMPTY, STALE = 28, 63, 66, 70
BADHANDLE, NOT_SYNC, BAD_COOKIE, NOTSUPP, TOOSMALL, JUKEBOX = 10001, 10002, 10003, 10004, 10005, 10008
REG, DIR, BLK, CHR, LNK, SOCK, FIFO = range(1, 8)
UNSTABLE, DATA_SYNC, FILE_SYNC = range(3)


class NfsError(Exception):
    def __init__(self, status, what=''):
        super().__init__('%s: nfsstat3 %d' % (what, status))
        self.status = status


class Pack:
    def __init__(self):
        self.b = bytearray()

    def u32(self, v):
        self.b += struct.pack('>I', v)
        return self

    def u64(self, v):
        self.b += struct.pack('>Q', v)
        return self

    def fixed(self, v):
        self.b += v
        return self

    def opaque(self, v):
        self.u32(len(v))
        self.b += v + bytes(-len(v) % 4)
        return self

    def time(self, v):
        return self.u32(int(v[0])).u32(int(v[1]))


class Unpack:
    def __init__(self, b):
        self.b = memoryview(b)
        self.at = 0

    def take(self, n):
        if self.at + n > len(self.b):
            raise ValueError('reply is short')
        v = bytes(self.b[self.at:self.at + n])
        self.at += n
        return v

    def u32(self):
        return struct.unpack('>I', self.take(4))[0]

    def u64(self):
        return struct.unpack('>Q', self.take(8))[0]

    def opaque(self):
        n = self.u32()
        v = self.take(n)
        self.take(-n % 4)
        return v

    def time(self):
        return (self.u32(), self.u32())


class Rpc:
    """One TCP connection to a program; calls one at a time."""

    def __init__(self, host, port, prog, vers, uid=0, gid=0, gids=(), timeout=60):
        self.addr = (host, port)
        self.prog, self.vers = prog, vers
        self.uid, self.gid, self.gids = uid, gid, list(gids)
        self.timeout = timeout
        self.sock = None
        self.xid = int.from_bytes(os.urandom(4), 'big')

    def connect(self, until):
        while True:
            try:
                s = socket.create_connection(self.addr, timeout=self.timeout)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sock = s
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def read(self, n):
        b = bytearray()
        while len(b) < n:
            piece = self.sock.recv(n - len(b))
            if not piece:
                raise ConnectionError('closed')
            b += piece
        return bytes(b)

    def record(self):
        b = bytearray()
        while True:
            mark = struct.unpack('>I', self.read(4))[0]
            b += self.read(mark & 0x7fffffff)
            if mark & 0x80000000:
                return bytes(b)

    def call(self, proc, args=b''):
        self.xid = (self.xid + 1) & 0xffffffff
        cred = Pack().u32(0).opaque(b'test').u32(self.uid).u32(self.gid).u32(len(self.gids))
        for g in self.gids:
            cred.u32(g)
        p = Pack().u32(self.xid).u32(0).u32(2).u32(self.prog).u32(self.vers).u32(proc)
        p.u32(1).opaque(bytes(cred.b)).u32(0).u32(0)
        msg = bytes(p.b) + bytes(args)
        until = time.monotonic() + self.timeout
        while True:
            try:
                if not self.sock:
                    self.connect(until)
                self.sock.sendall(struct.pack('>I', 0x80000000 | len(msg)) + msg)
                while True:
                    u = Unpack(self.record())
                    if u.u32() == self.xid:
                        break
            except (ConnectionError, OSError) as e:
                self.close()
                if time.monotonic() > until:
                    raise TimeoutError('proc %d: %s' % (proc, e))
                time.sleep(0.02)
                continue
            if u.u32() != 1:
                raise ValueError('not a reply')
            if u.u32() != 0:
                raise PermissionError('RPC denied the call: %s' % [u.u32(), u.u32()])
            u.u32()
            u.opaque()
            state = u.u32()
            if state != 0:
                raise ValueError('RPC accept state %d' % state)
            return u


ATTRS = ('type mode nlink uid gid size used major minor fsid fileid atime mtime ctime').split()


def get_attr(u):
    v = [u.u32() for _ in range(5)] + [u.u64(), u.u64(), u.u32(), u.u32(), u.u64(), u.u64(),
                                       u.time(), u.time(), u.time()]
    return dict(zip(ATTRS, v))


def post_attr(u):
    return get_attr(u) if u.u32() else None


def get_wcc(u):
    pre = (u.u64(), u.time(), u.time()) if u.u32() else None
    return pre, post_attr(u)


def sattr(mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
    p = Pack()
    for v in (mode, uid, gid):
        p.u32(0) if v is None else p.u32(1).u32(v)
    p.u32(0) if size is None else p.u32(1).u64(size)
    for v in (atime, mtime):
        if v is None:
            p.u32(0)
        elif v == 'now':
            p.u32(1)
        else:
            p.u32(2).time(v)
    return bytes(p.b)


class Mount:
    def __init__(self, host, nfsport, mountport, export, uid=0, gid=0, gids=(), timeout=60):
        m = Rpc(host, mountport, 100005, 3, uid, gid, gids, timeout)
        u = m.call(1, Pack().opaque(export.encode()).b)
        status = u.u32()
        if status:
            raise NfsError(status, 'MNT ' + export)
        self.root = u.opaque()
        m.close()
        self.rpc = Rpc(host, nfsport, 100003, 3, uid, gid, gids, timeout)

    def close(self):
        self.rpc.close()

    def do(self, proc, args, what):
        """Sends a call; waits out JUKEBOX as the kernel does; returns (status, reply)."""
        until = time.monotonic() + self.rpc.timeout
        while True:
            u = self.rpc.call(proc, args)
            status = u.u32()
            if status != JUKEBOX or time.monotonic() > until:
                return status, u
            time.sleep(0.2)

    def ok(self, proc, args, what):
        status, u = self.do(proc, args, what)
        if status:
            raise NfsError(status, what)
        return u

    def null(self):
        self.rpc.call(0)

    def getattr(self, fh):
        return get_attr(self.ok(1, Pack().opaque(fh).b, 'GETATTR'))

    def setattr(self, fh, guard=None, **kw):
        p = Pack().opaque(fh).fixed(sattr(**kw))
        p.u32(0) if guard is None else p.u32(1).time(guard)
        return get_wcc(self.ok(2, p.b, 'SETATTR'))[1]

    def lookup(self, d, name):
        u = self.ok(3, Pack().opaque(d).opaque(name).b, 'LOOKUP')
        fh = u.opaque()
        return fh, post_attr(u)

    def access(self, fh, mask=0x3f):
        u = self.ok(4, Pack().opaque(fh).u32(mask).b, 'ACCESS')
        post_attr(u)
        return u.u32()

    def readlink(self, fh):
        u = self.ok(5, Pack().opaque(fh).b, 'READLINK')
        post_attr(u)
        return u.opaque()

    def read(self, fh, offset, count):
        u = self.ok(6, Pack().opaque(fh).u64(offset).u32(count).b, 'READ')
        post_attr(u)
        u.u32()
        eof = u.u32()
        return u.opaque(), bool(eof)

    def write(self, fh, offset, data, stable=UNSTABLE):
        p = Pack().opaque(fh).u64(offset).u32(len(data)).u32(stable).opaque(data)
        u = self.ok(7, p.b, 'WRITE')
        get_wcc(u)
        return u.u32(), u.u32(), u.take(8)

    def made(self, u):
        fh = u.opaque() if u.u32() else None
        attr = post_attr(u)
        get_wcc(u)
        return fh, attr

    def create(self, d, name, how=0, verf=None, **kw):
        """how: 0 unchecked, 1 guarded, 2 exclusive (verf: 8 bytes)."""
        p = Pack().opaque(d).opaque(name).u32(how)
        p.fixed(verf if how == 2 else sattr(**(kw or {'mode': 0o644})))
        return self.made(self.ok(8, p.b, 'CREATE'))[0]

    def mkdir(self, d, name, mode=0o755):
        return self.made(self.ok(9, Pack().opaque(d).opaque(name).fixed(sattr(mode=mode)).b, 'MKDIR'))[0]

    def symlink(self, d, name, target):
        p = Pack().opaque(d).opaque(name).fixed(sattr()).opaque(target)
        return self.made(self.ok(10, p.b, 'SYMLINK'))[0]

    def mknod(self, d, name, kind, mode=0o644, major=0, minor=0):
        p = Pack().opaque(d).opaque(name).u32(kind).fixed(sattr(mode=mode))
        if kind in (CHR, BLK):
            p.u32(major).u32(minor)
        return self.made(self.ok(11, p.b, 'MKNOD'))[0]

    def remove(self, d, name):
        self.ok(12, Pack().opaque(d).opaque(name).b, 'REMOVE')

    def rmdir(self, d, name):
        self.ok(13, Pack().opaque(d).opaque(name).b, 'RMDIR')

    def rename(self, d, name, d2, name2):
        self.ok(14, Pack().opaque(d).opaque(name).opaque(d2).opaque(name2).b, 'RENAME')

    def link(self, fh, d, name):
        self.ok(15, Pack().opaque(fh).opaque(d).opaque(name).b, 'LINK')

    def readdir_page(self, d, cookie=0, verf=bytes(8), count=8192):
        u = self.ok(16, Pack().opaque(d).u64(cookie).fixed(verf).u32(count).b, 'READDIR')
        post_attr(u)
        verf = u.take(8)
        entries = []
        while u.u32():
            entries.append((u.u64(), u.opaque(), u.u64()))
        return entries, bool(u.u32()), verf

    def readdirplus_page(self, d, cookie=0, verf=bytes(8), dircount=8192, maxcount=32768):
        p = Pack().opaque(d).u64(cookie).fixed(verf).u32(dircount).u32(maxcount)
        u = self.ok(17, p.b, 'READDIRPLUS')
        post_attr(u)
        verf = u.take(8)
        entries = []
        while u.u32():
            fileid, name, cookie = u.u64(), u.opaque(), u.u64()
            attr = post_attr(u)
            fh = u.opaque() if u.u32() else None
            entries.append((fileid, name, cookie, attr, fh))
        return entries, bool(u.u32()), verf

    def names(self, d, count=8192):
        """All names but . and .., in the order of the server."""
        out, cookie, verf = [], 0, bytes(8)
        while True:
            entries, eof, verf = self.readdir_page(d, cookie, verf, count)
            out += [e[1] for e in entries if e[1] not in (b'.', b'..')]
            if eof:
                return out
            cookie = entries[-1][2]

    def fsstat(self, fh):
        u = self.ok(18, Pack().opaque(fh).b, 'FSSTAT')
        post_attr(u)
        return [u.u64() for _ in range(6)] + [u.u32()]

    def fsinfo(self, fh):
        u = self.ok(19, Pack().opaque(fh).b, 'FSINFO')
        post_attr(u)
        return [u.u32() for _ in range(7)] + [u.u64(), u.time(), u.u32()]

    def pathconf(self, fh):
        u = self.ok(20, Pack().opaque(fh).b, 'PATHCONF')
        post_attr(u)
        return [u.u32() for _ in range(6)]

    def commit(self, fh, offset=0, count=0):
        u = self.ok(21, Pack().opaque(fh).u64(offset).u32(count).b, 'COMMIT')
        get_wcc(u)
        return u.take(8)

    def write_all(self, fh, data, size=1 << 20):
        """Writes and commits, again from the start when the verifier changed in between."""
        while True:
            verfs = {self.write(fh, at, data[at:at + size])[2] for at in range(0, len(data), size)}
            verfs.add(self.commit(fh))
            if len(verfs) == 1:
                return

    def read_all(self, fh, size=1 << 20):
        out, eof = b'', False
        while not eof:
            data, eof = self.read(fh, len(out), size)
            out += data
            if not data:
                break
        return out
