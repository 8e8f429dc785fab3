# SPDX-License-Identifier: Apache-2.0
"""What this machine allows for PUTs of 64 MiB: the costs of the parts, measured alone, composed.

The parts run on different threads, so two things bound a rate: the cores, which must find time for
all parts of all connections, and on one connection its slowest part, which one thread does alone (a digest
is a chain; the transport has lanes and the file several writes at once). The limit is the lower of both.

Two limits: of the digests, the checksum and the transport; and of these with what no gateway can leave out
here, a client that sends over the same loopback, and the file's bytes on disk, by the cheapest way there is.
"""
import json
import os
import subprocess

SUMS = {"unsigned": ("CRC64NVME",), "sha256": ("SHA256", "CRC64NVME"), "crc64": ("CRC64NVME",)}
PAYLOAD = {"unsigned": "unsigned", "sha256": "SHA256", "crc64": "CRC64NVME trailer"}


def lines(*command):
    p = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in p.stdout.splitlines() if line.startswith("{")]


def parts(programs, where):
    """Seconds of CPU per GB of each part; files are written in where."""
    bench = f"{programs}/tests/bench"
    cost = {r["stage"]: r["s_GB"] for r in lines(f"{bench}/put_limit", "-d", where)}
    for name, command in (("transport", ["transport_bench", "-o", "write", "-t", "lane", "-c", 4, "-g", 1]),
                          ("TCP", ["tls_limit", "-m", "plain", "-d", "write", "-g", 1])):
        r = lines(f"{bench}/{command[0]}", *command[1:])[0]
        cost[name] = r["cli_s_GB"] + r["srv_s_GB"]
    cost["file"] = min(s for name, s in cost.items() if name.startswith("file"))
    return cost


def row(cost, used, connections, cores):
    total = sum(cost[p] for p in used)
    # The connection's thread takes the checksums while it receives; another thread takes the MD5.
    serial = {p: cost[p] for p in used if p in ("MD5", "SHA256")}
    slowest = max(serial, key=serial.get)
    by_cores, by_part = cores / total * 1e3, 1e3 / serial[slowest]
    if connections > 1 or by_cores < by_part:
        return {"MB_s": by_cores, "bound": f"{cores} cores", "parts_s_GB": {p: cost[p] for p in used}}
    return {"MB_s": by_part, "bound": slowest, "parts_s_GB": {p: cost[p] for p in used}}


def limits(programs, where):
    """Results as of the other benchmarks: {(payload, connections): its two limits}."""
    cost, cores, out = parts(programs, where), os.cpu_count(), {}
    for payload, sums in SUMS.items():
        for connections in 1, 16:
            sent = ["MD5", *sums, "transport"]
            rows = []
            for used, what in (sent, "digests, transport"), ([*sent, "TCP", "file"], "and HTTP, file"):
                r = row(cost, used, connections, cores)
                r["name"] = f"limit: put 64 MiB, {connections} conn., {PAYLOAD[payload]}: {what} ({r['bound']})"
                rows.append(r)
            out[payload, connections] = rows
    return out
