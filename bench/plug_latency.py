# SPDX-License-Identifier: GPL-2.0-or-later
"""Time from device_add until the guest has the CPU, and until it is online, by maxcpus; TCG."""

import contextlib

from workbench.bench import guests, plugs
from workbench.guest import assets
from workbench.guest.guest import Config
from workbench.ui.report import info

SIZES = (4, 64, 240, 512)
SIZES_X86 = (4, 240)
# Linux sets aside memory for each CPU that may come: with 512 MiB it does not boot at maxcpus=512.
MEMORY = "2G"
LIMIT = 1.3
# For every 256 CPUs that may come, Linux waits one more tick before it looks whether an RCU grace
# period is over, and several of them pass while a CPU comes. With this it waits as in a guest of
# few CPUs.
SAME_WAIT = "rcutree.jiffies_till_first_fqs=1 rcutree.jiffies_till_next_fqs=1"


def _virt(stack, options, name="virt", sizes=SIZES, append=""):
    return [plugs.Subject(stack, guests.config(
        options.qemu, memory=MEMORY, append=f"quiet harness {append}",
        smp=f"2,maxcpus={size}"), name, size) for size in sizes]


def _q35(stack, options):
    if not options.qemu_x86.is_file():
        info(f"no comparison with q35: {options.qemu_x86} does not exist")
        return []
    extra = [word for folder in assets.bios_x86() for word in ("-L", folder)] + ["-vga", "none"]
    # x86 Linux numbers CPUs as they come.
    return [plugs.Subject(stack, Config(
        qemu=options.qemu_x86, kernel=assets.kernel_x86(), initrd=assets.initrd("amd64"),
        memory=MEMORY, machine="q35", cpu="qemu64", console="ttyS0", smp=f"2,maxcpus={size}",
        extra=extra), "q35", size, number=2) for size in SIZES_X86]


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    with contextlib.ExitStack() as stack:
        virt, q35 = _virt(stack, options), _q35(stack, options)
        same = _virt(stack, options, "virt, same RCU wait", (SIZES[0], SIZES[-1]), SAME_WAIT)
        plugs.measure(virt + same + q35, options.rounds)
    return (plugs.results(virt, LIMIT) + plugs.results(same)
            + (plugs.results(q35) if q35 else []))
