# SPDX-License-Identifier: GPL-2.0-or-later
"""Many plugs in one guest leave nothing behind in QEMU, whatever runs it.

Threads are to share one arena of glibc, see single_arena(): by default a new thread takes any of
several, each of which keeps some free memory, a megabyte or two that comes and goes. With one arena
every kilobyte of growth is QEMU's.
"""

import os
import time

from workbench.guest.cpus import SYSFS
from workbench.guest.qemu import FACTOR
from workbench.system import polling

GROWTH = 1024                   # KiB
# What was allocated once, like a larger TLB for the boot CPU, does not come again.
ATTEMPTS = 3


def single_arena():
    """Have all QEMUs that this program starts on this machine use one arena."""
    os.environ["MALLOC_ARENA_MAX"] = "1"


class CycleCases:
    """For a GuestCase."""

    def cycle(self, guest, cpus, arguments):
        """One CPU comes, works and goes."""
        number, device = arguments
        guest.qmp("device_add", device)
        path = f"{SYSFS}/cpu{number}/online"
        guest.check(f"until echo 1 > {path}; do usleep 2000; done 2> /dev/null; "
                    f"taskset -c {number} true", 30)
        guest.qmp("device_del", {"id": device["id"]})
        cpus.wait_deleted(device["id"])
        guest.events()

    def check_flat(self, order, warm_up, machine="virt", memory="256M", smp="1,maxcpus=4",
                   **changes):
        """The CPUs of the list ORDER come and go, one after the other, in a guest with one CPU.

        From the cycle WARM_UP on nothing of QEMU may grow. If something does, the cycles after
        WARM_UP are repeated: what is left behind by each of them shows each time.
        """
        # Guest memory is allocated at the start, so that what still grows is QEMU's own.
        guest, cpus = self.boot(self.config(
            memory=memory, smp=smp, machine=f"{machine},memory-backend=ram",
            extra=["-object", f"memory-backend-ram,id=ram,size={memory},prealloc=on"], **changes))
        devices = {number: cpus.arguments(number) for number in set(order)}
        threads = guest.process.threads()
        for number in order[:warm_up]:
            self.cycle(guest, cpus, (number, devices[number]))
        grown = []
        after = self.usage(guest, threads)
        while len(grown) < ATTEMPTS and (not grown or grown[-1] >= GROWTH):
            before = after
            for number in order[warm_up:]:
                self.cycle(guest, cpus, (number, devices[number]))
            after = self.usage(guest, threads)
            self.assertEqual(after[1:], before[1:], "threads and file descriptors of QEMU after "
                             f"{warm_up} and after {len(order)} cycles")
            grown.append(after[0] - before[0])
        self.assertLess(grown[-1], GROWTH, "growth of QEMU's resident memory in KiB from "
                        f"{warm_up} to {len(order)} cycles, and in repetitions: {grown}")
        print(f"{len(order)} cycles: {', '.join(map(str, grown))} KiB growth after the first "
              f"{warm_up}, {after[1]} threads, {after[2]} file descriptors")
        cpus.wait_view("all CPUs gone", enabled={0}, online={0})
        self.assert_cpus(cpus, {0})

    def usage(self, guest, threads):
        """(resident KiB, threads, descriptors) once those of removed CPUs have ended.

        Then QEMU has no more than THREADS, as before the first CPU came.
        """
        # QEMU has waited for the thread, which Linux shows a moment longer.
        polling.until(lambda: guest.process.threads() <= threads, 20 * FACTOR)
        # What the CPU had is freed at the end of an RCU grace period.
        time.sleep(1)
        return (guest.process.resident(), guest.process.threads(), guest.process.descriptors())
