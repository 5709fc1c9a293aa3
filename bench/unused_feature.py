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
STARTS = 400            # programs on each CPU in one run of the load
LIMIT = 1.1
# A downtime is some ten milliseconds, of which the tail of the page transfer is the most.
LIMITS = {"boot": LIMIT, "load": LIMIT, "downtime of a migration": None}


def _round(stack, config, name):
    """Seconds of each of LIMITS, in one guest; STACK ends it."""
    start = time.monotonic()
    source = stack.enter_context(Guest(config, f"bench-unused-{name}"))
    source.wait_ready(180)
    boot = time.monotonic() - start
    load = guests.took(source, guests.starts(range(CPUS), STARTS), 120)
    incoming = dataclasses.replace(config, extra=[*config.extra, "-incoming", "defer"])
    destination = stack.enter_context(Guest(incoming, f"bench-unused-{name}-to"))
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    migration.begin(source, destination, f"unix:{folder}/migration")
    migration.wait_moved(source, destination, 120)
    migration.wait_running(destination)
    return boot, load, source.qmp("query-migrate")["downtime"] / 1000


def measure(options):
    """Returns the Results; see benchmarks.run(). Raises WorkbenchError without a pristine QEMU."""
    qemus = {"pristine": benchmarks.pristine(), "patched": options.qemu}
    times = {(name, what): [] for name in qemus for what in LIMITS}
    with Progress("measuring") as progress:
        # The first round fills the file cache.
        for count in range(options.rounds + 1):
            progress.update(f"round {count + 1} of {options.rounds + 1}")
            # Alternating order: nobody is always measured after the same neighbour.
            for name in sorted(qemus, reverse=count % 2):
                config = guests.config(qemus[name], smp=str(CPUS))
                with contextlib.ExitStack() as stack:
                    found = _round(stack, config, name)
                if count:
                    for what, seconds in zip(LIMITS, found):
                        times[name, what].append(seconds)
    return [benchmarks.ratio(f"no free slots: {what}, pristine and patched",
                             statistics.median(times["pristine", what]),
                             statistics.median(times["patched", what]),
                             limit) for what, limit in LIMITS.items()]
