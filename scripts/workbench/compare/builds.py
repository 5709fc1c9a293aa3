# SPDX-License-Identifier: GPL-2.0-or-later
"""The two builds that are compared, and what a binary says of its machines."""

import os
import re
import subprocess
from pathlib import Path

from ..guest.ending import Judge
from ..guest.qemu import FACTOR, GuestError
from ..system import paths

PRISTINE = Path(os.environ.get("COMPAT_PRISTINE", paths.PRISTINE))
PATCHED = Path(os.environ.get("COMPAT_PATCHED", paths.PATCHED))

TIMEOUT = 60 * FACTOR       # of a program that ends by itself

# All types are compared, the oldest with the rest.
DEPRECATED = "warning: Machine type '[^']+' is deprecated"


def default_binary(build, target):
    """The path of qemu-system-TARGET in the build folder BUILD."""
    return Path(build, f"qemu-system-{target}")


def machine_types(binary, name):
    """The versioned machine types NAME-X.Y that BINARY lists, oldest first, as a list of str.

    Raises GuestError when BINARY cannot be run or has none.
    """
    found = re.findall(rf"^({re.escape(name)}-(\d+)\.(\d+))\s",
                       output(binary, "-machine", "help"), re.M)
    if not found:
        raise GuestError(f"{binary} lists no machine type {name}-X.Y")
    return [name for name, *_ in sorted(found, key=lambda f: (int(f[1]), int(f[2])))]


def machine_has(binary, machine, option):
    """Whether MACHINE of BINARY has the option OPTION (str). Raises GuestError."""
    return re.search(rf"^\s*{re.escape(option)}=", output(binary, "-machine", f"{machine},help"),
                     re.M) is not None


def output(binary, *words):
    """What BINARY prints. Raises GuestError unless it ends well and complains of nothing."""
    command = [str(binary), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.SubprocessError) as e:
        raise GuestError(f"{' '.join(command)} failed: {e}. Build it first.") from e
    wrong = Judge((DEPRECATED,)).verdict(done.returncode, done.stderr)
    if wrong:
        raise GuestError(f"{' '.join(command)}: {wrong}")
    return done.stdout
