# SPDX-License-Identifier: Apache-2.0
"""Holds the publishing of an S3 object until a scanner has seen its content.

The scanner is clamd, or what speaks its INSTREAM over a Unix socket: "zINSTREAM\\0", pieces, each
with its length before it, a length of 0; it answers "stream: OK" or "stream: NAME FOUND". An object that is found
infected is refused (EACCES; AccessDenied to the client), and none is published unseen: without a
scanner the answer is EAGAIN, which S3 clients take as "slow down". Files written by NFS are not held.
"""
import errno
import socket
import struct

import windgate
from windgate import offload, wind

PIECE = 1 << 20


class Scan:
    """One conversation with the scanner; all of it may block."""

    def __init__(self, path, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.settimeout(timeout)
            self.socket.connect(path)
            self.socket.sendall(b'zINSTREAM\0')
        except BaseException:
            self.socket.close()
            raise

    def send(self, piece):
        self.socket.sendall(struct.pack('>I', len(piece)) + piece)

    def verdict(self):
        self.socket.sendall(struct.pack('>I', 0))
        answer = b''
        while not answer.endswith(b'\0') and (more := self.socket.recv(4096)):
            answer += more
        return answer.rstrip(b'\0\n').decode('utf-8', 'replace')


class VirusScan(windgate.Xlator):
    options = {
        'socket': windgate.Path(help="The scanner's Unix socket."),
        'timeout': windgate.Time('60s', min=1, help='The scanner must answer within.'),
    }

    def __init__(self):
        self.clean = self.infected = self.unseen = 0

    def put(self, call, args):
        if args.space != windgate.SPACE_OBJECTS:
            return windgate.PASS        # a part of an upload: seen when the whole is published
        try:
            verdict = yield from self.scan(call, args)
        except OSError as e:
            self.unseen += 1
            self.log(f'{self.opt.socket}: {e}', 'error')
            raise windgate.Fail(errno.EAGAIN) from None
        if verdict.endswith(' FOUND'):
            self.infected += 1
            self.log(f'{args.key!r} of {call.principal} from {call.client}: {verdict}', 'warning')
            raise windgate.Fail(errno.EACCES)
        if not verdict.endswith('OK'):
            self.unseen += 1
            self.log(f'the scanner says {verdict!r}', 'error')
            raise windgate.Fail(errno.EAGAIN)
        self.clean += 1
        return (yield wind(call, args))

    def scan(self, call, args):
        """The content is in the request, or was written to a staged file before."""
        scan = yield offload(Scan, self.opt.socket, self.opt.timeout)
        try:
            if args.from_.gfid:
                offset, eof = 0, False
                while not eof:
                    reply = yield wind(call, windgate.ReadArgs(at=args.from_, offset=offset, size=PIECE))
                    if reply.err:
                        raise windgate.Fail(reply.err)
                    piece, eof = bytes(reply.data), reply.eof
                    offset += len(piece)
                    if piece:
                        yield offload(scan.send, piece)
            elif len(args.data):
                yield offload(scan.send, bytes(args.data))
            return (yield offload(scan.verdict))
        finally:
            scan.socket.close()

    def dump(self):
        return {'clean': self.clean, 'infected': self.infected, 'unseen': self.unseen}
