# SPDX-License-Identifier: GPL-2.0-or-later
"""How long device_del takes while all CPUs of the guest are busy, beside the guest's own offline.

With TCG, and with KVM in the emulated Arm host or on an Arm host itself. libvirt waits 5 s for a
removal, so the 99th percentile is to be below that.
"""

import contextlib
import math
import statistics
import time

from workbench.bench import benchmarks, guests
from workbench.guest.cpus import SYSFS, Cpus
from workbench.guest.guest import Guest
from workbench.lab import lab
from workbench.ui.report import Progress

CPUS = 4
LAST = CPUS - 1
ROUNDS = 500            # with the default of --rounds; in proportion with another one
LIMIT = 5.0


def percentile(values, percent):
    """The lowest of VALUES that PERCENT of them are not above."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def _load(guest, cpus):
    """Keep each of CPUS busy with two loops, whose process ids are in /tmp/load.CPU.

    One does nothing else, the other starts programs and so takes locks of the kernel. Returns when
    both are bound: taskset fails if its CPU goes offline before.
    """
    guest.check(f"for cpu in {' '.join(map(str, cpus))}; do "
                "taskset -c $cpu sh -c 'while :; do :; done' & echo $! > /tmp/load.$cpu; "
                "taskset -c $cpu sh -c 'while :; do busybox true; done' & "
                "echo $! >> /tmp/load.$cpu; for task in $(cat /tmp/load.$cpu); do "
                'until grep -q "^Cpus_allowed_list:.$cpu$" /proc/$task/status; do usleep 10000; '
                "done; done; done", 120)


def _round(guest, cpus):
    """(seconds of the guest's own offline, seconds of a removal) of the CPU LAST, under load."""
    cpus.add(LAST)
    cpus.wait_enabled(LAST, 60)
    cpus.bring_online(LAST)
    _load(guest, [LAST])
    own = guests.took(guest, f"echo 0 > {SYSFS}/cpu{LAST}/online", 120)
    cpus.bring_online(LAST)
    # Linux has moved the load of the CPU to others, where it would stay.
    guest.check(f"(for task in $(cat /tmp/load.{LAST}); do taskset -p -c {LAST} $task || exit; "
                "done) > /dev/null", 120)
    guest.events()
    start = time.monotonic()
    cpus.wait_deleted(cpus.delete(LAST), 120)
    removed = time.monotonic() - start
    # wait returns the status of what was killed.
    guest.check(f"kill $(cat /tmp/load.{LAST}); wait $(cat /tmp/load.{LAST}); true", 120)
    return own, removed


def _measure(kind, config, rounds):
    own, removed = [], []
    with Guest(config, f"bench-unplug-{kind}") as guest, Progress(kind) as progress:
        guest.wait_ready(300)
        cpus = Cpus(guest)
        _load(guest, range(LAST))
        for number in range(rounds):
            progress.update(f"removal {number + 1} of {rounds}")
            times = _round(guest, cpus)
            own.append(times[0])
            removed.append(times[1])
    results = [benchmarks.ratio(
        f"{kind}: the guest's own offline and device_del, under load, {name} of {rounds}",
        function(own), function(removed), text=benchmarks.seconds)
        for name, function in (("median", statistics.median), ("maximum", max))]
    early, late = percentile(own, 99), percentile(removed, 99)
    results.append(benchmarks.Result(
        f"{kind}: the same, 99th percentile", benchmarks.seconds(early), benchmarks.seconds(late),
        f"{late / early:.2f} times", f"at most {LIMIT:g} s", late <= LIMIT))
    return results


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    rounds = max(ROUNDS * options.rounds // benchmarks.ROUNDS, 1)
    smp = f"{LAST},maxcpus={CPUS}"
    results = _measure("TCG", guests.config(options.qemu, smp=smp), rounds)
    with contextlib.ExitStack() as stack:
        place, qemu = lab.enter(stack, "bench-unplug", options.qemu)
        results += _measure("KVM", guests.kvm_config(place, qemu, smp=smp), rounds)
    return results
