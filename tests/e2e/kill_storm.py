#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random namespace work through NFS while a command kills and restarts servers.

Each worker owns a directory and does mkdir, rename, link, unlink, rmdir, symlink and exclusive
create there, checked against a model that knows nothing of the server: an operation that the
model says must succeed may not fail, one that must fail may not succeed, and listings and link
counts must agree. Every kill is one run of --kill (a shell command that returns when the server
is back, or before).
"""
import argparse
import os
import random
import subprocess
import sys
import threading
import time

import nfs3


class Worker(threading.Thread):
    def __init__(self, n, args, stop):
        super().__init__(daemon=True)
        self.n, self.args, self.stop = n, args, stop
        self.rnd = random.Random(args.seed * 1000 + n)
        self.m = nfs3.Mount(args.host, args.nfs_port, args.mount_port, args.export, timeout=args.timeout)
        self.top = self.m.mkdir(self.m.root, b'storm-%d-%d' % (args.seed, n))
        self.dirs = {b'': self.top}     # path -> handle
        self.files = {}                 # path -> id of the inode
        self.inodes = {}                # id -> [handle, number of links]
        self.links = {}                 # path -> target of a symlink
        self.count = self.next = 0
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
                self.count += 1
                if self.count % 200 == 0:
                    self.check(self.rnd.choice(list(self.dirs)))
            for d in list(self.dirs):
                self.check(d)
        except Exception as e:      # noqa: everything is a failure of the test, shown by the main thread
            self.error = '%s: %s after %d operations (%s)' % (type(e).__name__, e, self.count, self.doing)

    def fresh(self):
        self.next += 1
        return b'n%d' % self.next

    def split(self, path):
        d, _, name = path.rpartition(b'/')
        return self.dirs[d], name

    def step(self):
        r = self.rnd
        d = r.choice(list(self.dirs))
        path = (d + b'/' if d else b'') + self.fresh()
        files = list(self.files)
        what = r.choice('create create mkdir rename rename link unlink unlink rmdir symlink fail'.split())
        self.doing = what
        if what == 'create':
            fh, name = self.split(path)
            got = self.m.create(fh, name, how=2, verf=os.urandom(8))
            self.files[path] = self.next
            self.inodes[self.next] = [got or self.m.lookup(fh, name)[0], 1]
        elif what == 'mkdir' and len(self.dirs) < 40:
            fh, name = self.split(path)
            self.dirs[path] = self.m.mkdir(fh, name) or self.m.lookup(fh, name)[0]
        elif what == 'symlink':
            fh, name = self.split(path)
            self.m.symlink(fh, name, b'target of ' + name)
            self.links[path] = b'target of ' + name
        elif what == 'rename' and files:
            self.rename(r.choice(files), path if r.random() < 0.7 else r.choice(files))
        elif what == 'link' and files:
            old = r.choice(files)
            fh, name = self.split(path)
            self.m.link(self.inodes[self.files[old]][0], fh, name)
            self.files[path] = self.files[old]
            self.inodes[self.files[old]][1] += 1
        elif what == 'unlink' and files:
            old = r.choice(files)
            self.m.remove(*self.split(old))
            self.drop(old)
        elif what == 'rmdir':
            empty = [p for p in self.dirs if p and not any(
                q.startswith(p + b'/') for q in [*self.dirs, *self.files, *self.links])]
            if empty:
                p = r.choice(empty)
                self.m.rmdir(*self.split(p))
                del self.dirs[p]
        elif what == 'fail':
            self.must_fail(files, path)

    def must_fail(self, files, path):
        fh, name = self.split(path)
        self.expect(nfs3.NOENT, self.m.remove, fh, name)
        if files:
            f = self.rnd.choice(files)
            self.expect(nfs3.EXIST, self.m.create, *self.split(f), how=2, verf=os.urandom(8))
            self.expect(nfs3.EXIST, self.m.mkdir, *self.split(f))

    def expect(self, status, fn, *args, **kw):
        try:
            fn(*args, **kw)
        except nfs3.NfsError as e:
            if e.status == status:
                return
            raise
        raise AssertionError('%s succeeded, where status %d is due' % (fn.__name__, status))

    def drop(self, path):
        inode = self.inodes[self.files.pop(path)]
        inode[1] -= 1

    def rename(self, old, new):
        self.m.rename(*self.split(old), *self.split(new))
        if old == new or self.files.get(new) == self.files[old]:
            return      # the same inode: nothing happens (POSIX rename)
        if new in self.files:
            self.drop(new)
        self.files[new] = self.files.pop(old)

    def check(self, d):
        """A directory's listing, and the link count and handle of one of its files."""
        self.doing = 'listing'
        head = d + b'/' if d else b''
        want = sorted(p[len(head):] for p in [*self.dirs, *self.files, *self.links]
                      if p and p.startswith(head) and b'/' not in p[len(head):])
        got = sorted(self.m.names(self.dirs[d]))
        if got != want:
            raise AssertionError('%r lists %r; only there %r' % (d, sorted(set(want) - set(got)), sorted(set(got) - set(want))))
        mine = [p for p in self.files if p.startswith(head) and b'/' not in p[len(head):]]
        for p in self.rnd.sample(mine, min(3, len(mine))):
            fh, links = self.inodes[self.files[p]]
            attr = self.m.getattr(fh)
            if attr['nlink'] != links or self.m.lookup(*self.split(p))[1]['fileid'] != attr['fileid']:
                raise AssertionError('%r has %d links, not %d' % (p, attr['nlink'], links))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--host', default='127.0.0.1')
    a.add_argument('--nfs-port', type=int, required=True)
    a.add_argument('--mount-port', type=int, required=True)
    a.add_argument('--export', required=True)
    a.add_argument('--workers', type=int, default=4)
    a.add_argument('--kills', type=int, default=20)
    a.add_argument('--pause', type=float, default=0.5, help='longest pause between kills, seconds')
    a.add_argument('--kill', required=True, help='shell command')
    a.add_argument('--timeout', type=float, default=60)
    a.add_argument('--seed', type=int, default=int(time.time()))
    args = a.parse_args()
    print('seed', args.seed, flush=True)
    stop = threading.Event()
    workers = [Worker(i, args, stop) for i in range(args.workers)]
    for w in workers:
        w.start()
    rnd = random.Random(args.seed)
    for i in range(args.kills):
        time.sleep(rnd.random() * args.pause)
        if subprocess.call(['sh', '-c', args.kill]) != 0:
            print('the kill command failed')
            return 1
        if any(w.error for w in workers):
            break
    time.sleep(1)
    stop.set()
    for w in workers:
        w.join(args.timeout + 10)
    bad = [w for w in workers if w.error or w.is_alive()]
    for w in bad:
        print('worker %d: %s' % (w.n, w.error or 'hangs in %s' % w.doing))
    print('%d operations, %d kills' % (sum(w.count for w in workers), i + 1))
    return 1 if bad else 0


sys.exit(main())
