#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""A q35 guest of Debian: CPUs come and go, and devices behind a root port.

The series changes code that q35 uses: CPU hot-plug by ACPI, the threads of CPUs, PCI bridges.
"""

import os
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from workbench.guest import assets  # noqa: E402
from workbench.guest.cpus import SYSFS  # noqa: E402
from workbench.guest.guest import Config  # noqa: E402
from workbench.system import paths  # noqa: E402

QEMU = Path(os.environ.get("GUEST_QEMU_X86", paths.PATCHED / "qemu-system-x86_64"))
ROUNDS = 100
PORT = ["-device", "pcie-root-port,id=rp,bus=pcie.0,chassis=1,slot=1"]


@unittest.skipUnless(QEMU.exists(), f"{QEMU} does not exist: run scripts/build --target x86_64")
class Q35(guestcase.GuestCase):
    """What q35 does with the code that the series shares with it."""

    def config(self, *extra):
        """A Config for the machine q35."""
        words = [word for folder in assets.bios_x86() for word in ("-L", folder)]
        return Config(qemu=QEMU, kernel=assets.kernel_x86(), initrd=assets.initrd("amd64"),
                      machine="q35", cpu="qemu64", smp="2,maxcpus=4", memory="512M",
                      console="ttyS0", extra=[*words, "-vga", "none", *extra])

    def plug(self, guest, cpus, slot, number):
        """Put a CPU into SLOT, which is to become the guest's CPU NUMBER and to do something."""
        cpus.add(slot, f"added{slot}")
        guest.check(f"until echo 1 > {SYSFS}/cpu{number}/online; do usleep 2000; done "
                    f"2> /dev/null; taskset -c {number} true", 60)

    def unplug(self, guest, cpus, slot):
        """Remove the CPU that plug() has put into SLOT."""
        guest.qmp("device_del", {"id": f"added{slot}"})
        # Not DEVICE_DELETED, which comes with the end of an RCU grace period.
        guest.wait_for(lambda: slot not in cpus.taken(), f"slot {slot} is free", 60)

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

    def check_devices(self, bridge):
        """A device behind a root port comes and goes. BRIDGE: whether ACPI does it."""
        guest, _ = self.boot(self.config(
            "-global", f"ICH9-LPC.acpi-pci-hotplug-with-bridge-support={bridge}", *PORT))
        for number in range(4):
            ident = f"rng{number}"
            guest.qmp("device_add", {"driver": "virtio-rng-pci", "id": ident, "bus": "rp"})
            guest.check("until grep -q 0x1044 /sys/bus/pci/devices/*/device; do usleep 20000; "
                        "done", 60)
            guest.delete_device(ident)
            guest.event("DEVICE_DELETED", 60, device=ident)
            guest.check("while grep -q 0x1044 /sys/bus/pci/devices/*/device; do usleep 20000; "
                        "done", 60)

    def test_devices_acpi(self):
        """Hot-plug by ACPI."""
        self.check_devices("on")

    def test_devices_native(self):
        """Hot-plug by PCI Express."""
        self.check_devices("off")


if __name__ == "__main__":
    guestcase.main()
