# SPDX-License-Identifier: Apache-2.0
"""Write once, read many: a file that has not changed for `grace` can't be changed or removed until `retain` is over.

The clock is the file's ctime, which no client can set: a file is free while it is written, and is
locked grace after its last change. Directories are free, but renaming one, which moves what is in it, is not.
"""
import errno
import time

import windgate
from windgate import unwind, wind


class Worm(windgate.Xlator):
    options = {
        'grace': windgate.Time('60s', help='A file is locked when it has not changed for so long.'),
        'retain': windgate.Time('365d', help='It is free again when it has not changed for so long.'),
    }

    def locked(self, attr):
        if attr is None or attr.type != windgate.REG:
            return False
        age = time.time() - attr.ctime / 1e9
        return self.opt.grace <= age < self.opt.retain

    # by inode

    def check(self, call, ref):
        reply = yield wind(call, windgate.GetattrArgs(at=ref))
        if reply.err == 0 and self.locked(reply.attr):
            raise windgate.Fail(errno.EPERM)

    def change(self, call, args):
        yield from self.check(call, args.at)
        return windgate.PASS

    write = setattr = setxattr = removexattr = link = change

    def copy_range(self, call, args):
        yield from self.check(call, args.to)
        return windgate.PASS

    # by name: no name is looked up that is not there

    def check_name(self, call, at, directories=False):
        reply = yield wind(call, windgate.LookupArgs(at=at))
        if reply.err == 0 and (self.locked(reply.attr) or (directories and reply.attr.type == windgate.DIR)):
            raise windgate.Fail(errno.EPERM)

    def unlink(self, call, args):
        yield from self.check_name(call, args.at)
        return windgate.PASS

    def create(self, call, args):
        # An UNCHECKED create may cut the file that is there.
        if args.how == windgate.UNCHECKED and args.attrs.size is not None:
            yield from self.check_name(call, args.at)
        return windgate.PASS

    def rename(self, call, args):
        yield from self.check_name(call, args.from_, directories=True)
        yield from self.check_name(call, args.to)
        return windgate.PASS

    # by S3 key

    def check_key(self, call, args):
        if args.space != windgate.SPACE_OBJECTS:
            return
        reply = yield wind(call, windgate.GetArgs(bucket=args.bucket, key=args.key, space=args.space))
        if reply.err == 0 and self.locked(reply.attr):
            raise windgate.Fail(errno.EPERM)

    def put(self, call, args):
        yield from self.check_key(call, args)
        return windgate.PASS

    del_ = setmeta = put
