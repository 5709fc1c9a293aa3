# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs at the same addresses in each run, which programs with a sanitizer need.

Their shadow memory is at fixed addresses. Older runtimes, those of LLVM before 18 among them, do
not start, or crash now and then, where Linux scatters the parts of a program over too much of the
address space (vm.mmap_rnd_bits above 28, as some distributions have it).
"""

import ctypes
from pathlib import Path

from ..ui.report import WorkbenchError

ENOUGH = 28                     # bits of randomness that all runtimes can stand
BITS = Path("/proc/sys/vm/mmap_rnd_bits")

_QUERY = 0xffffffff
_ADDR_NO_RANDOMIZE = 0x0040000  # linux/personality.h


def _personality(value):
    return ctypes.CDLL(None, use_errno=True).personality(ctypes.c_ulong(value))


def fix():
    """Have programs that this one starts from now on, and those that they start, not be scattered.

    Raises WorkbenchError where this is not allowed, as in some containers, and is needed.
    """
    now = _personality(_QUERY)
    if now != -1 and (now & _ADDR_NO_RANDOMIZE or _personality(now | _ADDR_NO_RANDOMIZE) != -1):
        return
    try:
        bits = int(BITS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if bits > ENOUGH:
        raise WorkbenchError(
            f"Programs with a sanitizer may not start here: vm.mmap_rnd_bits is {bits}, and this "
            "process is not allowed to turn the randomness of addresses off (personality(2)). Run "
            f"as root of the machine: sysctl vm.mmap_rnd_bits={ENOUGH}; or allow personality(2) "
            "in the container.")
