# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs a guest with KVM to take a CPU of its own offline and online.

With CPU hotplug QEMU turns CPUs on, not the kernel, and has KVM reset a vCPU that has run. On a
host without FEAT_S2FWB that unmaps all memory of the guest, which then is mapped again page by page
while the guest uses it. Two emulated hosts, one with FEAT_S2FWB and one without, run a guest with
and a guest without CPU hotplug.
"""

import contextlib
import statistics

from workbench.bench import benchmarks, guests
from workbench.guest.guest import Guest
from workbench.lab import image, lab

HOSTS = {"with FEAT_S2FWB": lab.CPU, "without FEAT_S2FWB": "neoverse-n1"}
MIB = 64


def _measure(pair, rounds):
    """{name: (offline and online, first use of memory after that, use without that)}."""
    found = {name: ([], [], []) for name in pair}
    use = "cat /tmp/file > /dev/null"
    for guest in pair.values():
        guest.wait_ready()
        guest.check(f"dd if=/dev/zero of=/tmp/file bs=1M count={MIB}; {use}", 60)
    for _ in range(rounds):
        for name, guest in pair.items():
            for times, command in zip(found[name], ("cpu-cycle 1", use, use)):
                times.append(guests.took(guest, command))
    return {name: [statistics.median(times) for times in lists] for name, lists in found.items()}


def measure(options):
    """Returns the Results; see benchmarks.run()."""
    results = []
    for host, cpu in HOSTS.items():
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(lab.Lab(f"bench-{cpu.split(',')[0]}", lab.config(cpu=cpu)))
            pair = {name: stack.enter_context(Guest(guests.kvm_config(
                place, image.binary(), machine=f"virt,gic-version=3,cpu-hotplug={name}", smp="2",
                memory="256M"), f"bench-own-{name}")) for name in ("off", "on")}
            found = _measure(pair, options.rounds)
        for number, what in enumerate(("offline and online", f"first use of {MIB} MiB after that",
                                       f"use of {MIB} MiB again")):
            results.append(benchmarks.ratio(f"host {host}: {what}, cpu-hotplug=off and on",
                                            found["off"][number], found["on"][number]))
    return results
