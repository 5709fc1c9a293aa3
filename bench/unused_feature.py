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

from workbench.bench import benchmarks
from workbench.guest import assets, migration
from workbench.guest.guest import Config, Guest
from workbench.ui.report import Progress

CPUS = 2
LOAD = ("for cpu in 0 1; do taskset -c $cpu sh -c 'i=0; while [ $i -lt 400 ]; do busybox true; "
        "i=$((i+1)); done' & done; wait")
LIMIT = 1.1
WHAT = ("boot", "load", "downtime of a migration")


def _round(stack, config, name):
    """Seconds of each of WHAT, in one guest."""
    start = time.monotonic()
    source = stack.enter_context(Guest(config, f"bench-unused-{name}"))
    source.wait_ready(180)
    boot = time.monotonic() - start
    start = time.monotonic()
    source.check(LOAD, 120)
    load = time.monotonic() - start
    incoming = dataclasses.replace(config, extra=[*config.extra, "-incoming", "defer"])
    destination = stack.enter_context(Guest(incoming, f"bench-unused-{name}-to"))
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    migration.begin(source, destination, f"unix:{folder}/migration")
    migration.wait_end(source, 120)
    migration.wait_running(destination)
    return boot, load, source.qmp("query-migrate")["downtime"] / 1000


def measure(options):
    """Returns the Results; see benchmarks.run(). Raises WorkbenchError without a pristine QEMU."""
    qemus = {"pristine": benchmarks.pristine(), "patched": options.qemu}
    times = {(name, what): [] for name in qemus for what in WHAT}
    with Progress("measuring") as progress:
        # The first round fills the file cache.
        for count in range(options.rounds + 1):
            progress.update(f"round {count} of {options.rounds}")
            for name in sorted(qemus, reverse=count % 2):
                config = Config(qemu=qemus[name], kernel=assets.kernel(), initrd=assets.initrd(),
                                firmware=assets.firmware().efi, smp=str(CPUS))
                with contextlib.ExitStack() as stack:
                    found = _round(stack, config, name)
                if count:
                    for what, seconds in zip(WHAT, found):
                        times[name, what].append(seconds)
    # A downtime is some ten milliseconds, of which the tail of the page transfer is the most.
    return [benchmarks.ratio(f"no free slots: {what}, pristine and patched",
                             statistics.median(times["pristine", what]),
                             statistics.median(times["patched", what]),
                             LIMIT if what != WHAT[2] else None) for what in WHAT]
