# SPDX-License-Identifier: Apache-2.0
"""Translators for test_python.c: each class shows one thing, good or bad."""
import errno
import os
import sys
import threading
import time

import windgate
from windgate import Xlator, unwind, wind


# --- ways to write a method ----------------------------------------------------------------------

class Change(Xlator):
    """A generator that sees the reply and changes it."""
    options = {'mask': windgate.Int(0o222, min=0, max=0o777, help='permission bits to take away')}

    def getattr(self, call, args):
        reply = yield wind(call, args)
        if reply.err == 0:
            reply.attr = reply.attr.replace(mode=reply.attr.mode & ~self.opt.mask)
        return reply


class Plain(Xlator):
    """Plain methods: an answer, a pass, a tail wind with other arguments, a completion."""

    def lookup(self, call, args):
        if args.at.name == b'forbidden':
            return unwind(errno.EACCES)
        return windgate.PASS

    def read(self, call, args):
        args.size = min(args.size, 7)
        return wind(call, args)

    def getattr(self, call, args):
        call.state = 'kept'
        return wind(call, args, self.got)

    def got(self, call, args, reply):
        assert call.state == 'kept' and call.op == 'getattr'
        reply.attr = reply.attr.replace(uid=77)
        return unwind(reply)


class Other(Xlator):
    """Runs other fops before it answers its own."""

    def lookup(self, call, args):
        parent = yield wind(call, windgate.GetattrArgs(at=args.at.parent))
        if parent.err:
            return unwind(parent.err)
        data = yield wind(call, windgate.ReadArgs(at=args.at.parent, offset=3, size=5))
        again = yield wind(call, windgate.LookupArgs(at=(args.at.parent, bytes(data.data).rstrip(b'\0') + b'x')))
        reply = yield wind(call, args)
        reply.parent = parent.attr.replace(size=again.attr.size)
        return reply


class Made(Xlator):
    """Answers by itself with results of its own."""

    def lookup(self, call, args):
        g = windgate.Gfid.new()
        return unwind(windgate.LookupReply(ref=g, attr=windgate.Iatt(type=windgate.REG, gfid=g, mode=0o640, size=2**40)))

    def readlink(self, call, args):
        reply = windgate.ReadlinkReply(target='über')
        return unwind(0, reply)

    def read(self, call, args):
        return unwind(windgate.ReadReply(data=b'0123456789'[args.offset:args.offset + args.size], eof=True))

    def readdir(self, call, args):
        rows = [(i + 3, b'n%d' % i, windgate.Gfid.new(), None) for i in range(5)]
        return unwind(windgate.ReaddirReply(entries=rows, eof=True))

    def getattr(self, call, args):
        return unwind(0)            # no results at all: zeroes, not a crash

    def write(self, call, args):
        data = args.data
        assert len(data) == 10 and bytes(data) == b'abcdefghij', bytes(data)
        assert bytes(memoryview(data)[3:5]) == b'de' and len(data.segments()) == 2
        args.data = bytes(data).upper()
        return wind(call, args)


class Shapes(Xlator):
    """Other ways to have a method."""

    @staticmethod
    def lookup(call, args):
        return windgate.PASS

    def read(self, *a):
        return windgate.PASS

    def getattr(self, call, args, more=3, *, and_more=4):
        return windgate.PASS


class Rows(Xlator):
    """Reads and filters a list."""

    def readdir(self, call, args):
        reply = yield wind(call, args)
        assert len(reply.entries) == 4
        assert reply.entries and [e.name for e in reply.entries] == [b'a', b'b', b'c', b'd']
        reply.entries = [e for e in reply.entries if e.name != b'b']
        return reply

    def getxattr(self, call, args):
        reply = yield wind(call, args)
        reply.xattrs = list(reply.xattrs) + [windgate.Xattr((b'user.more', b'1'))]
        return reply


class Any(Xlator):
    """Every fop alike."""

    def __init__(self):
        self.seen = []

    def any(self, call, args):
        self.seen.append(args.op)
        reply = yield wind(call, args)
        assert reply.op == args.op
        return reply

    def dump(self):
        return {'seen': len(self.seen), 'last': self.seen[-1] if self.seen else ''}


