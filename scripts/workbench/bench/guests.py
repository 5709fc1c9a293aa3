# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests of benchmarks: what they boot, what they do, and how long that takes."""

import time

from ..guest import assets
from ..guest.guest import Config
from ..lab import lab


def config(qemu, **changes):
    """A Config of a guest with TCG, run by the path QEMU; CHANGES are fields of Config.

    Raises WorkbenchError when what guests boot cannot be had.
    """
    fields = {"kernel": assets.kernel(), "initrd": assets.initrd(),
              "firmware": assets.firmware().efi}
    return Config(qemu=qemu, **{**fields, **changes})


def kvm_config(place, qemu, **changes):
    """The same with KVM. PLACE and QEMU are what lab.enter() returns."""
    fields = {"machine": "virt,gic-version=3", "accel": "kvm", "cpu": "host", "place": place,
              "says": (lab.RECOMMENDED,)}
    return config(qemu, **{**fields, **changes})


def took(guest, command, seconds=60):
    """How many seconds GUEST takes for the shell COMMAND.

    Raises GuestError if that fails, or goes on for more than SECONDS.
    """
    start = time.monotonic()
    guest.check(command, seconds)
    return time.monotonic() - start


def starts(cpus, count):
    """The shell command that starts COUNT programs on each of CPUS, on all of them at once.

    A compiler's run does the same: it keeps all CPUs busy, and takes locks of the kernel.
    """
    loop = f"i=0; while [ $i -lt {count} ]; do busybox true; i=$((i+1)); done"
    return (f"for cpu in {' '.join(map(str, cpus))}; do taskset -c $cpu sh -c '{loop}' & done; "
            "wait")
