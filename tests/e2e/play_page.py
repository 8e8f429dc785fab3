#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""play_page.py PAGE: runs the commands of a page's examples (indented lines that begin with "$ ") in one
shell, where pauses are twice as long as written, and compares what they print with the page. Numbers, addresses and ids may differ, so may the width of
columns; a line "..." stands for any lines. Ends with 1 and says where, when something else is printed."""
import re
import subprocess
import sys
import time

PAUSES = 'sleep() { command sleep $(($1 * 2)); }'   # machines that run tests are busy
TRIES = 10                                          # of a command that only looks
MARK = 'end-of-this-command-7731'


def examples(page):
    """[line number, command, [lines of output]]"""
    found = []
    for n, line in enumerate(open(page), 1):
        line = line.rstrip('\n')
        if line.startswith('    $ '):
            found.append([n, line[6:], []])
        elif found and found[-1][1].endswith('\\') and line.startswith('    > '):
            found[-1][1] = found[-1][1][:-1] + line[6:]
        elif line.startswith('    ') and found and found[-1][2] is not None and not found[-1][3:]:
            found[-1][2].append(line[4:])
        elif found and line.strip():
            found[-1].append('closed')          # text follows: later indented lines are not its output
    return [f[:3] for f in found]


def normal(line):
    line = re.sub(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', 'ID', line)
    line = re.sub(r'\b[0-9][0-9a-fx]*(\.[0-9]+)?', 'N', line)
    line = re.sub(r'\bN(ms|s|us|min)\b', 'T', line)
    return ' '.join(line.split())


def matches(want, got):
    """Whether got, line by line, is what want says, '...' being any lines."""
    if not want:
        return not got
    if want[0].strip() == '...':
        return any(matches(want[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and normal(want[0]) == normal(got[0]) and matches(want[1:], got[1:])


def run(shell, line, command):
    shell.stdin.write(f'{command}\nprintf "\\n%s\\n" {MARK}\n')
    shell.stdin.flush()
    got = []
    while True:
        text = shell.stdout.readline()
        if not text:
            sys.exit(f'line {line}: the shell ended')
        if text.strip() == MARK:
            return got
        if text.strip():
            got.append(text.rstrip('\n'))


def main():
    shell = subprocess.Popen(['bash'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, bufsize=1)
    bad = played = 0
    run(shell, 0, PAUSES)
    for line, command, want in examples(sys.argv[1]):
        want = [w for w in want if w.strip()]
        for attempt in range(TRIES):
            got = run(shell, line, command)
            if matches(want, got) or not (command.startswith('windgate ') and want):
                break
            time.sleep(0.5)
        played += 1
        print(f'$ {command}', *got, sep='\n')
        if not matches(want, got):
            bad += 1
            print(f'--- line {line}: the page says', *want, '---', sep='\n')
    shell.stdin.close()
    print(f'{played} commands, {bad} of them print something else than the page')
    sys.exit(bad != 0 or played == 0)


main()
