# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the last of many CPUs takes longer to plug than the first one, and eight at once; TCG.

What is timed of each plug is from device_add to the guest's _OST: the part of QEMU and of ACPI.
"""

import contextlib
import statistics
import time

from workbench.bench import benchmarks, guests, plugs
from workbench.guest.cpus import SYSFS, Cpus
from workbench.guest.guest import Guest
from workbench.ui.report import Progress

MAXCPUS = 512
STARTED = 2
POINTS = (60, 240, 508)
WINDOW = 8              # plugs up to a point, of which the median is taken
LIMIT = 1.5
AT_ONCE = 8
MAXCPUS_AT_ONCE = 64
MOST_ROUNDS = 5


def _start(stack, options, name, maxcpus):
    """A guest that has booted, until STACK ends, and the arguments of device_add for each slot."""
    guest = stack.enter_context(Guest(guests.config(
        options.qemu, memory="2G", smp=f"{STARTED},maxcpus={maxcpus}"), f"bench-{name}"))
    guest.wait_ready(180)
    slots = Cpus(guest).slots()
    return guest, [{"driver": slot["type"], "id": f"cpu{number}", **slot["props"]}
                   for number, slot in enumerate(slots)]


def _answered(guest, arguments):
    """Plug a CPU; the seconds from device_add to the guest's _OST, by this machine's clock."""
    clock = time.time()
    guest.qmp("device_add", arguments)
    return plugs.answered(guest, arguments["id"], 60) - clock


def _one_by_one(options):
    """The seconds of each plug, from the first to the last of POINTS, in one guest."""
    with contextlib.ExitStack() as stack:
        guest, arguments = _start(stack, options, "many-plugs", MAXCPUS)
        progress = stack.enter_context(Progress("plugging"))
        times = []
        for number in range(STARTED, STARTED + POINTS[-1]):
            progress.update(f"CPU {number}")
            times.append(_answered(guest, arguments[number]))
        return times


def _shell(numbers, state):
    """The command that writes STATE to the online files of the CPUs NUMBERS as they appear."""
    names = " ".join(str(number) for number in numbers)
    # In a shell of its own, which the first failure ends.
    return (f"(for cpu in {names}; do file={SYSFS}/cpu$cpu/online; "
            f"until [ -w $file ]; do usleep 1000; done; echo {state} > $file || exit; done)")


def _at_once(options):
    """(seconds until AT_ONCE CPUs that were added at once are online, the same of as many single
    ACPI parts, and of the guest's own from offline to online); medians."""
    together, single, own = [], [], []
    numbers = range(STARTED, STARTED + AT_ONCE)
    with contextlib.ExitStack() as stack:
        guest, arguments = _start(stack, options, "plugs-at-once", MAXCPUS_AT_ONCE)
        cpus = Cpus(guest)

        def remove():
            for number in numbers:
                cpus.delete(number)
                guest.wait_for(lambda: number not in cpus.taken(), f"slot {number} to be free", 60)
            guest.events()

        for _ in range(min(options.rounds, MOST_ROUNDS)):
            start = time.monotonic()
            for number in numbers:
                guest.qmp("device_add", arguments[number])
            guest.check(_shell(numbers, 1), 120)
            together.append(time.monotonic() - start)
            guest.check(_shell(numbers, 0), 120)
            own.append(guests.took(guest, _shell(numbers, 1), 120))
            remove()
            single.append(sum(_answered(guest, arguments[number]) for number in numbers))
            remove()
    return statistics.median(together), statistics.median(single), statistics.median(own)


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    times = _one_by_one(options)
    first = statistics.median(times[:WINDOW])
    results = [benchmarks.ratio(f"plug 1 and {point} in one guest, device_add to _OST (medians of "
                                f"{WINDOW})", first, statistics.median(times[point - WINDOW:point]),
                                LIMIT) for point in POINTS]
    together, single, own = _at_once(options)
    results.append(benchmarks.ratio(
        f"{AT_ONCE} single plugs up to _OST and the guest's own {AT_ONCE} offline to online, and "
        f"{AT_ONCE} plugs at once until all are online", single + own, together, 1))
    return results
