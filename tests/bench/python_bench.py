# SPDX-License-Identifier: Apache-2.0
"""The translators that python_bench.c measures."""
import errno

import windgate
from windgate import unwind, wind


class Nothing(windgate.Xlator):
    """Treats another fop than the one that is measured."""

    def lookup(self, call, args):
        return windgate.PASS


class Pass(windgate.Xlator):
    def getattr(self, call, args):
        return windgate.PASS


class Answer(windgate.Xlator):
    def getattr(self, call, args):
        return unwind(errno.ENOENT)


class Then(windgate.Xlator):
    def getattr(self, call, args):
        return wind(call, args, self.got)

    def got(self, call, args, reply):
        return reply


class Generator(windgate.Xlator):
    def getattr(self, call, args):
        reply = yield wind(call, args)
        return reply


class Change(windgate.Xlator):
    def getattr(self, call, args):
        reply = yield wind(call, args)
        if reply.err == 0:
            reply.attr = reply.attr.replace(mode=0o444)
        return reply


class Cache(windgate.Xlator):
    """A dictionary keyed by the inode; every call is a hit."""

    def __init__(self):
        self.seen = {}

    def getattr(self, call, args):
        if args.at in self.seen:
            return unwind(errno.ENOENT)
        self.seen[args.at] = True
        return windgate.PASS
