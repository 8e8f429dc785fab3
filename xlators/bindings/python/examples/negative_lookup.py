# SPDX-License-Identifier: Apache-2.0
"""Remembers which names are absent: performance/nl-cache, in Python.

Programs that search a path for their files ask for many names that aren't there. The store promises
to say when such a name appears (the lease), so the answer is never wrong; ttl bounds what is done
on the brick's disk behind Windgate's back. Who asks is part of the key: to somebody else, who may
not search the directory, the answer is another.
"""
import errno
import time

import windgate
from windgate import unwind, wind


class NegativeLookup(windgate.Xlator):
    options = {
        'ttl': windgate.Time('60s', min=1, help='How long an absent name is believed at most.'),
        'entries': windgate.Int(65536, min=1, help='Absent names that are remembered.'),
    }
    leases = True

    def __init__(self):
        self.absent = windgate.Lru(self.opt.entries)
        self.hits = self.misses = 0

    def reload(self):
        self.absent.max = self.opt.entries

    def lookup(self, call, args):
        if args.at.name in (b'.', b'..'):
            return windgate.PASS
        return self.ask(call, args, (args.at, call.uid, call.gid, call.groups))

    def get(self, call, args):
        if args.space != windgate.SPACE_OBJECTS:
            return windgate.PASS
        return self.ask(call, args, (args.bucket, args.key, call.uid, call.gid, call.groups))

    def ask(self, call, args, key):
        entry = self.absent.get(key)
        if entry:
            lease, until = entry
            if lease and time.monotonic() < until:
                self.hits += 1
                return unwind(errno.ENOENT)
            self.absent.pop(key, None)
        self.misses += 1
        call.state = key
        return wind(call, args, self.answered, lease=True)

    def answered(self, call, args, reply):
        if reply.err == errno.ENOENT and reply.leased:
            self.absent[call.state] = reply.lease, time.monotonic() + self.opt.ttl
        return reply

    def dump(self):
        return {'absent_names': len(self.absent), 'hits': self.hits, 'misses': self.misses}
