#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What POSIX says of system calls on files, done in a directory: each step's result is a line of output.

    posix_cases.py DIR

Run by root, in a directory of an NFS mount and in one of a local file system: the lines are the same.
"""
import errno
import os
import socket
import stat
import sys
import time

CASES = []
USER, OTHER = (65534, 65534, []), (1234, 1234, [4321])


def case(fn):
    CASES.append(fn)
    return fn


def show(r):
    return 'ok' if r is None else r


def do(what, fn, *args, **kw):
    """A line with the result of fn, or its errno."""
    try:
        r = show(fn(*args, **kw))
    except OSError as e:
        r = errno.errorcode[e.errno]
    print('  %s: %s' % (what, r))


def by(who, what, fn, *args, **kw):
    """The same, as another user, in a process of its own."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setgroups(who[2])
        os.setgid(who[1])
        os.setuid(who[0])
        do('%d %s' % (who[0], what), fn, *args, **kw)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def make(name, mode=0o644, data=b''):
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(fd, data)
    os.fchmod(fd, mode)
    os.close(fd)


def mkdir(name, mode=0o755):
    os.mkdir(name)
    os.chmod(name, mode)


def mode_of(name):
    return oct(os.lstat(name).st_mode)


def changed(field, name, fn, *args, of=None):
    """Whether fn moves that time of name forward."""
    before = getattr(os.stat(name), field)
    time.sleep(0.02)
    fn(*args)
    return 'moved' if getattr(os.stat(name), field) > before else 'stays'


@case
def names():
    make('n' * 255)
    for n in ('n' * 256, 'a/' + 'n' * 256):
        for fn in (os.lstat, os.mkdir, os.unlink, os.rmdir, os.mkfifo, os.chdir, os.readlink):
            do('%s %s' % (fn.__name__, n[:5]), fn, n)
        do('open', os.open, n, os.O_CREAT | os.O_WRONLY)
        do('rename', os.rename, 'n' * 255, n)
        do('symlink', os.symlink, 'x', n)
        do('link', os.link, 'n' * 255, n)
    make('f')
    for fn in (os.lstat, os.mkdir, os.unlink, os.rmdir, os.listdir):
        do('below a file: ' + fn.__name__, fn, 'f/x')
    for n in ('.', '..', './', 'f/'):
        for fn in (os.unlink, os.rmdir, os.mkdir, os.mkfifo):
            do('%s %s' % (fn.__name__, n), fn, n)
    do('unlink ""', os.unlink, '')


@case
def types():
    make('f')
    mkdir('d')
    mkdir('full')
    make('full/x')
    os.symlink('d', 'l')
    os.symlink('nowhere', 'dangling')
    os.mkfifo('p')
    for n in ('f', 'd', 'full', 'l', 'dangling', 'p', 'absent'):
        for fn in (os.readlink, os.rmdir, os.listdir):
            if fn is not os.rmdir or n in ('f', 'full', 'l', 'dangling', 'p', 'absent'):
                do('%s %s' % (fn.__name__, n), fn, n)
        do('O_DIRECTORY ' + n, lambda: os.close(os.open(n, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)))
        do('O_CREAT|O_EXCL ' + n, lambda: n != 'absent' and os.close(os.open(n, os.O_CREAT | os.O_EXCL)))
        do('O_NOFOLLOW ' + n, lambda: os.close(os.open(n, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)))
        do('mkdir ' + n, lambda: n != 'absent' and os.mkdir(n))
    do('unlink d', os.unlink, 'd')
    do('write d', os.open, 'd', os.O_WRONLY)
    do('truncate d', os.truncate, 'd', 0)
    do('link to d', os.link, 'd', 'd2')
    do('link to l', lambda: os.link('l', 'l2', follow_symlinks=False))
    do('l2', lambda: (os.readlink('l2'), os.lstat('l').st_nlink))
    do('open dangling to make it', lambda: os.close(os.open('dangling', os.O_CREAT | os.O_WRONLY)))
    do('nowhere', os.path.isfile, 'nowhere')