class Values(Xlator):
    """The values themselves; asserts."""

    def lookup(self, call, args):
        at = args.at
        g = at.parent.gfid
        assert at == args.at and hash(at) == hash(args.at) and at in {args.at: 1}
        assert windgate.Loc(g, at.name) == at and windgate.Loc(g, 'other') != at
        assert windgate.Gfid(str(g)) == g == windgate.Gfid(bytes(g)) and g and not windgate.Gfid()
        assert windgate.Ref(g).gfid == g and windgate.Ref(g) == at.parent and at.parent.hint == b''
        assert len({windgate.Gfid.new() for _ in range(100)}) == 100
        a = windgate.Iatt(mode=0o644, mtime=1234567890123456789, type=windgate.DIR)
        assert a.mtime == 1234567890123456789 and a.replace(mode=0) != a and a.replace() == a
        assert windgate.Iatt(mtime=-1).mtime == -1
        s = windgate.Sattr(mode=0o600, mtime_now=True)
        assert s.mode == 0o600 and s.uid is None and s.mtime_now and not s.atime_now
        assert s.replace(mode=None).mode is None
        e = windgate.Etag(md5=bytes(range(16)), parts=3)
        assert str(e) == '000102030405060708090a0b0c0d0e0f-3' and 'Etag(' in repr(e)
        for bad in (lambda: windgate.Loc(g, b''), lambda: windgate.Loc(g, b'a/b'), lambda: windgate.Loc(g, b'x' * 256),
                    lambda: windgate.Gfid('12'), lambda: windgate.Iatt(mode=-1), lambda: windgate.Iatt(mode=2**32),
                    lambda: windgate.Iatt(type=200), lambda: windgate.Iatt(nothing=1), lambda: windgate.Iatt(1),
                    lambda: windgate.Etag(md5=b'1'), lambda: windgate.GetattrArgs(what=1), lambda: windgate.Ref(g, b'x' * 32),
                    lambda: windgate.ReadReply(data=b'x' * (windgate.IO_MAX + 1)), lambda: windgate.Gfid([]),
                    lambda: windgate.LookupArgs(at=3), lambda: windgate.ReaddirReply(entries=[(1,)]),
                    lambda: windgate.ReaddirReply(entries=7), lambda: unwind('x'), lambda: unwind(-1), lambda: wind(call),
                    lambda: wind(call, 3), lambda: wind(call, args, 3), lambda: wind(call, args, nothing=3),
                    lambda: windgate.sleep(-1), lambda: windgate.offload(3), lambda: windgate.Data()):
            try:
                bad()
            except (TypeError, ValueError, OverflowError, AttributeError):
                continue
            raise AssertionError(bad.__code__.co_firstlineno)
        assert call.uid == 1000 and call.gid == 100 and call.groups == (4, 5) and call.client == '192.0.2.7'
        assert call.frontend == 'internal' and call.what == 'test' and call.op == 'lookup' and call.time_left is None
        assert 'LookupArgs' in repr(args) and str(at.name) and repr(at) and repr(at.parent) and repr(g)
        assert windgate.FOPS['put'] == 'W' and windgate.FOPS['lookup'] == 'R'
        copy = windgate.LookupArgs(at=at)
        copy.at = (copy.at.parent, 'again')
        assert copy.at.name == b'again' and args.at.name != b'again'
        before = args.at
        args.at = (before.parent, 'changed')
        assert args.at.name == b'changed' and before.name == b'name'
        return (yield wind(call, windgate.LookupArgs(at=before)))


# --- waiting -------------------------------------------------------------------------------------

def slow(x):
    time.sleep(0.01)
    return x + 1


class Waits(Xlator):
    def lookup(self, call, args):
        yield windgate.sleep(0.01)
        n = yield windgate.offload(slow, 41)
        assert n == 42
        try:
            yield windgate.offload(slow, 'x')
        except TypeError:
            n = 0
        assert n == 0
        yield windgate.sleep(0)
        return (yield wind(call, args))

    def getattr(self, call, args):
        try:
            yield windgate.sleep(1000)
        finally:
            self.closed = getattr(self, 'closed', 0) + (args.at.gfid is not None)

    def statfs(self, call, args):
        yield windgate.offload(slow, None)

    def dump(self):
        return {'closed': getattr(self, 'closed', 0)}


class Restless(Xlator):
    """A task of its own that never sleeps and never winds."""

    def start(self):
        self.spawn(self.own)

    def own(self, call):
        while True:
            yield windgate.offload(time.sleep, 0.001)


