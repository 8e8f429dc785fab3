#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays a recorded brick: what would a machine crash have left, at any moment?

    replay_log.py STRACE ACKS BRICK_ROOT

STRACE is the output of `strace -f -ttt -T -y` on the brick; ACKS has a line "BEGAN ACKED KEY" for
each PUT answered with 200: when it was sent, when its answer was there, and bucket/key. A crash leaves what was synced before it, and any part
of what was not. So, for a crash at any moment:

  whole      a file may get its name only after a sync of the file that began when its last write and
             attribute had been made (else a crash could leave the name with half a file)
  durable    when a PUT is acknowledged, its name, and each directory made on the way, must have been
             synced by a sync of their directory that began after they were made
  its own    the name is one that was given between the PUT's begin and its answer: an earlier version
             of the key proves nothing of this one (two PUTs of a key must not run at once)

Both are checked at every event of the log.
"""
import re
import sys

LINE = re.compile(r'^(\d+)\s+(\d+\.\d+) (.*)$')
CALL = re.compile(r'^(\w+)\((.*)\)\s+= (-?\d+|0x[0-9a-f]+)(<.*>)?(?:\([a-z]*\))?(?: .*)?$')
FD = re.compile(r'^(\d+)<(.*)>(?:\(deleted\))?$')
CHANGES = {'write', 'pwrite64', 'pwritev', 'pwritev2', 'ftruncate', 'fallocate', 'fsetxattr', 'fchmod', 'fchown', 'ioctl'}
BY_PATH = {'setxattr', 'chmod', 'chown', 'fchmodat', 'fchownat'}


class Node:
    """A file or a directory: when it last changed, and when a sync of it last began (and ended)."""

    def __init__(self, what):
        self.what = what
        self.changed = 0.0
        self.synced = 0.0       # begin of the last completed sync
        self.syncs = []         # (begin, end)


def split(text):
    """Arguments of a call, at the commas outside of brackets and quotes."""
    out, depth, quoted, at, i = [], 0, False, 0, 0
    while i < len(text):
        c = text[i]
        if quoted:
            if c == '\\':
                i += 1
            elif c == '"':
                quoted = False
        elif c == '"':
            quoted = True
        elif c in '({[<':
            depth += 1
        elif c in ')}]>' and not (c == '>' and text[i - 1] in '-='):
            depth -= 1
        elif c == ',' and depth == 0:
            out.append(text[at:i].strip())
            at = i + 1
        i += 1
    return out + [text[at:].strip()]


def unquote(s):
    return s[1:-1].encode().decode('unicode_escape') if s.startswith('"') and s.endswith('"') else s


class Replay:
    def __init__(self, root):
        self.root = root.rstrip('/')
        self.fds = {}
        self.paths = {}         # path -> node
        self.made = {}          # path -> time at which its entry was made, in this log
        self.bad = []
        self.published = 0

    def node(self, path):
        return self.paths.setdefault(path, Node(path))

    def of_fd(self, arg):
        m = FD.match(arg)
        if not m:
            return None
        return self.fds.get(int(m[1])) or self.node(m[2])

    def of_path(self, arg):
        m = re.match(r'^"/proc/self/fd/(\d+)"$', arg)
        if m:
            return self.fds.get(int(m[1]))
        return self.node(unquote(arg)) if arg.startswith('"/') else None

    def at(self, dirfd, name):
        m = FD.match(dirfd)
        name = unquote(name)
        if name.startswith('/') or not m:
            return name
        return m[2] + '/' + name

    def private(self, path):
        return path.startswith(self.root + '/.windgate')

    def enter(self, path, node, begin, end):
        """node gets the name path."""
        self.paths[path] = node
        self.made[path] = end
        if self.private(path) or not path.startswith(self.root + '/'):
            return
        self.published += 1
        if node.changed > node.synced:
            self.bad.append('%.6f: %s is named before its last change was synced' % (begin, path))

    def call(self, begin, end, name, args, ret, ret_path):
        if ret < 0:
            return
        if name in ('openat', 'open_by_handle_at', 'openat2'):
            self.opened(name, args, ret, ret_path)
        elif name == 'close':
            m = FD.match(args[0])
            if m:
                self.fds.pop(int(m[1]), None)
        elif name in ('fsync', 'fdatasync', 'syncfs'):
            n = self.of_fd(args[0])
            if n:
                n.synced = max(n.synced, begin)
                n.syncs.append((begin, end))
        elif name in CHANGES or name in BY_PATH:
            n = self.of_fd(args[0]) if name in CHANGES else self.of_path(args[0])
            if n:
                n.changed = end
        elif name == 'copy_file_range':
            n = self.of_fd(args[2])
            if n:
                n.changed = end
        elif name in ('mkdirat', 'mknodat', 'symlinkat'):
            path = self.at(args[-2] if name == 'symlinkat' else args[0], args[-1] if name == 'symlinkat' else args[1])
            self.paths[path] = Node(path)
            self.made[path] = end
        elif name == 'linkat':
            n = self.of_path(args[1]) or self.paths.get(self.at(args[0], args[1]))
            if n is None:
                n = self.of_fd(args[0]) if args[1] == '""' else self.node(self.at(args[0], args[1]))
            self.enter(self.at(args[2], args[3]), n, begin, end)
        elif name in ('renameat', 'renameat2'):
            old, new = self.at(args[0], args[1]), self.at(args[2], args[3])
            n = self.node(old)
            if 'RENAME_EXCHANGE' in ''.join(args[4:]):
                self.paths[old], self.made[old] = self.node(new), end
            else:
                self.paths.pop(old, None)
                self.made.pop(old, None)
            self.enter(new, n, begin, end)
        elif name == 'unlinkat':
            path = self.at(args[0], args[1])
            self.paths.pop(path, None)
            self.made.pop(path, None)

    def opened(self, name, args, ret, ret_path):
        if 'O_TMPFILE' in ''.join(args):
            n = Node(ret_path)
        else:
            n = self.of_path(args[1]) if name == 'openat' else None
            if n is None:
                n = self.node(ret_path)
        self.fds[ret] = n

    def acknowledged(self, t, began, key):
        path = self.root + '/' + key
        if path not in self.paths:
            self.bad.append('%.6f: %s is acknowledged, but has no name' % (t, key))
            return
        if not began <= self.made.get(path, 0.0) <= t:
            self.bad.append('%.6f: %s is acknowledged, but its name is of another PUT' % (t, key))
            return
        while path != self.root:
            parent = path.rpartition('/')[0]
            if path in self.made:
                syncs = self.paths[parent].syncs if parent in self.paths else []
                if not any(b >= self.made[path] and e <= t for b, e in syncs):
                    self.bad.append('%.6f: %s is acknowledged, but the name %s was not synced (made %.6f)' % (t, key, path, self.made[path]))
            path = parent


def events(name):
    """(end, begin, syscall, arguments, result, path of a resulting fd), in order of their ends."""
    open_calls, out = {}, []
    for line in open(name, errors='surrogateescape'):
        m = LINE.match(line.rstrip('\n'))
        if not m:
            continue
        pid, t, rest = int(m[1]), float(m[2]), m[3]
        begin = t
        if rest.endswith('<unfinished ...>'):
            open_calls[pid] = (t, rest[:-len('<unfinished ...>')].rstrip())
            continue
        if rest.startswith('<... '):
            if pid not in open_calls:
                continue
            begin, head = open_calls.pop(pid)
            rest = head + rest.split(' resumed>', 1)[1]
            end = t
        took = re.search(r' <(\d+\.\d+)>$', rest)
        if took:
            rest = rest[:took.start()]
            end = begin + float(took[1])
        else:
            end = t
        c = CALL.match(rest)
        if c:
            path = re.sub(r'>(\(deleted\))?$', '', c[4][1:]) if c[4] else ''
            out.append((end, begin, c[1], split(c[2]), int(c[3], 0), path))
    return sorted(out, key=lambda e: e[0])


def main():
    log, acks, root = sys.argv[1:4]
    todo = []
    for line in open(acks):
        began, t, key = line.rstrip('\n').split(' ', 2)
        todo.append((float(t), float(began), key))
    todo.sort()
    replay, acknowledged = Replay(root), 0
    for end, begin, name, args, ret, path in events(log):
        while todo and todo[0][0] < end:
            replay.acknowledged(*todo.pop(0))
            acknowledged += 1
        replay.call(begin, end, name, args, ret, path)
    for ack in todo:
        replay.acknowledged(*ack)
        acknowledged += 1
    print('%d names given, %d PUTs acknowledged, %d violations' % (replay.published, acknowledged, len(replay.bad)))
    for b in replay.bad[:20]:
        print(b)
    if replay.published < acknowledged or acknowledged == 0:
        print('the log does not show every PUT: nothing is proved')
        return 2
    return 1 if replay.bad else 0


if __name__ == '__main__':
    sys.exit(main())
