#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1800 parallel
"""Thousands of plugs in one guest leave nothing behind in QEMU."""

import os
import time

import guestcase
from workbench.guestcpu import SYSFS

GROWTH = 1024                   # KiB
CYCLES = 1000 if guestcase.LONG else 200
WARM_UP = 100

# By default a new thread takes any of glibc's arenas, each of which keeps some free memory: a
# megabyte or two that comes and goes. With one arena every kilobyte of growth is QEMU's.
os.environ["MALLOC_ARENA_MAX"] = "1"


class Cycles(guestcase.GuestCase):

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

    def check_flat(self, memory, **changes):
        # Guest memory is allocated at the start and the translation buffer is small, so that what
        # still grows is QEMU's own.
        guest, cpus = self.boot(self.config(
            memory=memory, accel="tcg,thread=multi,tb-size=8", smp="1,maxcpus=4",
            machine="virt,memory-backend=ram",
            extra=["-object", f"memory-backend-ram,id=ram,size={memory},prealloc=on"], **changes))
        devices = [(number, cpus.arguments(number)) for number in (1, 2, 3)]
        before = None
        for count in range(CYCLES):
            if count == WARM_UP:
                before = self.usage(guest)
            self.cycle(guest, cpus, devices[count % len(devices)])
        after = self.usage(guest)
        self.assertEqual(after[1:], before[1:], "threads and file descriptors of QEMU after "
                         f"{WARM_UP} and after {CYCLES} cycles")
        self.assertLess(after[0] - before[0], GROWTH, "growth of QEMU's resident memory in KiB "
                        f"from {WARM_UP} to {CYCLES} cycles")
        print(f"{CYCLES} cycles: {after[0] - before[0]} KiB growth after the first {WARM_UP}, "
              f"{after[1]} threads, {after[2]} file descriptors")
        self.assert_cpus(cpus, {0})

    def usage(self, guest):
        """(resident KiB, threads, descriptors) once the threads of removed CPUs have ended."""
        # A thread of the removed CPU may still be ending.
        time.sleep(1)
        return (guest.process.resident(), guest.process.threads(), guest.process.descriptors())

    def test_flat(self):
        """Memory, threads and file descriptors do not grow."""
        self.check_flat("256M")


if __name__ == "__main__":
    guestcase.main()