class Own(Xlator):
    """Timers and tasks of its own."""

    def __init__(self):
        self.ticks = self.found = self.failed = 0
        self.lock = threading.Lock()

    def start(self):
        self.timer(0.001, self.tick, 1)
        self.timer(1000, self.tick, 1000)
        self.timer(0.5, self.tick, 10**6).cancel()
        self.spawn(self.flow, 20)
        self.spawn(self.forever)
        self.spawn(self.broken)
        self.spawn(lambda call: None)

    def tick(self, n):
        self.ticks += n
        if self.ticks < 5:
            self.timer(0.001, self.tick, n)

    def flow(self, call, n):
        for i in range(n):
            reply = yield wind(call, windgate.LookupArgs(at=(windgate.ROOT, b'n%d' % i)))
            self.found += reply.err == 0
            old = reply
        reply = yield wind(call, windgate.LookupArgs(at=(windgate.ROOT, b'absent')))
        assert reply.err == errno.ENOENT
        try:
            old.attr
        except ReferenceError:
            self.found += 100

    def forever(self, call):
        while True:
            yield windgate.sleep(1000)

    def broken(self, call):
        self.failed += 1
        raise RuntimeError('on purpose')

    def dump(self):
        return {'ticks': self.ticks, 'found': self.found, 'failed': self.failed}


# --- everything that goes wrong ------------------------------------------------------------------

class Bad(Xlator):
    def __init__(self):
        self.kept = []

    def lookup(self, call, args):
        how = args.at.name.decode()
        fn = getattr(self, 'do_' + how.replace('-', '_'))
        return fn(call, args)

    def do_raise(self, call, args):
        raise ValueError('on purpose')

    def do_raise_in_generator(self, call, args):
        yield wind(call, args)
        raise ValueError('on purpose')

    def do_fail(self, call, args):
        raise windgate.Fail(errno.EDQUOT)

    def do_fail_garbage(self, call, args):
        raise windgate.Fail('EDQUOT', self)

    def do_exit(self, call, args):
        sys.exit(0)

    def do_exit_in_generator(self, call, args):
        yield wind(call, args)
        sys.exit('bye')

    def do_interrupt(self, call, args):
        raise KeyboardInterrupt

    def do_stop_iteration(self, call, args):
        yield wind(call, args)
        raise StopIteration(5)

    def do_recurse(self, call, args):
        return self.do_recurse(call, args)

    def do_recurse_in_c(self, call, args):
        x = []
        for _ in range(100000):
            x = [x]
        return repr(x)

    def do_memory(self, call, args):
        raise MemoryError

    def do_none(self, call, args):
        pass

    def do_generator_none(self, call, args):
        yield wind(call, args)

    def do_garbage(self, call, args):
        return object()

    def do_number(self, call, args):
        return 2

    def do_yield_garbage(self, call, args):
        yield {'a': 1}

    def do_class(self, call, args):
        return windgate.Iatt

    async def do_coroutine(self, call, args):
        return unwind(0)

    def do_yield_after_unwind(self, call, args):
        yield unwind(errno.EPERM)
        yield unwind(errno.EBUSY)

    def do_yield_in_finally(self, call, args):
        try:
            yield unwind(errno.EPERM)
        finally:
            yield unwind(errno.EBUSY)

    def do_other_reply(self, call, args):
        return unwind(windgate.GetattrReply())

    def do_reply_of_other_fop(self, call, args):
        return (yield wind(call, windgate.GetattrArgs(at=args.at.parent)))

    def do_tail_of_other_fop(self, call, args):
        return wind(call, windgate.GetattrArgs(at=args.at.parent))

    def do_then_raises(self, call, args):
        return wind(call, args, self.then)

    def then(self, call, args, reply):
        raise OSError(errno.EACCES, 'on purpose')

    def do_then_wrong_arguments(self, call, args):
        return wind(call, args, lambda: None)

    def do_then_with_yield(self, call, args):
        yield wind(call, args, self.then)

    def do_keep(self, call, args):
        reply = yield wind(call, args)
        self.kept = [call, args, reply, args.at, reply.attr]
        return reply

    def do_use_kept(self, call, args):
        old = self.kept
        assert old[3].name and old[4].mode is not None      # values are copies
        for f in (lambda: old[0].uid, lambda: old[1].at, lambda: old[2].attr, lambda: setattr(old[1], 'at', old[3]),
                  lambda: setattr(old[0], 'state', old), lambda: setattr(old[2], 'attr', None)):
            try:
                f()
            except ReferenceError:
                continue
            raise AssertionError
        repr(old)
        return windgate.PASS

    def do_wind_kept(self, call, args):
        return wind(call, self.kept[1])

    def do_wind_kept_call(self, call, args):
        return wind(self.kept[0], args)

    def do_unwind_kept(self, call, args):
        return unwind(self.kept[2])

    def do_keep_generator(self, call, args):
        def inner():
            yield wind(call, args)
            yield unwind(errno.EPERM)
        g = inner()
        self.kept = [g]
        return g

    def do_use_kept_generator(self, call, args):
        return self.kept[0]

    def do_share_generator(self, call, args):
        if not self.kept or not hasattr(self.kept[0], 'send'):
            def inner():
                while True:
                    yield wind(call, args)
            self.kept = [inner()]
        return self.kept[0]

    def do_close_self(self, call, args):
        g = None

        def inner():
            yield windgate.offload(lambda: g.close() or 5)
            return windgate.PASS
        g = inner()
        return g

    def do_state_cycle(self, call, args):
        call.state = [call, args, self]
        reply = yield wind(call, args)
        call.state.append(reply)
        return reply

    def do_sleep_plain(self, call, args):
        return windgate.sleep(1)

    def do_no_lease(self, call, args):
        return (yield wind(call, args, lease=True))

    def do_delete(self, call, args):
        del args.at

    def do_set_err(self, call, args):
        reply = yield wind(call, args)
        reply.err = errno.EXDEV
        return reply

    def do_success_of_an_error(self, call, args):
        reply = yield wind(call, windgate.LookupArgs(at=(args.at.parent, 'absent')))
        reply.err = 0
        return reply

    def do_bad_repr(self, call, args):
        class Odd:
            def __repr__(self):
                raise RuntimeError('no repr')
        return Odd()

    def do_bad_str(self, call, args):
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError('no str')
        raise Odd


