# SPDX-License-Identifier: GPL-2.0-or-later
"""The program cpu-probe.c, for arm64 guests: compiled, and in an initial RAM disk."""

import subprocess
from pathlib import Path

from ..build import cross
from ..system import atomic, paths
from . import assets, initramfs

SOURCE = Path(__file__).parent / "programs" / "cpu-probe.c"
FOLDER = paths.GUEST / "probe"


def initrd():
    """Path of the test guests' initial RAM disk with cpu-probe in it; made when it is old."""
    target = FOLDER / "initrd.gz"
    base = assets.initrd()
    if not target.exists() or target.stat().st_mtime < max(
            path.stat().st_mtime for path in (SOURCE, Path(__file__), base)):
        cross.toolchain()
        with atomic.new_file(FOLDER / "cpu-probe") as program, atomic.new_file(target) as new:
            subprocess.run([cross.program("gcc"), "-O2", "-Wall", "-static", "-s", "-o", program,
                            SOURCE], check=True)
            new.write_bytes(initramfs.extended(base.read_bytes(), {"bin/cpu-probe": program}))
    return target
