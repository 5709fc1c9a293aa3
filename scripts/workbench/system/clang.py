# SPDX-License-Identifier: GPL-2.0-or-later
"""Which clang builds QEMU with sanitizers.

Clang before 17 does not compile QEMU 11.1: hw/arm/fsl-imx8mm.c initializes static variables with
members of others. Debian 12 has clang 14 under the usual names, and clang 19 under its own.
"""

import functools
import re
import shutil
import subprocess

VERSION = 19                    # of the packages that host.py names
_OLDEST = 17


@functools.cache
def program(name):
    """The command for NAME, such as "clang++": the plain name only where that alone is there and
    new enough."""
    versioned = f"{name}-{VERSION}"
    if not shutil.which(versioned) and _version(name) >= _OLDEST:
        return name
    return versioned


def _version(name):
    """The major version of the program NAME; 0 if it is not there."""
    if not shutil.which(name):
        return 0
    out = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)", out)
    return int(found[1]) if found else 0
