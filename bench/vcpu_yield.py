# SPDX-License-Identifier: GPL-2.0-or-later
"""What vCPUs that wait cost the others, with more vCPUs than host CPUs, and with as many; TCG.

Linux stops all CPUs for a moment when it takes one offline, and those that have stopped wait with
YIELD. Without the series and with it. The load starts programs on all CPUs at once, as a compiler's
run does: a guest that waits little.
"""

import contextlib
import os
import statistics

from workbench.bench import benchmarks, guests
from workbench.guest.cpus import SYSFS
from workbench.guest.guest import Guest
from workbench.ui.report import Progress

MANY = 16
SECONDS = 600
MOST_ROUNDS = 9
STARTS = 320            # programs in one run of the load, on all CPUs together
LIMIT_OFFLINE = 0.5
LIMIT_LOAD = 1.1


def _measure(qemus, count, commands, rounds):
    """{(QEMU, what): median of the seconds} of a guest with COUNT CPUs per QEMU, in turns."""
    times = {(name, what): [] for name in qemus for what in commands}
    with contextlib.ExitStack() as stack:
        pair = {name: stack.enter_context(Guest(
            guests.config(qemu, memory="1G", smp=str(count)), f"bench-yield-{name}-{count}"))
            for name, qemu in qemus.items()}
        for guest in pair.values():
            guest.wait_ready(SECONDS)
        progress = stack.enter_context(Progress(f"{count} CPUs"))
        for number in range(rounds):
            progress.update(f"round {number + 1} of {rounds}")
            # Alternating order: nobody is always measured after the same neighbour.
            for name in sorted(pair, reverse=number % 2):
                for what, command in commands.items():
                    times[name, what].append(guests.took(pair[name], command, SECONDS))
    return {key: statistics.median(found) for key, found in times.items()}


def measure(options):
    """Returns the Results; see benchmarks.run(). Raises WorkbenchError without a pristine QEMU."""
    qemus = {"pristine": benchmarks.pristine(), "patched": options.qemu}
    rounds = min(options.rounds, MOST_ROUNDS)
    host = max(len(os.sched_getaffinity(0)), 2)
    results = []
    for count in (MANY, host):
        online = f"{SYSFS}/cpu{count - 1}/online"
        commands = {"offline": f"echo 0 > {online}", "online": f"echo 1 > {online}",
                    "load on all CPUs": guests.starts(range(count), STARTS // count)}
        found = _measure(qemus, count, commands, rounds)
        limits = {"offline": LIMIT_OFFLINE if count > host else None,
                  "load on all CPUs": LIMIT_LOAD}
        results += [benchmarks.ratio(f"{count} CPUs, {what}, pristine and patched",
                                     found["pristine", what], found["patched", what],
                                     limits.get(what), benchmarks.seconds) for what in commands]
    return results
