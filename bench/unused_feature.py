# SPDX-License-Identifier: GPL-2.0-or-later
"""What the series costs a guest that has no free CPU slots; TCG, pristine and patched QEMU.

Time to boot, a load that starts programs on all CPUs, and the downtime of a migration. What KVM's
guests pay for PSCI in QEMU instead of the kernel: kvm_own_offline.
"""

import contextlib
import dataclasses
import statistics
import tempfile
import time

from workbench.bench import benchmarks, guests
from workbench.guest import migration
from workbench.guest.guest import Guest
from workbench.ui.report import Progress

CPUS = 2
STARTS = 100            # programs on each CPU in one run of the load
LAPS = 6                # runs of the load in a round
LIMIT = 1.1
# A downtime is some ten milliseconds, of which the tail of the page transfer is the most.
LIMITS = {"boot": LIMIT, "load": LIMIT, "downtime of a migration": None}


def _boot(stack, config, name):
    """A guest that has booted, until STACK ends, and the seconds that this took."""
    start = time.monotonic()
    guest = stack.enter_context(Guest(config, f"bench-unused-{name}"))
    guest.wait_ready(180)
    return guest, time.monotonic() - start


def _downtime(stack, source, name):
    """The seconds for which the guest SOURCE stands still when it moves to a new QEMU."""
    incoming = dataclasses.replace(source.config,
                                   extra=[*source.config.extra, "-incoming", "defer"])
    destination = stack.enter_context(Guest(incoming, f"bench-unused-{name}-to"))
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    migration.begin(source, destination, f"unix:{folder}/migration")
    migration.wait_moved(source, destination, 120)
    migration.wait_running(destination)
    return source.qmp("query-migrate")["downtime"] / 1000


def _round(qemus):
    """[(name, which of LIMITS, seconds)] of one round with QEMUS, {name: path}, in that order."""
    found = []
    with contextlib.ExitStack() as stack:
        sources = {}
        for name, qemu in qemus.items():
            sources[name], seconds = _boot(stack, guests.config(qemu, smp=str(CPUS)), name)
            found.append((name, "boot", seconds))
        # In turns, so that a busy moment of the machine hits both.
        for _ in range(LAPS):
            found += [(name, "load", guests.took(source, guests.starts(range(CPUS), STARTS), 120))
                      for name, source in sources.items()]
        found += [(name, "downtime of a migration", _downtime(stack, source, name))
                  for name, source in sources.items()]
    return found


def measure(options):
    """Returns the Results; see benchmarks.run(). Raises WorkbenchError without a pristine QEMU."""
    qemus = {"pristine": benchmarks.pristine(), "patched": options.qemu}
    times = {(name, what): [] for name in qemus for what in LIMITS}
    with Progress("measuring") as progress:
        # The first round fills the file cache.
        for count in range(options.rounds + 1):
            progress.update(f"round {count + 1} of {options.rounds + 1}")
            # Alternating order: nobody is always measured after the same neighbour.
            found = _round(dict(sorted(qemus.items(), reverse=count % 2)))
            for name, what, seconds in found if count else ():
                times[name, what].append(seconds)
    return [benchmarks.ratio(f"no free slots: {what}, pristine and patched",
                             statistics.median(times["pristine", what]),
                             statistics.median(times["patched", what]),
                             limit) for what, limit in LIMITS.items()]