@case
def specials():
    for n, kind, dev in (('p', stat.S_IFIFO, 0), ('c', stat.S_IFCHR, os.makedev(1, 3)), ('b', stat.S_IFBLK, os.makedev(7, 200)),
                         ('s', stat.S_IFSOCK, 0), ('r', stat.S_IFREG, 0)):
        do('mknod ' + n, os.mknod, n, 0o640 | kind, dev)
        do('what it is', lambda: (mode_of(n), os.lstat(n).st_rdev, os.lstat(n).st_nlink))
        do('again', os.mknod, n, 0o640 | kind, dev)
    s = socket.socket(socket.AF_UNIX)
    do('bind', s.bind, 'sock')
    do('bound', mode_of, 'sock')
    by(USER, 'device', os.mknod, 'u', 0o600 | stat.S_IFCHR, os.makedev(1, 3))


@case
def renames():
    for n in ('f', 'g'):
        make(n, data=n.encode())
    for n in ('d', 'e', 'full'):
        mkdir(n)
    make('full/x')
    do('file over directory', os.rename, 'f', 'd')
    do('directory over file', os.rename, 'd', 'f')
    do('over full', os.rename, 'd', 'full')
    do('full over empty', os.rename, 'full', 'd')
    do('into itself', os.rename, 'd', 'd/y')
    do('into what is below', lambda: (os.mkdir('d/y'), os.rename('d', 'd/y/z')))
    do('ancestor', os.rename, 'd/y', 'd')
    do('.', os.rename, '.', 'z')
    do('absent', os.rename, 'absent', 'z')
    do('below absent', os.rename, 'f', 'absent/z')
    do('onto itself', os.rename, 'f', 'f')
    do('hard links', lambda: (os.link('f', 'h'), os.rename('f', 'h'), os.path.exists('f'), os.stat('h').st_nlink))
    do('file over file', lambda: (os.rename('f', 'g'), open('g').read(), os.stat('g').st_nlink))
    do('symlink over file', lambda: (os.symlink('q', 'l'), os.rename('l', 'g'), os.readlink('g')))
    do('links of parents', lambda: (os.stat('.').st_nlink, os.stat('d').st_nlink, os.rename('d/y', 'y'), os.stat('.').st_nlink, os.stat('d').st_nlink))
    do('dotdot', lambda: os.stat('y/..').st_ino == os.stat('.').st_ino)


@case
def links():
    make('f')
    do('count', lambda: [(os.link('f', 'h%d' % i), os.stat('f').st_nlink)[1] for i in range(5)])
    do('one file', lambda: os.path.samefile('f', 'h3'))
    do('back', lambda: [(os.unlink('h%d' % i), os.stat('f').st_nlink)[1] for i in range(5)])
    do('onto a name', os.link, 'f', 'f')
    do('ctime', changed, 'st_ctime_ns', 'f', os.link, 'f', 'h')
    do('of the directory', changed, 'st_mtime_ns', '.', os.link, 'f', 'h2')
    fd = os.open('f', os.O_RDWR)
    do('open and gone', lambda: (os.unlink('f'), os.unlink('h'), os.unlink('h2'), os.write(fd, b'abc'), os.pread(fd, 3, 0)))
    os.close(fd)
    do('directory', lambda: (os.mkdir('d'), os.stat('d').st_nlink, os.mkdir('d/e'), os.stat('d').st_nlink, os.rmdir('d/e'), os.stat('d').st_nlink))


@case
def symlinks():
    os.symlink('loop', 'loop')
    os.symlink('b', 'a')
    os.symlink('a', 'b')
    for n in ('loop', 'a', 'a/x'):
        do('stat ' + n, os.stat, n)
        do('open ' + n, os.open, n, os.O_RDONLY)
    for t in ('x' * 1023, 'x' * 4095):
        do('long', lambda: (os.symlink(t, 'l%d' % len(t)), os.readlink('l%d' % len(t)) == t, os.lstat('l%d' % len(t)).st_size))
    do('empty', os.symlink, '', 'empty')
    do('mode and owner', lambda: (mode_of('a'), os.lchown('a', 5, 6), os.lstat('a').st_uid, os.lstat('a').st_gid))
    do('times', lambda: (os.utime('a', (5, 6), follow_symlinks=False), os.lstat('a').st_mtime))


