# SPDX-License-Identifier: Apache-2.0
"""An appliance of a benchmark's own: a gateway and a brick, TLS between them, started by quickstart."""
import contextlib
import os
import shutil
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def environment_of(where):
    """What DIR/env sets, over this process's environment."""
    out = subprocess.run(["bash", "-c", f". {where}/env && env -0"], check=True, stdout=subprocess.PIPE).stdout
    return dict(p.split("=", 1) for p in out.decode().split("\0") if "=" in p)


def nfs_url(env):
    return (f"nfs://{env.get('WG_HOST', '127.0.0.1')}{env['WG_EXPORT']}"
            f"?nfsport={env['WG_NFS_PORT']}&mountport={env['WG_MOUNT_PORT']}")


@contextlib.contextmanager
def appliance(programs, port, layers="", brick_layers=""):
    """Its environment (WG_*, AWS_*); it uses five ports from port on, and is gone afterwards.

    layers, brick_layers: as in windgate.conf, '{ type = "performance/nl-cache"; }'.
    """
    where = tempfile.mkdtemp(prefix="wg-bench.")
    quickstart = [f"{TOP}/quickstart", "--bin", f"{programs}/windgate", "--dir", where, "--no-install"]
    start = quickstart + ["--detach", "--no-check", "--layers", layers, "--brick-layers", brick_layers]
    for i, name in enumerate(("nfs", "mount", "s3", "s3-tls", "brick")):
        start += [f"--{name}-port", str(port + i)]
    try:
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        yield environment_of(where)
    finally:
        subprocess.run(quickstart + ["--stop"], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(where, ignore_errors=True)
