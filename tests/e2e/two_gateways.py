#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two gateways over one brick, each with caches: neither may show the past.

Workers change names and attributes through one gateway and, once that is answered, ask the other. What was
acknowledged before the question must show in the answer. Probers ask both for the same names all the time, so that
both remember much, absent names most of all.
"""
import argparse
import random
import sys
import threading
import time

import nfs3

NAMES = 12


class Failed(Exception):
    pass


def mounts(args):
    return [nfs3.Mount('127.0.0.1', n, m, args.export, timeout=60) for n, m in (args.a, args.b)]


def find(m, d, name):
    try:
        return m.lookup(d, name)
    except nfs3.NfsError as e:
        if e.status == 2:
            return None
        raise


class Prober(threading.Thread):
    def __init__(self, args, dirs, stop):
        super().__init__(daemon=True)
        self.m, self.dirs, self.stop, self.count, self.error = mounts(args), dirs, stop, 0, None

    def run(self):
        try:
            while not self.stop.is_set():
                m, d = random.choice(self.m), random.choice(self.dirs)
                find(m, d, b'n%d' % random.randrange(NAMES))
                self.count += 1
        except Exception as e:      # noqa: shown by the main thread
            self.error = e


class Worker(threading.Thread):
    def __init__(self, n, args, d, stop):
        super().__init__(daemon=True)
        self.n, self.dir, self.stop, self.m = n, d, stop, mounts(args)
        self.rnd = random.Random(args.seed * 100 + n)
        self.there = {}         # name -> kind
        self.count, self.error, self.doing = 0, None, ''
        self.source = self.m[0].create(d, b'source')

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
                self.count += 1
        except Exception as e:      # noqa
            self.error = '%s: %s after %d steps (%s)' % (type(e).__name__, e, self.count, self.doing)

    def step(self):
        one, other = self.rnd.sample(self.m, 2)
        name = b'n%d' % self.rnd.randrange(NAMES)
        if name not in self.there:
            self.must_be(other, name, False)
            self.make(one, name)
            self.must_be(other, name, True)
        elif self.rnd.random() < 0.5 and self.there[name] == 'file':
            self.change(one, other, name)
        else:
            self.remove(one, name)
            self.must_be(other, name, False)
        self.must_be(one, name, name in self.there)

    def must_be(self, m, name, there):
        found = find(m, self.dir, name)
        if (found is not None) != there:
            raise Failed('%s is %s through gateway %d after %s was answered' %
                         (name, 'absent' if there else 'there still', self.m.index(m), self.doing))

    def make(self, m, name):
        kind = self.rnd.choice('file file mkdir symlink link mknod rename'.split())
        self.doing = '%s %s through gateway %d' % (kind, name, self.m.index(m))
        if kind == 'mkdir':
            m.mkdir(self.dir, name)
        elif kind == 'symlink':
            m.symlink(self.dir, name, b'target')
        elif kind == 'link':
            m.link(self.source, self.dir, name)
        elif kind == 'mknod':
            m.mknod(self.dir, name, 7)
        elif kind == 'rename':
            m.create(self.dir, b'from')
            m.rename(self.dir, b'from', self.dir, name)
        else:
            m.create(self.dir, name, how=1)
        self.there[name] = kind

    def remove(self, m, name):
        self.doing = 'remove of %s through gateway %d' % (name, self.m.index(m))
        if self.there[name] == 'mkdir':
            m.rmdir(self.dir, name)
        elif self.rnd.random() < 0.3:
            m.rename(self.dir, name, self.dir, b'elsewhere')
            m.remove(self.dir, b'elsewhere')
        else:
            m.remove(self.dir, name)
        del self.there[name]

    def change(self, one, other, name):
        fh = find(other, self.dir, name)[0]
        other.getattr(fh)
        if self.rnd.random() < 0.5:
            mode = self.rnd.randrange(0o1000)
            self.doing = 'chmod %o of %s' % (mode, name)
            one.setattr(fh, mode=mode)
            if other.getattr(fh)['mode'] & 0o777 != mode:
                raise Failed('the mode is old')
        else:
            size = self.rnd.randrange(1, 5000)
            self.doing = 'truncate and write %d bytes of %s' % (size, name)
            one.setattr(fh, size=0)
            one.write(fh, 0, b'x' * size, stable=2)
            if other.getattr(fh)['size'] != size:
                raise Failed('the size is old')


def pair(text):
    return tuple(int(p) for p in text.split(':'))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--a', type=pair, required=True, help='NFS and MOUNT port of one gateway, N:M')
    a.add_argument('--b', type=pair, required=True)
    a.add_argument('--export', required=True)
    a.add_argument('--workers', type=int, default=3)
    a.add_argument('--probers', type=int, default=2)
    a.add_argument('--seconds', type=float, default=6)
    a.add_argument('--seed', type=int, default=int(time.time()))
    args = a.parse_args()
    print('seed', args.seed, flush=True)
    stop = threading.Event()
    m = mounts(args)[0]
    top = m.mkdir(m.root, b'two-gateways-%d' % args.seed)
    dirs = [m.mkdir(top, b'd%d' % i) for i in range(args.workers)]
    workers = [Worker(i, args, d, stop) for i, d in enumerate(dirs)]
    probers = [Prober(args, dirs, stop) for _ in range(args.probers)]
    for t in workers + probers:
        t.start()
    end = time.time() + args.seconds
    while time.time() < end and not any(t.error for t in workers + probers):
        time.sleep(0.1)
    stop.set()
    for t in workers + probers:
        t.join(90)
    bad = [t for t in workers + probers if t.error or t.is_alive()]
    for t in bad:
        print(t.error or 'hangs in %s' % getattr(t, 'doing', 'a lookup'))
    print('%d changes, %d questions beside them' % (sum(w.count for w in workers), sum(p.count for p in probers)))
    return 1 if bad or not all(w.count for w in workers) else 0


sys.exit(main())
