# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of the machine q35: how their CPUs and devices come and go.

Environment: GUEST_QEMU_X86 names another qemu-system-x86_64 than build/patched's.
"""

import os
import unittest
from pathlib import Path

import guestcase
import portcase
from workbench.guest import assets
from workbench.guest.cpus import SYSFS
from workbench.guest.guest import Config
from workbench.system import paths

QEMU = Path(os.environ.get("GUEST_QEMU_X86", paths.PATCHED / "qemu-system-x86_64"))


@unittest.skipUnless(QEMU.exists(), f"{QEMU} does not exist: run scripts/build --target x86_64")
class Q35Case(guestcase.GuestCase):
    """A GuestCase of q35, with tests of the devices behind a root port."""

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

    def check_devices(self, bridge):
        """A device behind a root port comes and goes. BRIDGE: whether ACPI does it."""
        guest, _ = self.boot(self.config(
            "-global", f"ICH9-LPC.acpi-pci-hotplug-with-bridge-support={bridge}",
            *portcase.PORT))
        portcase.come_and_go(guest)

    def test_devices_acpi(self):
        """Hot-plug by ACPI."""
        self.check_devices("on")

    def test_devices_native(self):
        """Hot-plug by PCI Express."""
        self.check_devices("off")
