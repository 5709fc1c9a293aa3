# SPDX-License-Identifier: GPL-2.0-or-later
"""The program cpu-probe.c, for arm64 guests: compiled, and in an initial RAM disk."""

import os
import subprocess
from pathlib import Path

from ..build import cross
from ..system import paths
from . import assets, initramfs

SOURCE = Path(__file__).parent / "programs" / "cpu-probe.c"
FOLDER = paths.GUEST / "probe"


def initrd():
    """Path of the test guests' initial RAM disk with cpu-probe in it; made when it is old."""
    target = FOLDER / "initrd.gz"
    base = assets.initrd()
    if not target.exists() or target.stat().st_mtime < max(
            path.stat().st_mtime for path in (SOURCE, Path(__file__), base)):
        FOLDER.mkdir(parents=True, exist_ok=True)
        program = FOLDER / f".cpu-probe-{os.getpid()}"
        new = FOLDER / f".new-{os.getpid()}"
        if cross.needed():
            cross.toolchain()
        subprocess.run([cross.program("gcc"), "-O2", "-Wall", "-static", "-s", "-o", program,
                        SOURCE], check=True)
        new.write_bytes(initramfs.extended(base.read_bytes(), {"bin/cpu-probe": program}))
        program.unlink()
        new.replace(target)
    return target
