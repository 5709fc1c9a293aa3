# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a plug takes until the guest has the CPU and until it is online: what benchmarks share.

The guests of a benchmark run at the same time and take turns, so that a busy moment of the machine
hits all alike. The CPU in the last slot is plugged: the one that is found last by whoever looks
through the slots.
"""

import statistics
import time

from ..guest.cpus import Cpus
from ..guest.guest import Guest
from ..guest.place import LOCAL
from ..ui.report import Progress
from . import benchmarks

WARM_UP = 2
POINTS = {"answered": "_OST"}       # what the guest evaluates when ACPI has done its part


def answered(guest, ident, seconds=20):
    """When GUEST said by _OST that it has taken the device IDENT, in seconds since 1970.

    By QEMU's clock: of use only if that is ours. Raises GuestError if it does not within SECONDS.
    """
    while True:
        event = guest.event("ACPI_DEVICE_OST", seconds)
        # What it says of a CPU that it has given back may come when the slot is free already.
        if event["data"]["info"].get("device") == ident:
            stamp = event["timestamp"]
            return stamp["seconds"] + stamp["microseconds"] / 1e6


class Subject:
    """A guest with MAXCPUS slots and what was measured in it, in seconds.

    NAME is for messages. NUMBER is what Linux calls the CPU that is plugged, by default the number
    of the last slot. STACK is an ExitStack, which ends the guest.
    """

    def __init__(self, stack, config, name, maxcpus, number=None):
        self.name = name
        self.maxcpus = maxcpus
        self.number = maxcpus - 1 if number is None else number
        self.guest = stack.enter_context(Guest(config, f"bench-{name}-{maxcpus}"))
        self.cpus = Cpus(self.guest)
        self.answered, self.present, self.online, self.own = [], [], [], []
        self._arguments = None
        self._count = 0

    def ready(self):
        """Wait for the guest, and find out what is to be plugged."""
        self.guest.wait_ready()
        self._arguments = self.cpus.arguments(self.maxcpus - 1)

    def add(self):
        """device_add of the CPU, under a new id, which is returned."""
        self._count += 1
        ident = f"added{self._count}"
        self.guest.qmp("device_add", {**self._arguments, "id": ident})
        return ident

    def remove(self, ident):
        """device_del of the CPU; returns when guest and QEMU are done with it."""
        self.guest.qmp("device_del", {"id": ident})
        # Not DEVICE_DELETED: q35 may send that seconds later, with the next change of its memory.
        self.guest.wait_for(lambda: self.maxcpus - 1 not in self.cpus.taken(), "slot to be free")
        self.guest.wait_for(lambda: self.number not in self.cpus.view().online, "CPU to be gone")
        self.guest.events()

    def round(self, keep):
        """Plug, let the guest take it offline and online, unplug. KEEP the times or not."""
        lines = self.guest.console.lines_with_time(f"cpu-watch {self.number}", "online", 60)
        times = {}
        start = clock = ident = None
        for arrival, line in lines:
            if line == "watching":
                start, clock = time.monotonic(), time.time()
                ident = self.add()
            times[line.split()[0]] = arrival
        moment = answered(self.guest, ident)
        own = dict((line, arrival) for arrival, line in self.guest.console.lines_with_time(
            f"cpu-cycle {self.number}", "online", 60))
        self.remove(ident)
        if keep:
            self.answered.append(moment - clock)
            self.present.append(times["present"] - start)
            self.online.append(times["online"] - start)
            self.own.append(own["online"] - own["offline"])


def measure(subjects, rounds):
    """Wait for all SUBJECTS and measure ROUNDS plugs of each."""
    for subject in subjects:
        subject.ready()
    with Progress("plugging") as progress:
        for count in range(WARM_UP + rounds):
            progress.update(f"round {count + 1} of {WARM_UP + rounds}")
            # Alternating order: nobody is always measured after the same neighbour.
            for subject in subjects if count % 2 else reversed(subjects):
                subject.round(keep=count >= WARM_UP)


def results(subjects, limit=None):
    """The Results of measured SUBJECTS of one kind, of which the first is the reference.

    LIMIT is how many times as long as with the first one it may take with the last one, or None.
    """
    first, last = subjects[0], subjects[-1]
    found = []
    points = ("present", "online")
    if first.guest.config.place is LOCAL:
        points = ("answered",) + points
    for name in points:
        medians = [statistics.median(getattr(subject, name)) for subject in subjects]
        for subject, median in zip(subjects[1:], medians[1:]):
            found.append(benchmarks.ratio(
                f"{first.name}: device_add to {POINTS.get(name, name)}, maxcpus {first.maxcpus} "
                f"and {subject.maxcpus}", medians[0], median, limit if subject is last else None))
    # Linux itself is slower with more CPUs that may come; this is what is left without that.
    rest = [statistics.median(online - own for online, own in zip(subject.online, subject.own))
            for subject in (first, last)]
    found.append(benchmarks.ratio(
        f"{first.name}: device_add to online less guest's own part, maxcpus {first.maxcpus} and "
        f"{last.maxcpus}", *rest))
    for subject in (first, last):
        found.append(benchmarks.ratio(
            f"{first.name}: guest's own offline to online, and device_add to online, maxcpus "
            f"{subject.maxcpus}", statistics.median(subject.own),
            statistics.median(subject.online)))
    return found
