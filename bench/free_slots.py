# SPDX-License-Identifier: GPL-2.0-or-later
"""What slots without a CPU cost: QEMU's memory, and its time to start."""

import statistics
import time

from workbench.bench import benchmarks, guests
from workbench.guest.guest import Guest
from workbench.ui.report import Progress

MAXCPUS = 512
KIB_PER_SLOT = 16
SECONDS = 0.050


def _start(options, maxcpus):
    """Start a machine that does not run; returns (seconds until QMP answers, resident KiB)."""
    # With a GICv3, which a machine of so few CPUs would not have by itself, both are of one kind.
    config = guests.config(options.qemu, machine="virt,gic-version=3",
                           smp=f"1,maxcpus={maxcpus}")
    start = time.monotonic()
    with Guest(config, f"bench-slots-{maxcpus}", paused=True) as guest:
        guest.qmp("query-status")
        return time.monotonic() - start, guest.process.resident()


def measure(options):
    """Returns the Results; see benchmarks.run().

    Timed here and not with hyperfine, which measures all runs of one command before the next: the
    drift of a shared machine would then look like a difference of milliseconds.
    """
    times = {1: [], MAXCPUS: []}
    memory = {1: [], MAXCPUS: []}
    with Progress("starting") as progress:
        for count in range(options.rounds + 1):
            progress.update(f"round {count + 1} of {options.rounds + 1}")
            for maxcpus in (1, MAXCPUS) if count % 2 else (MAXCPUS, 1):
                seconds, kib = _start(options, maxcpus)
                # The first round fills the file cache.
                if count:
                    times[maxcpus].append(seconds)
                    memory[maxcpus].append(kib)
    few, many = (statistics.median(memory[maxcpus]) for maxcpus in (1, MAXCPUS))
    slot = (many - few) / (MAXCPUS - 1)
    fast, slow = (statistics.median(times[maxcpus]) for maxcpus in (1, MAXCPUS))
    return [
        benchmarks.Result(f"QEMU's memory, maxcpus 1 and {MAXCPUS}", f"{few / 1024:.1f} MiB",
                          f"{many / 1024:.1f} MiB", f"{slot:.1f} KiB a slot",
                          f"at most {KIB_PER_SLOT} KiB", slot <= KIB_PER_SLOT),
        benchmarks.Result(f"QEMU's start, maxcpus 1 and {MAXCPUS}", benchmarks.milliseconds(fast),
                          benchmarks.milliseconds(slow), f"{(slow - fast) * 1000:+.0f} ms",
                          f"at most +{SECONDS * 1000:.0f} ms", slow - fast <= SECONDS),
    ]
