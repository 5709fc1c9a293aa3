# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs a guest with KVM to take a CPU of its own offline and online.

With CPU hotplug QEMU turns CPUs on, not the kernel, and has KVM reset a vCPU that has run. On a
host without FEAT_S2FWB that unmaps all memory of the guest, which then is mapped again page by page
while the guest uses it. Two emulated hosts, one with FEAT_S2FWB and one without, run a guest with
and a guest without CPU hotplug.
"""

import contextlib
import statistics
import time

from workbench.bench import benchmarks
from workbench.guest.guest import Config, Guest
from workbench.lab import image, lab

HOSTS = {"with FEAT_S2FWB": lab.CPU, "without FEAT_S2FWB": "neoverse-n1"}
MIB = 64


def _seconds(guest, command):
    """How long the guest takes for the shell COMMAND."""
    start = time.monotonic()
    guest.check(command, 60)
    return time.monotonic() - start


def _measure(guests, rounds):
    """{name: (offline and online, first use of memory after that, use without that)}."""
    found = {name: ([], [], []) for name in guests}
    use = "cat /tmp/file > /dev/null"
    for guest in guests.values():
        guest.wait_ready()
        guest.check(f"dd if=/dev/zero of=/tmp/file bs=1M count={MIB}; {use}", 60)
    for _ in range(rounds):
        for name, guest in guests.items():
            for times, command in zip(found[name], ("cpu-cycle 1", use, use)):
                times.append(_seconds(guest, command))
    return {name: [statistics.median(times) for times in lists] for name, lists in found.items()}


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    results = []
    kernel, initrd, firmware = image.guest_files()
    for host, cpu in HOSTS.items():
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(lab.Lab(f"bench-{cpu.split(',')[0]}", lab.config(cpu=cpu)))
            guests = {name: stack.enter_context(Guest(Config(
                image.binary(), kernel, initrd, firmware, accel="kvm", cpu="host",
                machine=f"virt,gic-version=3,cpu-hotplug={name}", smp="2",
                memory="256M", place=place), f"bench-own-{name}")) for name in ("off", "on")}
            found = _measure(guests, options.rounds)
        for number, what in enumerate(("offline and online", f"first use of {MIB} MiB after that",
                                       f"use of {MIB} MiB again")):
            results.append(benchmarks.ratio(f"host {host}: {what}, cpu-hotplug=off and on",
                                            found["off"][number], found["on"][number]))
    return results
