# SPDX-License-Identifier: GPL-2.0-or-later
"""Time from device_add until the guest has the CPU, and until it is online, by maxcpus.

All guests run at the same time and take turns, so that a busy moment of the machine hits all alike.
The CPU in the last slot is plugged: the one that is found last by whoever looks through the slots.
"""

import contextlib
import statistics
import time

from workbench import assets, bench
from workbench.guest import Config, Guest
from workbench.guestcpu import Cpus
from workbench.report import Progress, info

SIZES = (4, 64, 240, 512)
SIZES_X86 = (4, 240)
# Linux sets aside memory for each CPU that may come: with 512 MiB it does not boot at maxcpus=512.
MEMORY = "2G"
LIMIT = 1.3
WARM_UP = 2


class Subject:
    """A guest with MAXCPUS slots and what was measured in it, in seconds."""

    def __init__(self, stack, config, maxcpus, machine):
        self.maxcpus = maxcpus
        self.machine = machine
        self.guest = stack.enter_context(Guest(config, f"bench-{machine}-{maxcpus}"))
        self.cpus = Cpus(self.guest)
        self.present, self.online, self.own = [], [], []
        self._count = 0

    def ready(self):
        """Wait for the guest; find what is plugged and the number that Linux gives it."""
        self.guest.wait_ready()
        self._arguments = self.cpus.arguments(self.maxcpus - 1)
        # x86 Linux numbers CPUs as they come.
        self._number = self.maxcpus - 1 if self.machine == "virt" else 2

    def round(self, keep):
        """Plug, let the guest take it offline and online, unplug. KEEP the times or not."""
        self._count += 1
        ident = f"added{self._count}"
        lines = self.guest.console.lines_with_time(f"cpu-watch {self._number}", "online", 60)
        times = {}
        start = None
        for moment, line in lines:
            if line == "watching":
                start = time.monotonic()
                self.guest.qmp("device_add", {**self._arguments, "id": ident})
            times[line.split()[0]] = moment
        own = dict((line, moment) for moment, line in self.guest.console.lines_with_time(
            f"cpu-cycle {self._number}", "online", 60))
        self.guest.qmp("device_del", {"id": ident})
        # Not DEVICE_DELETED: q35 may send that seconds later, with the next change of its memory.
        self.guest.wait_for(lambda: self.maxcpus - 1 not in self.cpus.taken(), "slot to be free")
        self.guest.wait_for(lambda: self._number not in self.cpus.view().online, "CPU to be gone")
        self.guest.events()
        if keep:
            self.present.append(times["present"] - start)
            self.online.append(times["online"] - start)
            self.own.append(own["online"] - own["offline"])


def _subjects(stack, options):
    subjects = [Subject(stack, Config(
        qemu=options.qemu, kernel=assets.kernel(), initrd=assets.initrd(),
        firmware=assets.firmware().efi, memory=MEMORY,
        smp=f"2,maxcpus={size}"), size, "virt") for size in SIZES]
    if not options.qemu_x86.is_file():
        info(f"no comparison with q35: {options.qemu_x86} does not exist")
        return subjects
    extra = [word for folder in assets.bios_x86() for word in ("-L", folder)] + ["-vga", "none"]
    return subjects + [Subject(stack, Config(
        qemu=options.qemu_x86, kernel=assets.kernel_x86(), initrd=assets.initrd("amd64"),
        memory=MEMORY, machine="q35", cpu="qemu64", console="ttyS0", smp=f"2,maxcpus={size}",
        extra=extra), size, "q35") for size in SIZES_X86]


def measure(options):
    """Returns the Results; see bench.run()."""
    with contextlib.ExitStack() as stack:
        subjects = _subjects(stack, options)
        for subject in subjects:
            subject.ready()
        with Progress("plugging") as progress:
            for count in range(WARM_UP + options.rounds):
                progress.update(f"round {count + 1} of {WARM_UP + options.rounds}")
                # Alternating order: nobody is always measured after the same neighbour.
                for subject in subjects if count % 2 else reversed(subjects):
                    subject.round(keep=count >= WARM_UP)
    results = []
    for machine in ("virt", "q35"):
        ours = [subject for subject in subjects if subject.machine == machine]
        if not ours:
            continue
        for name in ("present", "online"):
            what = f"device_add to {name}"
            medians = [statistics.median(getattr(subject, name)) for subject in ours]
            for subject, median in zip(ours[1:], medians[1:]):
                limit = LIMIT if (machine, subject.maxcpus) == ("virt", 512) else None
                results.append(bench.ratio(
                    f"{machine}: {what}, maxcpus {ours[0].maxcpus} and {subject.maxcpus}",
                    medians[0], median, limit))
        # Linux itself is slower with more CPUs that may come; this is what is left without that.
        rest = [statistics.median(online - own for online, own in zip(subject.online, subject.own))
                for subject in (ours[0], ours[-1])]
        results.append(bench.ratio(
            f"{machine}: device_add to online less guest's own part, maxcpus {ours[0].maxcpus} "
            f"and {ours[-1].maxcpus}", *rest))
        for subject in ours[:1] + ours[-1:]:
            results.append(bench.ratio(
                f"{machine}: guest's own offline to online, and device_add to online, "
                f"maxcpus {subject.maxcpus}",
                statistics.median(subject.own), statistics.median(subject.online)))
    return results
