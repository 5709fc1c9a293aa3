# SPDX-License-Identifier: GPL-2.0-or-later
"""The same as plug_latency with KVM: in the emulated Arm host, or on an Arm host itself.

And for how long a plug stops the guest: a CPU that does nothing but read the counter tells the
longest time between two readings, with a plug and unplug meanwhile and without.
"""

import contextlib
import statistics
import time

from workbench.bench import benchmarks, guests, plugs
from workbench.guest import cpuprobe
from workbench.lab import lab

SIZES = (4, 64)
LIMIT = 1.3
# Gaps are short, and what else the machine does is in them.
LIMIT_GAP = 1.5
QUIET = 1.0             # seconds without a plug, about as long as with one


def _gap(guest, work):
    """Longest gap in seconds that CPU 1 of GUEST saw while WORK was done."""
    guest.check("taskset -c 1 cpu-probe gap > /tmp/gap & echo $! > /tmp/probe; "
                "until [ -s /tmp/gap ]; do usleep 10000; done")
    work()
    guest.check("kill $(cat /tmp/probe); wait")
    return int(guest.check("tail -n 1 /tmp/gap")) / 1e6


def _gaps(subject, rounds):
    """(median of the gaps without a plug, with one)"""
    guest, cpus = subject.guest, subject.cpus

    def plug():
        ident = subject.add()
        cpus.wait_enabled(subject.number)
        subject.remove(ident)

    quiet, plugged = [], []
    for _ in range(rounds):
        quiet.append(_gap(guest, lambda: time.sleep(QUIET)))
        plugged.append(_gap(guest, plug))
    return statistics.median(quiet), statistics.median(plugged)


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    with contextlib.ExitStack() as stack:
        place, qemu = lab.enter(stack, "bench-host", options.qemu)
        subjects = [plugs.Subject(stack, guests.kvm_config(
            place, qemu, initrd=cpuprobe.initrd(), smp=f"2,maxcpus={size}"), "virt with KVM", size)
            for size in SIZES]
        plugs.measure(subjects, options.rounds)
        gaps = [_gaps(subject, options.rounds) for subject in subjects]
    results = plugs.results(subjects, LIMIT)
    for subject, (quiet, plugged) in zip(subjects, gaps):
        results.append(benchmarks.ratio(
            "virt with KVM: longest gap of a CPU without and with a plug, "
            f"maxcpus {subject.maxcpus}", quiet, plugged))
    results.append(benchmarks.ratio(
        f"virt with KVM: longest gap of a CPU with a plug, maxcpus {SIZES[0]} and {SIZES[-1]}",
        gaps[0][1], gaps[-1][1], LIMIT_GAP))
    return results
