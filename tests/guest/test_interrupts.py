#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=200 parallel
"""Interrupts for CPUs that are not there, from a guest that sends them on purpose.

Linux never does, so the test writes to the interrupt controller behind its back.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402

DISTRIBUTOR = 0x08000000
REDISTRIBUTORS = 0x080a0000     # of 128 KiB each
SET_ENABLE = 0x10100            # GICR_ISENABLER0
SET_PENDING = 0x10200           # GICR_ISPENDR0
ROUTER = 0x6000                 # GICD_IROUTER
SGI_CALL_FUNCTION = 1           # Linux's IPI1, harmless when it comes for nothing
GED = 32 + 9                    # the interrupt that tells Linux of CPU hot-plug


class Interrupts(guestcase.GuestCase):

    def boot_with_memory_access(self):
        """A guest that lets root write to devices that drivers use."""
        return self.boot(self.config(append="quiet harness iomem=relaxed"))

    def poke(self, guest, address, value, width=32):
        guest.check(f"busybox devmem {address:#x} {width} {value:#x}")

    def peek(self, guest, address, width=32):
        return int(guest.check(f"busybox devmem {address:#x} {width}"), 16)

    def calls(self, guest, number):
        """How many function call interrupts the online CPU NUMBER has taken."""
        lines = guest.check("grep -E 'CPU|IPI1' /proc/interrupts").split("\n")
        return int(lines[1].split()[1 + lines[0].split().index(f"CPU{number}")])

    def test_pending_for_removed_cpu(self):
        """One is sent to a CPU that has gone; the next one in its place takes it."""
        guest, cpus = self.boot_with_memory_access()
        enable = REDISTRIBUTORS + 2 * 0x20000 + SET_ENABLE
        pending = REDISTRIBUTORS + 2 * 0x20000 + SET_PENDING
        # Also to one that never was.
        self.poke(guest, pending + 0x20000, 1 << SGI_CALL_FUNCTION)
        self.poke(guest, pending, 1 << SGI_CALL_FUNCTION)
        for _ in range(3):
            cpus.plug(2)
            cpus.work({2}, 50)
            # Linux sends such calls, too: one may be on its way at any moment, but not for long.
            guest.wait_for(lambda: not self.peek(guest, pending) & 1 << SGI_CALL_FUNCTION,
                           "CPU 2 to have taken the function call that waited for it")
            before = guest.wait_for(lambda: self.calls(guest, 2), "CPU 2 to count that call")
            cpus.unplug(2)
            # Its CPU interface was on when it went; only this Linux had turned off.
            self.poke(guest, enable, 1 << SGI_CALL_FUNCTION)
            self.poke(guest, pending, 1 << SGI_CALL_FUNCTION)
            self.assertNotEqual(self.peek(guest, pending) & 1 << SGI_CALL_FUNCTION, 0)
            cpus.work({0, 1}, 50)
        cpus.plug(3)
        cpus.plug(2)
        self.assertGreater(self.calls(guest, 2), before)
        cpus.work(range(4), 200)
        cpus.unplug(3)
        self.assert_cpus(cpus, range(3))

    def test_device_interrupt_for_removed_cpu(self):
        """A device's interrupt that is routed to such a CPU waits, and arrives when routed back."""
        guest, cpus = self.boot_with_memory_access()
        router = DISTRIBUTOR + ROUTER + 8 * GED
        home = self.peek(guest, router, 64)
        cpus.plug(2)
        self.poke(guest, router, 2, 64)
        cpus.plug(3)
        cpus.unplug(3)
        # Linux routes what it knows of away from a CPU that goes, but not this one.
        cpus.unplug(2)
        self.poke(guest, router, 2, 64)
        cpus.add(3)
        cpus.work({0, 1}, 200)
        self.assertEqual(cpus.view().enabled, {0, 1})
        self.poke(guest, router, home, 64)
        cpus.wait_enabled(3)
        cpus.bring_online(3)
        cpus.plug(2)
        cpus.work(range(4), 200)
        self.assert_cpus(cpus, range(4))


if __name__ == "__main__":
    guestcase.main()