@case
def permissions():
    make('r', 0o444, b'x')
    make('none', 0o000, b'x')
    make('group', 0o040, b'x')
    os.chown('group', 0, 4321)
    make('x', 0o711, b'#!/bin/sh\n')
    mkdir('d', 0o700)
    make('d/f', 0o666)
    mkdir('w', 0o733)
    mkdir('ro', 0o555)
    make('ro/f', 0o666)
    for who in (USER, OTHER):
        for n in ('r', 'none', 'group', 'x', 'd/f', 'w/absent', 'ro/f'):
            for flags, word in ((os.O_RDONLY, 'read'), (os.O_WRONLY, 'write'), (os.O_RDWR | os.O_TRUNC, 'truncate')):
                if n != 'ro/f' or word == 'read':
                    by(who, '%s %s' % (word, n), lambda: os.close(os.open(n, flags)))
            by(who, 'access ' + n, lambda: [os.access(n, m) for m in (os.R_OK, os.W_OK, os.X_OK, os.F_OK)])
        by(who, 'list d', os.listdir, 'd')
        by(who, 'list w', os.listdir, 'w')
        for fn, n in ((os.unlink, 'ro/f'), (os.mkdir, 'ro/d'), (os.unlink, 'd/f'), (os.mkdir, 'd/e'), (os.rmdir, 'd'), (os.mkfifo, 'ro/p')):
            by(who, '%s %s' % (fn.__name__, n), fn, n)
        by(who, 'rename out', os.rename, 'ro/f', 'w/f')
        by(who, 'link', os.link, 'r', 'ro/l')
        by(who, 'symlink', os.symlink, 'r', 'ro/l')
        by(who, 'chmod', os.chmod, 'r', 0o777)
        by(who, 'chown', os.chown, 'r', who[0], who[1])
        by(who, 'utime', os.utime, 'r', (1, 2))
        by(who, 'truncate', os.truncate, 'r', 0)
        by(who, 'in w', lambda: (os.mkdir('w/%d' % who[0]), os.lstat('w/%d' % who[0]).st_uid, os.lstat('w/%d' % who[0]).st_gid))
    make('mine', 0o600)
    os.chown('mine', OTHER[0], OTHER[1])
    by(OTHER, 'to a group of ones own', lambda: (os.chown('mine', -1, 4321), os.stat('mine').st_gid))
    by(OTHER, 'to another', os.chown, 'mine', -1, 999)
    by(OTHER, 'away', os.chown, 'mine', 7, -1)
    by(OTHER, 'times', lambda: (os.utime('mine', (7, 8)), os.stat('mine').st_mtime))
    make('shared', 0o666)
    by(OTHER, 'now', os.utime, 'shared')
    by(OTHER, 'any time', os.utime, 'shared', (1, 2))
    by(OTHER, 'made read-only', lambda: (lambda fd: (os.write(fd, b'abc'), os.close(fd)))(os.open('w/ro', os.O_CREAT | os.O_WRONLY, 0o400)))


@case
def sticky():
    mkdir('t', 0o1777)
    for who in (USER, OTHER):
        n = 't/%d' % who[0]
        by(who, 'make', lambda: os.close(os.open(n, os.O_CREAT | os.O_WRONLY, 0o666)))
        by(who, 'make directory', os.mkdir, n + 'd')
    by(USER, 'unlink', os.unlink, 't/1234')
    by(USER, 'rmdir', os.rmdir, 't/1234d')
    by(USER, 'rename', os.rename, 't/1234', 't/x')
    by(USER, 'rename over', os.rename, 't/65534', 't/1234')
    by(OTHER, 'own', os.unlink, 't/1234')
    os.chown('t', OTHER[0], OTHER[1])
    by(OTHER, 'own directory', os.unlink, 't/65534')


@case
def set_id_bits():
    for who in (OTHER,):
        for bits in (0o4755, 0o6755, 0o2745):
            make('f', 0o644, b'x')
            os.chown('f', who[0], who[1])
            os.chmod('f', bits)
            by(who, 'chmod', lambda: (os.chmod('f', bits), mode_of('f')))
            by(who, 'write', lambda: (lambda fd: (os.write(fd, b'y'), os.close(fd)))(os.open('f', os.O_WRONLY)))
            do('after write', mode_of, 'f')
            os.chmod('f', bits)
            by(who, 'truncate', os.truncate, 'f', 0)
            do('after truncate', mode_of, 'f')
            os.chmod('f', bits)
            by(who, 'chown', os.chown, 'f', -1, 4321)
            do('after chown', mode_of, 'f')
            os.unlink('f')
    make('g', 0o644)
    os.chown('g', 1234, 999)
    by(OTHER, 'setgid of a group not ones own', lambda: (os.chmod('g', 0o2755), mode_of('g')))
    mkdir('d', 0o2775)
    os.chown('d', 0, 777)
    os.chmod('d', 0o2777)
    by(OTHER, 'inherits', lambda: (os.mkdir('d/s'), mode_of('d/s'), os.stat('d/s').st_gid, os.close(os.open('d/f', os.O_CREAT)), os.stat('d/f').st_gid))


