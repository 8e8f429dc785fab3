#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What RFC 1813 says of each NFSv3 procedure, asked of a running server.

    nfs_procedures.py --nfs-port P --mount-port P --export /e [-v] [Test.name ...]

Run by a user that the export does not squash (root). Works in a directory of its own.
"""
import argparse
import os
import random
import sys
import time
import unittest

import nfs3
from nfs3 import NfsError

ARGS = None
ZERO = bytes(8)


class Case(unittest.TestCase):
    def setUp(self):
        self.m = self.mount()
        self.d = self.m.mkdir(self.m.root, b'p-%d-%s' % (os.getpid(), self.id().rpartition('.')[2].encode()[:200]), 0o777)
        self.m.setattr(self.d, mode=0o777)

    def mount(self, **who):
        m = nfs3.Mount('127.0.0.1', ARGS.nfs_port, ARGS.mount_port, ARGS.export, **who)
        self.addCleanup(m.close)
        return m

    def fails(self, status, fn, *args, **kw):
        with self.assertRaises(NfsError) as c:
            fn(*args, **kw)
        statuses = status if isinstance(status, tuple) else (status,)
        self.assertIn(c.exception.status, statuses, fn.__name__)

    def file(self, name=b'f', data=b''):
        fh = self.m.create(self.d, name)
        if data:
            self.m.write_all(fh, data)
        return fh


class Getattr(Case):
    def test_attributes_are_those_that_were_set(self):
        fh = self.file(data=b'x' * 1000)
        self.m.setattr(fh, mode=0o640, uid=1234, gid=4321, mtime=(1000, 5), atime=(2000, 6))
        a = self.m.getattr(fh)
        self.assertEqual((a['type'], a['mode'], a['uid'], a['gid'], a['size'], a['nlink']), (nfs3.REG, 0o640, 1234, 4321, 1000, 1))
        self.assertEqual((a['mtime'], a['atime']), ((1000, 5), (2000, 6)))

    def test_a_changed_or_short_handle_is_bad(self):
        for fh in (b'', b'x', self.d[:-1], self.d[:-1] + bytes([self.d[-1] ^ 1]), bytes(64)):
            self.fails((nfs3.BADHANDLE, nfs3.STALE), self.m.getattr, fh)

    def test_a_removed_file_is_stale(self):
        fh = self.file()
        self.m.remove(self.d, b'f')
        self.fails(nfs3.STALE, self.m.getattr, fh)


class Setattr(Case):
    def test_size_grows_with_zeros_and_shrinks(self):
        fh = self.file(data=b'abcdef')
        self.m.setattr(fh, size=3)
        self.m.setattr(fh, size=10)
        self.assertEqual(self.m.read_all(fh), b'abc' + bytes(7))

    def test_a_guard_holds_only_the_present_ctime(self):
        fh = self.file()
        ctime = self.m.getattr(fh)['ctime']
        self.fails(nfs3.NOT_SYNC, self.m.setattr, fh, guard=(ctime[0] - 1, 0), mode=0o600)
        self.m.setattr(fh, guard=ctime, mode=0o600)
        self.assertEqual(self.m.getattr(fh)['mode'], 0o600)

    def test_times_can_be_the_servers(self):
        fh = self.file()
        self.m.setattr(fh, mtime=(5, 0))
        self.m.setattr(fh, mtime='now', atime='now')
        self.assertLess(abs(self.m.getattr(fh)['mtime'][0] - time.time()), 60)

    def test_a_directory_has_no_size_to_set(self):
        self.fails((nfs3.ISDIR, nfs3.INVAL), self.m.setattr, self.d, size=5)

    def test_only_the_owner_changes_the_mode(self):
        fh = self.file()
        other = self.mount(uid=1001, gid=1001)
        self.fails(nfs3.PERM, other.setattr, fh, mode=0o777)


class Lookup(Case):
    def test_dot_and_dotdot(self):
        sub = self.m.mkdir(self.d, b'sub')
        ino = lambda fh: self.m.getattr(fh)['fileid']
        self.assertEqual(ino(self.m.lookup(sub, b'..')[0]), ino(self.d))
        self.assertEqual(ino(self.m.lookup(sub, b'.')[0]), ino(sub))
        self.assertEqual(ino(self.m.lookup(self.m.root, b'..')[0]), ino(self.m.root))

    def test_names_that_are_none(self):
        self.fails(nfs3.NOENT, self.m.lookup, self.d, b'absent')
        self.fails((nfs3.INVAL, nfs3.ACCES, nfs3.NOENT), self.m.lookup, self.d, b'')
        self.fails((nfs3.INVAL, nfs3.ACCES, nfs3.NOENT), self.m.lookup, self.d, b'a/b')
        self.fails(nfs3.NAMETOOLONG, self.m.lookup, self.d, b'n' * 256)
        self.fails(nfs3.NOTDIR, self.m.lookup, self.file(), b'x')

    def test_a_handle_survives_rename(self):
        fh = self.file(data=b'same')
        self.m.rename(self.d, b'f', self.m.mkdir(self.d, b'else'), b'g')
        self.assertEqual(self.m.read_all(fh), b'same')

    def test_odd_bytes_in_names(self):
        names = [b'\xff\xfe', b'a\nb', b' ', b'-rf', b'\xc3\xa9', b'*?[', b'n' * 255, b'\x01', b'.x', b'..x']
        for n in names:
            self.file(n)
        self.assertEqual(sorted(self.m.names(self.d)), sorted(names))
        for n in names:
            self.m.lookup(self.d, n)

    def test_the_private_directory_is_not_there(self):
        self.fails((nfs3.NOENT, nfs3.ACCES), self.m.lookup, self.m.root, b'.windgate')
        self.assertNotIn(b'.windgate', self.m.names(self.m.root))


class Access(Case):
    def test_bits_follow_the_mode_and_the_caller(self):
        fh = self.file()
        self.m.setattr(fh, mode=0o640, uid=1001, gid=2002)
        read, modify, extend, execute = 1, 4, 8, 32
        self.assertEqual(self.mount(uid=1001, gid=1).access(fh) & (read | modify | extend | execute), read | modify | extend)
        self.assertEqual(self.mount(uid=9, gid=9, gids=[2002]).access(fh) & (read | modify | execute), read)
        self.assertEqual(self.mount(uid=9, gid=9).access(fh) & (read | modify | execute), 0)


class Readlink(Case):
    def test_targets_come_back_as_given(self):
        for i, target in enumerate([b'x', b'/abs/olute', b'../..', b't' * 1023, b'\xff odd']):
            self.assertEqual(self.m.readlink(self.m.symlink(self.d, b'l%d' % i, target)), target)

    def test_only_links_have_one(self):
        self.fails(nfs3.INVAL, self.m.readlink, self.file())


class ReadWrite(Case):
    def test_any_offset_and_length(self):
        rnd, model = random.Random(1), bytearray()
        fh = self.file()
        for _ in range(60):
            at, n = rnd.randrange(200000), rnd.choice([0, 1, 3, 4, 511, 4096, 65537])
            data = rnd.randbytes(n)
            self.assertEqual(self.m.write(fh, at, data, rnd.randrange(3))[0], n)
            if n:
                model += bytes(max(0, at + n - len(model)))
                model[at:at + n] = data
        self.assertEqual(self.m.getattr(fh)['size'], len(model))
        self.assertEqual(self.m.read_all(fh, 50001), bytes(model))

    def test_eof_is_said_exactly(self):
        fh = self.file(data=b'0123456789')
        self.assertEqual(self.m.read(fh, 0, 10), (b'0123456789', True))
        self.assertEqual(self.m.read(fh, 0, 9), (b'012345678', False))
        self.assertEqual(self.m.read(fh, 10, 10), (b'', True))
        self.assertEqual(self.m.read(fh, 1 << 40, 10), (b'', True))
        self.assertEqual(self.m.read(fh, 3, 0)[0], b'')

    def test_beyond_4_gib(self):
        fh = self.file()
        for at in ((1 << 32) - 2, (1 << 32) + 5, 1 << 41):
            self.m.write(fh, at, b'edge', nfs3.FILE_SYNC)
            self.assertEqual(self.m.read(fh, at, 4)[0], b'edge')
        self.assertEqual(self.m.getattr(fh)['size'], (1 << 41) + 4)
        self.assertLess(self.m.getattr(fh)['used'], 1 << 20)
        self.assertEqual(self.m.read(fh, 1 << 33, 100)[0], bytes(100))

    def test_the_largest_transfers(self):
        fh, data = self.file(), random.Random(2).randbytes(1 << 20)
        info = self.m.fsinfo(self.m.root)
        self.assertEqual((info[0], info[3]), (1 << 20, 1 << 20))
        self.assertEqual(self.m.write(fh, 7, data)[0], 1 << 20)
        self.assertEqual(self.m.read(fh, 7, 1 << 20)[0], data)

    def test_stability_is_at_least_as_asked(self):
        fh = self.file()
        for how in (nfs3.UNSTABLE, nfs3.DATA_SYNC, nfs3.FILE_SYNC):
            self.assertGreaterEqual(self.m.write(fh, 0, b'x', how)[1], how)
        self.assertEqual(self.m.write(fh, 0, b'x')[2], self.m.commit(fh))

    def test_wrong_types(self):
        self.fails((nfs3.ISDIR, nfs3.INVAL), self.m.read, self.d, 0, 10)
        self.fails((nfs3.ISDIR, nfs3.INVAL), self.m.write, self.d, 0, b'x')
        fifo = self.m.mknod(self.d, b'fifo', nfs3.FIFO)
        self.fails(nfs3.INVAL, self.m.read, fifo, 0, 10)

    def test_the_owner_writes_a_read_only_file_and_others_do_not(self):
        fh = self.file(data=b'x')
        self.m.setattr(fh, mode=0o444, uid=1001, gid=1001)
        self.mount(uid=1001, gid=1001).write(fh, 0, b'y')
        self.fails(nfs3.ACCES, self.mount(uid=1002, gid=1002).write, fh, 0, b'z')

    def test_execute_permission_allows_reading(self):
        fh = self.file(data=b'#!/bin/true')
        self.m.setattr(fh, mode=0o111)
        self.assertEqual(self.mount(uid=1002, gid=1002).read_all(fh), b'#!/bin/true')


class Create(Case):
    def test_unchecked_keeps_what_is_there(self):
        fh = self.file(data=b'kept')
        again = self.m.create(self.d, b'f')
        self.assertEqual(self.m.read_all(again or fh), b'kept')
        self.m.create(self.d, b'f', size=0)
        self.assertEqual(self.m.getattr(fh)['size'], 0)

    def test_guarded_refuses(self):
        self.file()
        self.fails(nfs3.EXIST, self.m.create, self.d, b'f', how=1, mode=0o600)

    def test_exclusive_knows_its_verifier(self):
        a = self.m.create(self.d, b'e', how=2, verf=b'verifier')
        b = self.m.create(self.d, b'e', how=2, verf=b'verifier')
        self.assertEqual(self.m.getattr(a)['fileid'], self.m.getattr(b)['fileid'])
        self.fails(nfs3.EXIST, self.m.create, self.d, b'e', how=2, verf=b'another.')

    def test_mode_and_owner(self):
        user = self.mount(uid=1001, gid=1002)
        a = user.getattr(user.create(self.d, b'mine', mode=0o604))
        self.assertEqual((a['mode'], a['uid'], a['gid']), (0o604, 1001, 1002))

    def test_a_setgid_directory_gives_its_group(self):
        self.m.setattr(self.d, gid=7777, mode=0o2777)
        user = self.mount(uid=1001, gid=1002)
        self.assertEqual(user.getattr(user.create(self.d, b'f'))['gid'], 7777)
        sub = user.getattr(user.mkdir(self.d, b's'))
        self.assertEqual((sub['gid'], sub['mode'] & 0o2000), (7777, 0o2000))

    def test_names_that_can_not_be_made(self):
        for n in (b'.', b'..'):
            self.fails((nfs3.EXIST, nfs3.INVAL, nfs3.ISDIR), self.m.create, self.d, n, how=1)
        self.fails((nfs3.INVAL, nfs3.ACCES), self.m.create, self.d, b'a/b')
        self.fails(nfs3.NAMETOOLONG, self.m.create, self.d, b'n' * 256)
        self.fails((nfs3.ACCES, nfs3.PERM, nfs3.EXIST, nfs3.INVAL), self.m.create, self.m.root, b'.windgate')


class Mknod(Case):
    def test_special_files(self):
        for name, kind in ((b'fifo', nfs3.FIFO), (b'sock', nfs3.SOCK)):
            self.assertEqual(self.m.getattr(self.m.mknod(self.d, name, kind))['type'], kind)
        dev = self.m.getattr(self.m.mknod(self.d, b'null', nfs3.CHR, major=1, minor=3))
        self.assertEqual((dev['type'], dev['major'], dev['minor']), (nfs3.CHR, 1, 3))


class RemoveRmdir(Case):
    def test_the_right_verb_for_the_type(self):
        self.m.mkdir(self.d, b's')
        self.file()
        self.fails((nfs3.ISDIR, nfs3.PERM), self.m.remove, self.d, b's')
        self.fails(nfs3.NOTDIR, self.m.rmdir, self.d, b'f')
        self.fails(nfs3.NOENT, self.m.remove, self.d, b'none')
        self.m.remove(self.d, b'f')
        self.m.rmdir(self.d, b's')

    def test_a_full_directory_stays(self):
        s = self.m.mkdir(self.d, b's')
        self.m.create(s, b'x')
        self.fails((nfs3.NOTEMPTY, nfs3.EXIST), self.m.rmdir, self.d, b's')

    def test_sticky_directories(self):
        self.m.setattr(self.d, mode=0o1777)
        a, b = self.mount(uid=1001, gid=1001), self.mount(uid=1002, gid=1002)
        a.create(self.d, b'f')
        self.fails((nfs3.PERM, nfs3.ACCES), b.remove, self.d, b'f')
        a.remove(self.d, b'f')

    def test_dot_can_not_be_removed(self):
        self.fails((nfs3.INVAL, nfs3.EXIST, nfs3.NOTEMPTY), self.m.rmdir, self.d, b'.')


class Rename(Case):
    def test_over_a_file(self):
        a, b = self.file(b'a', b'A'), self.file(b'b', b'B')
        self.m.rename(self.d, b'a', self.d, b'b')
        self.assertEqual(self.m.names(self.d), [b'b'])
        self.assertEqual(self.m.read_all(a), b'A')
        self.fails(nfs3.STALE, self.m.getattr, b)

    def test_over_a_hard_link_of_itself_does_nothing(self):
        self.m.link(self.file(b'a'), self.d, b'b')
        self.m.rename(self.d, b'a', self.d, b'b')
        self.assertEqual(sorted(self.m.names(self.d)), [b'a', b'b'])

    def test_types_must_agree(self):
        self.file(b'f')
        self.m.mkdir(self.d, b's')
        full = self.m.mkdir(self.d, b'full')
        self.m.create(full, b'x')
        self.fails((nfs3.ISDIR, nfs3.EXIST), self.m.rename, self.d, b'f', self.d, b's')
        self.fails((nfs3.NOTDIR, nfs3.EXIST), self.m.rename, self.d, b's', self.d, b'f')
        self.fails((nfs3.NOTEMPTY, nfs3.EXIST), self.m.rename, self.d, b's', self.d, b'full')
        self.fails(nfs3.INVAL, self.m.rename, self.d, b'full', full, b'inside')
        self.fails(nfs3.NOENT, self.m.rename, self.d, b'none', self.d, b'x')

    def test_a_directory_moves_with_what_is_in_it(self):
        s, t = self.m.mkdir(self.d, b's'), self.m.mkdir(self.d, b't')
        self.m.create(s, b'x')
        self.m.rename(self.d, b's', t, b'u')
        self.assertEqual(self.m.names(s), [b'x'])
        self.assertEqual(self.m.getattr(self.m.lookup(s, b'..')[0])['fileid'], self.m.getattr(t)['fileid'])


class Link(Case):
    def test_counts_and_content(self):
        fh = self.file(data=b'one')
        self.m.link(fh, self.d, b'g')
        self.assertEqual(self.m.getattr(fh)['nlink'], 2)
        self.m.remove(self.d, b'f')
        self.assertEqual(self.m.read_all(fh), b'one')
        self.fails(nfs3.EXIST, self.m.link, fh, self.d, b'g')
        self.fails((nfs3.ISDIR, nfs3.PERM, nfs3.INVAL), self.m.link, self.d, self.d, b'dir')


class Readdir(Case):
    def test_every_name_once_at_any_size(self):
        want = sorted(b'name-%04d' % i for i in range(500))
        for n in want:
            self.m.create(self.d, n)
        for count in (512, 1024, 4096, 65536):
            self.assertEqual(sorted(self.m.names(self.d, count)), want)

    def test_dot_entries_and_fileids(self):
        fh = self.file()
        got = {e[1]: e[0] for e in self.m.readdir_page(self.d)[0]}
        self.assertEqual(got[b'.'], self.m.getattr(self.d)['fileid'])
        self.assertEqual(got[b'..'], self.m.getattr(self.m.root)['fileid'])
        self.assertEqual(got[b'f'], self.m.getattr(fh)['fileid'])

    def test_removing_while_reading_hides_nothing(self):
        names = {b'n%04d' % i for i in range(1000)}
        for n in names:
            self.m.create(self.d, n)
        gone, seen, cookie, verf, eof = set(), [], 0, ZERO, False
        while not eof:
            entries, eof, verf = self.m.readdir_page(self.d, cookie, verf, 2048)
            seen += [e[1] for e in entries]
            cookie = entries[-1][2] if entries else cookie
            for n in [e[1] for e in entries if e[1] in names][::2]:
                self.m.remove(self.d, n)
                gone.add(n)
        self.assertEqual([n for n in set(seen) if seen.count(n) > 1], [])
        self.assertEqual(set(seen) & names, names)
        self.assertEqual(set(self.m.names(self.d)), names - gone)

    def test_a_buffer_too_small_for_one_entry(self):
        self.file(b'n' * 255)
        self.fails(nfs3.TOOSMALL, self.m.readdir_page, self.d, 0, ZERO, 16)

    def test_plus_gives_attributes_and_handles(self):
        for i in range(300):
            self.m.create(self.d, b'%d' % i)
        cookie, verf, eof, n = 0, ZERO, False, 0
        while not eof:
            entries, eof, verf = self.m.readdirplus_page(self.d, cookie, verf, 1000, 4000)
            for fileid, name, cookie, attr, fh in entries:
                if name not in (b'.', b'..'):
                    self.assertEqual(attr['fileid'], fileid)
                    self.assertEqual(self.m.getattr(fh)['fileid'], fileid)
                    n += 1
        self.assertEqual(n, 300)

    def test_of_a_file(self):
        self.fails(nfs3.NOTDIR, self.m.readdir_page, self.file())


class Fs(Case):
    def test_numbers_make_sense(self):
        total, free, avail = self.m.fsstat(self.m.root)[:3]
        self.assertTrue(0 < avail <= free <= total)
        self.assertEqual(self.m.pathconf(self.m.root)[1], 255)
        self.assertEqual(self.m.fsinfo(self.m.root)[9] & 0x1b, 0x1b)

    def test_null_answers(self):
        self.m.null()


class Who(Case):
    def test_permissions_are_the_callers(self):
        self.m.setattr(self.d, mode=0o755)
        user = self.mount(uid=1001, gid=1001)
        self.fails(nfs3.ACCES, user.create, self.d, b'f')
        self.fails(nfs3.ACCES, user.mkdir, self.d, b'f')
        self.file(data=b'secret')
        self.m.setattr(self.m.lookup(self.d, b'f')[0], mode=0o600)
        self.fails(nfs3.ACCES, user.read, user.lookup(self.d, b'f')[0], 0, 10)
        self.m.setattr(self.d, mode=0o700)
        self.fails(nfs3.ACCES, user.lookup, self.d, b'f')

    def test_supplementary_groups_count(self):
        self.m.setattr(self.d, mode=0o770, gid=5005)
        self.mount(uid=1001, gid=1001, gids=[5005]).create(self.d, b'f')


def main():
    global ARGS
    a = argparse.ArgumentParser()
    a.add_argument('--nfs-port', type=int, required=True)
    a.add_argument('--mount-port', type=int, required=True)
    a.add_argument('--export', required=True)
    ARGS, rest = a.parse_known_args()
    unittest.main(argv=[sys.argv[0]] + rest)


if __name__ == '__main__':
    main()
