# SPDX-License-Identifier: GPL-2.0-or-later
"""Time from the start of QEMU to the guest's shell, by the number of PCIe root ports.

Without the series and with it, which both get the same command line. What is compared is how much
longer than without any port it takes.
"""

import statistics
import time

from workbench.bench import benchmarks, guests
from workbench.guest import rootports
from workbench.guest.guest import Guest
from workbench.ui.report import Progress, WorkbenchError, info

PORTS = (0, 28, 64, 128, 240)
MOST_ROUNDS = 3         # a round takes minutes
SECONDS = 900
LIMIT = 0.5


def _boot(qemu, name, ports):
    """Seconds until the shell."""
    config = guests.config(qemu, machine="virt,gic-version=3", smp="2",
                           extra=rootports.options(ports))
    start = time.monotonic()
    with Guest(config, f"bench-ports-{name}-{ports}") as guest:
        guest.wait_ready(SECONDS)
        return time.monotonic() - start


def _medians(qemus, rounds):
    """{(name, ports): median of the seconds}"""
    times = {(name, ports): [] for name in qemus for ports in PORTS}
    with Progress("booting") as progress:
        for name, qemu in qemus.items():
            _boot(qemu, name, 0)        # fills the file cache
        for count in range(rounds):
            for ports in PORTS:
                # Alternating order: nobody is always measured after the same neighbour.
                for name in sorted(qemus, reverse=count % 2):
                    progress.update(f"round {count + 1} of {rounds}, {ports} ports, {name}")
                    times[name, ports].append(_boot(qemus[name], name, ports))
    return {key: statistics.median(found) for key, found in times.items()}


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    qemus = {"patched": options.qemu}
    try:
        qemus["pristine"] = benchmarks.pristine()
    except WorkbenchError as error:
        info(str(error))
    medians = _medians(qemus, min(options.rounds, MOST_ROUNDS))
    extra = {(name, ports): seconds - medians[name, 0]
             for (name, ports), seconds in medians.items()}
    results = []
    if "pristine" in qemus:
        results.append(benchmarks.ratio(
            "boot without ports, pristine and patched", medians["pristine", 0],
            medians["patched", 0], text=benchmarks.seconds))
        results += [benchmarks.ratio(
            f"boot with {ports} ports, what is added to that, pristine and patched",
            extra["pristine", ports], extra["patched", ports],
            LIMIT if ports == PORTS[-1] else None, benchmarks.seconds) for ports in PORTS[1:]]
    few, many = PORTS[-2:]
    results += [benchmarks.ratio(f"{name}: what is added, {few} and {many} ports "
                                 f"({many / few:.2f} times as many)", extra[name, few],
                                 extra[name, many], text=benchmarks.seconds)
                for name in qemus]
    return results