class BadInit(Xlator):
    def __init__(self):
        raise RuntimeError('init on purpose')


class BadStart(Xlator):
    def start(self):
        raise RuntimeError('start on purpose')


class BadOption(Xlator):
    options = {'ttl': 5}


class Misspelt(Xlator):
    def lokup(self, call, args):
        return windgate.PASS


class Needs(Xlator):
    options = {'folder': windgate.Path(help='where'), 'ttl': windgate.Time('5s', min=1, max=60000), 'on': windgate.Bool(True),
               'room': windgate.Size('4K'), 'word': windgate.Str('x y'), 'count-of': windgate.Int(3)}

    def __init__(self):
        assert self.opt.folder == '/tmp' and self.opt.ttl == 1.5 and self.opt.on is True and self.opt.room == 4096
        assert self.opt.word == 'x y' and self.opt.count_of == 3 and self.name == 'py'


# --- leases --------------------------------------------------------------------------------------

class Cache(Xlator):
    leases = True

    def __init__(self):
        self.absent = {}
        self.heard = []

    def lookup(self, call, args):
        if lease := self.absent.get(args.at):
            return unwind(errno.ENOENT)
        reply = yield wind(call, args, lease=True)
        if reply.err == errno.ENOENT and reply.leased:
            assert reply.lease.holds()
            self.absent[args.at] = reply.lease
        return reply

    def invalidate(self, gfid, name):
        self.heard.append((gfid, name))

    def dump(self):
        return {'heard': len(self.heard), 'absent': len(self.absent)}


class Steady(Xlator):
    """For the leak test: all the usual at once."""

    def __init__(self):
        self.last = windgate.Lru(100)
        self.ticks = 0

    def start(self):
        self.tick()

    def tick(self):
        self.ticks += 1
        self.timer(0.001, self.tick)
        self.timer(1000, self.tick).cancel()

    def dump(self):
        return {'ticks': self.ticks}

    def lookup(self, call, args):
        call.state = [args]
        reply = yield wind(call, args)
        if reply.err:
            return unwind(reply.err)
        self.last[args.at] = reply.attr.mtime
        other = yield wind(call, windgate.GetattrArgs(at=reply.ref))
        reply.parent = other.attr
        return reply

    def getattr(self, call, args):
        return wind(call, args, self.got)

    def got(self, call, args, reply):
        return reply

    def read(self, call, args):
        reply = yield wind(call, args)
        reply.data = bytes(reply.data)
        return reply

    def readdir(self, call, args):
        reply = yield wind(call, args)
        reply.entries = list(reply.entries)
        return reply

    def statfs(self, call, args):
        raise windgate.Fail(errno.EIO)

    def access(self, call, args):
        raise ValueError('on purpose')
