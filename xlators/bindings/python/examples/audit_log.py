# SPDX-License-Identifier: Apache-2.0
"""A line of JSON for every fop that modifies something: when, who, from where, what, and what came of it.

Lines are written by a thread of this translator, so that no call waits for the disk; what does not
fit into the queue is counted, and the count is logged. A reload (SIGHUP) opens the file again.
"""
import json
import queue
import threading
import time

import windgate
from windgate import wind


class AuditLog(windgate.Xlator):
    options = {
        'file': windgate.Path(help='Where the lines go; they are appended.', reload=False),
        'queue': windgate.Int(10000, min=1, help='Lines that may wait to be written.', reload=False),
    }

    def __init__(self):
        self.lines = queue.Queue(self.opt.queue)
        self.lost = 0

    def start(self):
        self.out = open(self.opt.file, 'a', encoding='utf-8')
        self.writer = threading.Thread(target=self.write_lines, daemon=True)
        self.writer.start()

    def reload(self):
        self.put_line(None)

    def stop(self):
        self.lines.put('')              # the writer ends there
        self.writer.join()

    def write_lines(self):
        while (line := self.lines.get()) != '':
            try:
                if line is None:
                    self.out.close()
                    self.out = open(self.opt.file, 'a', encoding='utf-8')
                else:
                    self.out.write(line + '\n')
                if self.lines.empty():
                    self.out.flush()
            except OSError as e:
                self.log(f'{self.opt.file}: {e.strerror}', 'error')
        self.out.close()

    def put_line(self, line):
        try:
            self.lines.put_nowait(line)
        except queue.Full:
            self.lost += 1
            if self.lost & (self.lost - 1) == 0:
                self.log(f'{self.lost} lines are lost: {self.opt.file} is too slow', 'error')

    def audit(self, call, args):
        begin, shown = time.time(), repr(args)
        who = {'client': call.client, 'principal': call.principal, 'uid': call.uid, 'what': call.what}
        reply = yield wind(call, args)
        self.put_line(json.dumps({'time': round(begin, 3), 'fop': call.op, 'args': shown[1:-1].partition(' ')[2], **who,
                                  'errno': reply.err, 'ms': round((time.time() - begin) * 1000, 3)}))
        return reply

    def dump(self):
        return {'queued': self.lines.qsize(), 'lost': self.lost}


for fop, kind in windgate.FOPS.items():
    if kind == 'W':
        setattr(AuditLog, windgate.method_name(fop), AuditLog.audit)