@case
def times():
    make('f', 0o644, b'x')
    mkdir('d')
    for t in ((0, 0), (1, 2), (0x7fffffff, 0x7fffffff), (1 << 32) - 1 and (0xffffffff, 0xffffffff)):
        do('utime', lambda: (os.utime('f', t), os.stat('f').st_atime, os.stat('f').st_mtime))
    do('nanoseconds', lambda: (os.utime('f', ns=(1234567890123456789, 987654321123456789)), os.stat('f').st_mtime_ns))
    do('one only', lambda: (os.utime('d', ns=(10**9 + 5, 10**9 + 6)), os.stat('d').st_mtime_ns))
    do('write moves mtime', changed, 'st_mtime_ns', 'f', lambda: open('f', 'a').write('y'))
    do('chmod moves ctime', changed, 'st_ctime_ns', 'f', os.chmod, 'f', 0o600)
    do('chmod keeps mtime', changed, 'st_mtime_ns', 'f', os.chmod, 'f', 0o601)
    do('truncate moves mtime', changed, 'st_mtime_ns', 'f', os.truncate, 'f', 0)
    for what, fn in (('mkdir', lambda: os.mkdir('d/a')), ('symlink', lambda: os.symlink('x', 'd/l')), ('fifo', lambda: os.mkfifo('d/p')),
                     ('rename', lambda: os.rename('d/a', 'd/b')), ('rmdir', lambda: os.rmdir('d/b')), ('unlink', lambda: os.unlink('d/l'))):
        do(what + ' moves the directory', changed, 'st_mtime_ns', 'd', fn)
    do('a failure does not', changed, 'st_mtime_ns', 'd', lambda: do('rmdir', os.rmdir, 'd/absent'))


@case
def sizes():
    make('f', 0o644, b'abcdef')
    do('shrink', lambda: (os.truncate('f', 3), open('f', 'rb').read()))
    do('grow', lambda: (os.truncate('f', 6), open('f', 'rb').read()))
    do('negative', os.truncate, 'f', -1)
    do('hole', lambda: (os.truncate('f', 1 << 33), os.stat('f').st_size, os.stat('f').st_blocks < 64))
    fd = os.open('f', os.O_RDWR | os.O_APPEND)
    do('append', lambda: (os.truncate('f', 3), os.write(fd, b'x'), os.pwrite(fd, b'y', 0), os.stat('f').st_size))
    do('seek', lambda: (os.lseek(fd, 0, os.SEEK_END), os.lseek(fd, 1 << 40, os.SEEK_SET)))
    do('read past the end', os.read, fd, 10)
    os.close(fd)
    do('O_TRUNC', lambda: (os.close(os.open('f', os.O_WRONLY | os.O_TRUNC)), os.stat('f').st_size))
    do('room', lambda: (lambda fd: (os.posix_fallocate(fd, 0, 0) if False else 0, os.ftruncate(fd, 10), os.fstat(fd).st_size, os.close(fd)))(os.open('f', os.O_RDWR)))


@case
def limits():
    do('names', lambda: (os.pathconf('.', 'PC_NAME_MAX'), os.pathconf('.', 'PC_PATH_MAX'), os.pathconf('.', 'PC_NO_TRUNC'), os.pathconf('.', 'PC_CHOWN_RESTRICTED')))
    do('deep', lambda: [os.mkdir('/'.join(['d' * 100] * i)) for i in range(1, 20)] and 'ok')
    do('many', lambda: ([make('m%03d' % i) for i in range(300)], len(os.listdir('.')), len(set(os.listdir('.'))))[1:])
    do('across file systems', os.rename, 'm000', '/proc/m000')
    do('linked across', os.link, 'm000', '/proc/m000')


def main():
    top = sys.argv[1]
    os.umask(0o022)
    for i, fn in enumerate(CASES):
        print(fn.__name__)
        d = os.path.join(top, 'case%d' % i)
        os.mkdir(d)
        os.chmod(d, 0o777)
        os.chdir(d)
        fn()
        sys.stdout.flush()


main()
