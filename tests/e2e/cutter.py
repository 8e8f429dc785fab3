#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that cuts: it stands between a gateway and its brick.

Each SIGUSR1 ends one or more of the connections that go through it, at whatever byte they are: by a reset, or by
closing after a few more bytes. New connections are relayed as before. Prints "ready" when it
listens, and the number of cuts at the end.
"""
import argparse
import asyncio
import os
import random
import signal
import socket
import struct

live = set()
cuts = 0
pending = 0         # 1: a signal came when nothing was connected, so the next connection is cut


class Pair:
    def __init__(self, a, b):
        self.writers = (a, b)
        self.cut_after = None           # bytes still to pass before the cut
        global cuts, pending
        if pending:
            pending = 0
            cuts += 1
            self.cut_after = random.randint(1, 20000)

    def reset(self):
        for w in self.writers:
            s = w.get_extra_info('socket')
            if s is not None and s.fileno() >= 0 and random.random() < 0.5:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            w.transport.abort()

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                if self.cut_after is not None:
                    data = data[:self.cut_after]
                    self.cut_after -= len(data)
                writer.write(data)
                if self.cut_after == 0:
                    break
                await writer.drain()
        except OSError:
            pass
        live.discard(self)
        self.reset()


def cut():
    global cuts, pending
    if not live:
        pending = 1
    for pair in random.sample(sorted(live, key=id), k=random.randint(1, len(live))) if live else ():
        cuts += 1
        if random.random() < 0.5:
            live.discard(pair)
            pair.reset()
        else:
            pair.cut_after = random.randint(1, 20000)


async def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--listen', type=int, required=True)
    a.add_argument('--to', type=int, required=True)
    args = a.parse_args()

    async def relay(reader, writer):
        try:
            r2, w2 = await asyncio.open_connection('127.0.0.1', args.to)
        except OSError:
            writer.transport.abort()
            return
        pair = Pair(writer, w2)
        live.add(pair)
        await asyncio.gather(pair.pump(reader, w2), pair.pump(r2, writer))

    server = await asyncio.start_server(relay, '127.0.0.1', args.listen)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, cut)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print('ready', flush=True)
    async with server:
        await stop.wait()
    print(f'{cuts} connections cut', flush=True)
    os._exit(0)     # without waiting for the connections that are left


asyncio.run(main())
