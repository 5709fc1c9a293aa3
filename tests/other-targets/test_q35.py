#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel sanitizers=asan
"""A q35 guest of Debian: CPUs come and go, and devices behind a root port.

The series changes code that q35 uses: CPU hot-plug by ACPI, the threads of CPUs, PCI bridges.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import q35case  # noqa: E402

ROUNDS = 100


class Q35(q35case.Q35Case):
    """What q35 does with the code that the series shares with it."""

    def test_cpus(self):
        """Far more CPUs come and go than the machine has slots, in changing order."""
        guest, cpus = self.boot(self.config())
        before = guest.process.threads()
        # Linux numbers the CPUs of x86 as they come, and an APIC ID keeps its number.
        numbers = {3: 2, 2: 3}
        for number in range(ROUNDS // 2):
            first, second = (2, 3) if number % 2 else (3, 2)
            for slot in (first, second):
                self.plug(guest, cpus, slot, numbers[slot])
            self.unplug(guest, cpus, second if number % 3 else first)
            self.unplug(guest, cpus, first if number % 3 else second)
            guest.events()
        guest.wait_for(lambda: cpus.view().online == {0, 1}, "the guest is as it was")
        guest.wait_threads({before})

    def test_life(self):
        """A CPU that came is there after a reset and in a snapshot, and can be removed."""
        guest, cpus = self.boot(self.config(*self.disk()))
        self.plug(guest, cpus, 3, 2)
        self.assertEqual(guest.hmp("savevm three"), "")
        guest.qmp("system_reset")
        guest.wait_ready()
        self.assertEqual(cpus.view().online, {0, 1, 2})
        self.assertEqual(guest.hmp("loadvm three"), "")
        guest.check("taskset -c 2 true")
        self.unplug(guest, cpus, 3)
        self.assertEqual(cpus.taken(), {0, 1})
        # A removal that nobody has answered yet is answered by a reset.
        cpus.add(2, "added2")
        guest.qmp("stop")
        guest.qmp("device_del", {"id": "added2"})
        guest.qmp("system_reset")
        guest.qmp("cont")
        guest.wait_ready()

    def test_freed(self):
        """CPUs are plugged after QEMU has freed others.

        With TCG a change of the memory map, such as by a reset, frees a CPU that was unplugged:
        FlatViews refer to it until then.
        """
        guest, cpus = self.boot(self.config())
        for slot in (3, 2, 3):
            self.plug(guest, cpus, slot, 2)
            self.unplug(guest, cpus, slot)
            self.reset(guest)
        self.assertEqual(cpus.view().online, {0, 1})


if __name__ == "__main__":
    guestcase.main()
