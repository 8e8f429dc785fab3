# SPDX-License-Identifier: Apache-2.0
"""Names that match a pattern can be read, and not made, changed or removed through this gateway.

Fops on content and attributes name an inode, not a name: so the ids of inodes with such a name are
kept when they are looked up or listed. (A client that goes on with a handle from before the
gateway's start is met at its next lookup.)
"""
import errno
import fnmatch

import windgate
from windgate import unwind, wind


class ReadOnly(windgate.Xlator):
    options = {
        'patterns': windgate.Str('*.ro', help='Shell patterns of names, separated by commas.'),
    }

    def __init__(self):
        self.inodes = set()
        self.reload()

    def reload(self):
        self.patterns = [p.strip() for p in self.opt.patterns.split(',') if p.strip()]

    def handover(self, old):
        self.inodes = old.inodes

    def match(self, name):
        name = name.decode('utf-8', 'surrogateescape')
        return any(fnmatch.fnmatchcase(name, p) for p in self.patterns)

    def match_key(self, key):
        return any(self.match(part) for part in key.split(b'/'))

    # which inodes have such a name

    def learn(self, call, args, reply):
        if reply.err == 0 and self.match(args.at.name):
            self.inodes.add(reply.ref.gfid)
        return reply

    def lookup(self, call, args):
        return wind(call, args, self.learn) if self.match(args.at.name) else windgate.PASS

    def readdir(self, call, args):
        reply = yield wind(call, args)
        if reply.err == 0 and args.plus:
            self.inodes.update(e.ref.gfid for e in reply.entries if self.match(e.name))
        return reply

    # what changes an inode

    def change(self, call, args):
        return unwind(errno.EROFS) if args.at.gfid in self.inodes else windgate.PASS

    write = setattr = setxattr = removexattr = change

    def copy_range(self, call, args):
        return unwind(errno.EROFS) if args.to.gfid in self.inodes else windgate.PASS

    # what makes or removes a name

    def by_name(self, call, args):
        return unwind(errno.EROFS) if self.match(args.at.name) else windgate.PASS

    create = mkdir = symlink = mknod = unlink = rmdir = by_name

    def link(self, call, args):
        return unwind(errno.EROFS) if self.match(args.to.name) or args.at.gfid in self.inodes else windgate.PASS

    def rename(self, call, args):
        return unwind(errno.EROFS) if self.match(args.from_.name) or self.match(args.to.name) else windgate.PASS

    # S3

    def by_key(self, call, args):
        if args.space == windgate.SPACE_OBJECTS and self.match_key(args.key):
            return unwind(errno.EROFS)
        return windgate.PASS

    put = del_ = setmeta = by_key
