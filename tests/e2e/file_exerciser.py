#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random reads, writes, mapped reads and writes, truncations and reopenings of one file, against a model.

    file_exerciser.py FILE SEED OPERATIONS
"""
import mmap
import os
import random
import sys

LIMIT = 300000


def check(what, got, want):
    if got != want:
        at = next((i for i in range(min(len(got), len(want))) if got[i] != want[i]), min(len(got), len(want)))
        sys.exit('%s: %d bytes, not %d, or another one at %d' % (what, len(got), len(want), at))


def main():
    path, rnd, count = sys.argv[1], random.Random(int(sys.argv[2])), int(sys.argv[3])
    model = bytearray()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    for n in range(count):
        what = rnd.choice(('write', 'write', 'read', 'read', 'truncate', 'mapwrite', 'mapread', 'reopen', 'sync', 'stat'))
        at, size = rnd.randrange(LIMIT), rnd.choice((1, 7, 512, 4096, 4097, 70000))
        name = '%d: %s %d+%d of %d' % (n, what, at, size, len(model))
        if what == 'write':
            data = rnd.randbytes(size)
            check(name, os.pwrite(fd, data, at).to_bytes(8, 'big'), size.to_bytes(8, 'big'))
            model += bytes(max(0, at + size - len(model)))
            model[at:at + size] = data
        elif what == 'read':
            check(name, os.pread(fd, size, at), bytes(model[at:at + size]))
        elif what == 'truncate':
            os.ftruncate(fd, at)
            model = model[:at] + bytes(max(0, at - len(model)))
        elif what in ('mapwrite', 'mapread') and len(model):
            at %= len(model)
            size = min(size, len(model) - at)
            with mmap.mmap(fd, len(model)) as m:
                if what == 'mapread':
                    check(name, m[at:at + size], bytes(model[at:at + size]))
                else:
                    m[at:at + size] = model[at:at + size] = rnd.randbytes(size)
        elif what == 'reopen':
            os.close(fd)
            fd = os.open(path, os.O_RDWR)
            if rnd.randrange(3) == 0:        # what the server has, not the page cache
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                check(name, os.pread(fd, LIMIT * 2, 0), bytes(model))
        elif what == 'sync':
            os.fsync(fd)
        else:
            check(name, os.fstat(fd).st_size.to_bytes(8, 'big'), len(model).to_bytes(8, 'big'))
    os.close(fd)
    with open(path, 'rb') as f:
        check('the end', f.read(), bytes(model))


main()
