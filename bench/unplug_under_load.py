# SPDX-License-Identifier: GPL-2.0-or-later
"""How long device_del takes while all CPUs of the guest are busy, beside the guest's own offline.

With TCG, and with KVM in the emulated Arm host or on an Arm host itself. libvirt waits 5 s for a
removal, so the 99th percentile is to be below that.
"""

import contextlib
import statistics
import time

from workbench.bench import benchmarks
from workbench.guest import assets
from workbench.guest.cpus import SYSFS, Cpus
from workbench.guest.guest import Config, Guest
from workbench.lab import lab
from workbench.ui.report import Progress

CPUS = 4
LAST = CPUS - 1
ROUNDS = 500            # with the default of --rounds; in proportion with another one
DEFAULT_ROUNDS = 15
LIMIT = 5.0
# A busy loop, and one that starts programs and so takes locks of the kernel, on each CPU.
LOAD = ("for cpu in {cpus}; do taskset -c $cpu sh -c 'while :; do :; done' & "
        "taskset -c $cpu sh -c 'while :; do busybox true; done' & done")


def percentile(values, percent):
    """The value that PERCENT of VALUES are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _round(guest, cpus):
    """(seconds of the guest's own offline, seconds of a removal) under load on the CPU too."""
    cpus.add(LAST)
    cpus.wait_enabled(LAST, 60)
    cpus.bring_online(LAST)
    guest.check(LOAD.format(cpus=LAST))
    start = time.monotonic()
    guest.check(f"echo 0 > {SYSFS}/cpu{LAST}/online", 120)
    own = time.monotonic() - start
    cpus.bring_online(LAST)
    # Linux moved the load away with the CPU, and it may run anywhere now.
    guest.check(f"for task in $(jobs -p); do taskset -p -c {LAST} $task; done > /dev/null 2>&1; :")
    guest.events()
    start = time.monotonic()
    handle = cpus.delete(LAST)
    guest.event("DEVICE_DELETED", 120, device=handle)
    removed = time.monotonic() - start
    guest.check("kill $(jobs -p); wait")
    guest.check(LOAD.format(cpus=" ".join(str(number) for number in range(LAST))))
    return own, removed


def _measure(kind, config, rounds):
    own, removed = [], []
    with Guest(config, f"bench-unplug-{kind}") as guest, Progress(kind) as progress:
        guest.wait_ready(300)
        cpus = Cpus(guest)
        guest.check(LOAD.format(cpus=" ".join(str(number) for number in range(LAST))))
        for number in range(rounds):
            progress.update(f"removal {number + 1} of {rounds}")
            times = _round(guest, cpus)
            own.append(times[0])
            removed.append(times[1])
    results = [benchmarks.ratio(f"{kind}: the guest's own offline and device_del, under load, "
                                f"{name} of {rounds}", function(own), function(removed),
                                text=benchmarks.seconds)
               for name, function in (("median", statistics.median), ("maximum", max))]
    late = percentile(removed, 99)
    results.append(benchmarks.Result(
        f"{kind}: the same, 99th percentile", benchmarks.seconds(percentile(own, 99)),
        benchmarks.seconds(late),
        f"{late / percentile(own, 99):.2f} times", f"at most {LIMIT:g} s", late <= LIMIT))
    return results


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    rounds = max(ROUNDS * options.rounds // DEFAULT_ROUNDS, 1)
    common = dict(kernel=assets.kernel(), initrd=assets.initrd(), firmware=assets.firmware().efi,
                  memory="512M", smp=f"{LAST},maxcpus={CPUS}")
    results = _measure("TCG", Config(qemu=options.qemu, **common), rounds)
    with contextlib.ExitStack() as stack:
        place, qemu = lab.enter(stack, "bench-unplug", options.qemu)
        results += _measure("KVM", Config(
            qemu=qemu, machine="virt,gic-version=3", accel="kvm", cpu="host", place=place,
            **common), rounds)
    return results
