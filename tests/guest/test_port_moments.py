#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=ports timeout=600 parallel
"""Devices in root ports at odd moments: restarts, a guest that stands still, functions one by one,
and disks that are in use when they go."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import portcase  # noqa: E402
import restartcases  # noqa: E402

MACHINE = "virt,gic-version=3,pcie-hotplug-ports=4"
FUNCTIONS = 8


class StartCase(portcase.PortCase):
    """What the classes below share."""

    def start_ports(self, count, options=()):
        """Boot a guest with ports and COUNT disks for them; returns both."""
        disks = portcase.Disks(self.folder(), count)
        return self.boot(self.config(machine=MACHINE, extra=[*disks.options, *options])), disks


class Moments(StartCase):
    """Around restarts, and while the guest stands still."""

    def check_restart(self, *options):
        """What was plugged is there after a reset and a reboot, and can be removed.

        The power button works with a device in a port, which is as it was. Then the guest powers
        off.
        """
        guest, disks = self.start_ports(2, options)
        before = self.functions(guest)
        guest.qmp("device_add", portcase.disk(0, "hotplug0"))
        self.assert_disks(guest, disks, {"disk0"})
        guest.qmp("system_reset")
        self.wait_ready(guest)
        self.assert_disks(guest, disks, {"disk0"})
        guest.qmp("device_add", portcase.disk(1, "hotplug3"))
        self.assert_disks(guest, disks, {"disk0", "disk1"})
        guest.console.send("reboot -f")
        self.wait_ready(guest)
        self.assert_disks(guest, disks, {"disk0", "disk1"})
        self.remove(guest, "disk0")
        self.assert_disks(guest, disks, {"disk1"})
        guest.qmp("system_reset")
        self.wait_ready(guest)
        self.assert_disks(guest, disks, {"disk1"})
        self.remove(guest, "disk1")
        self.assert_disks(guest, disks, ())
        self.assertEqual(self.functions(guest), before)
        guest.qmp("device_add", portcase.disk(0, "hotplug3"))
        self.assert_disks(guest, disks, {"disk0"})
        restartcases.press_button(guest, lambda: guest.qmp("system_powerdown"))
        self.assert_disks(guest, disks, {"disk0"})
        guest.console.send("poweroff -f")
        self.assertEqual(guest.wait_end(), 0)

    def test_restart_native(self):
        self.check_restart()

    def test_restart_acpi(self):
        self.check_restart(*portcase.ACPI)

    def check_stopped(self, *options):
        """A guest that stands still learns of both when it goes on."""
        guest, disks = self.start_ports(2, options)
        for _ in range(2):
            guest.qmp("stop")
            for number in range(2):
                guest.qmp("device_add", portcase.disk(number, f"hotplug{number}"))
            guest.qmp("cont")
            self.assert_disks(guest, disks, {"disk0", "disk1"})
            guest.qmp("stop")
            for number in range(2):
                guest.qmp("device_del", {"id": f"disk{number}"})
            self.assertEqual(guest.events("DEVICE_DELETED"), [], "while the guest stands still")
            guest.qmp("cont")
            for number in range(2):
                guest.event("DEVICE_DELETED", portcase.PLUG_SECONDS, device=f"disk{number}")
            self.assert_disks(guest, disks, ())
            guest.events()
        self.assert_sound(guest)

    def test_stopped_native(self):
        self.check_stopped()

    def test_stopped_acpi(self):
        self.check_stopped(*portcase.ACPI)


class Functions(StartCase):
    """Eight functions in one port. The guest sees them all when function 0 is there."""

    def function(self, number, port="hotplug1"):
        """The arguments of device_add for disk NUMBER as function NUMBER of the device at PORT."""
        return {**portcase.disk(number, port), "addr": f"0.{number}", "multifunction": True}

    def check_functions(self, *options):
        guest, disks = self.start_ports(FUNCTIONS, options)
        before = self.functions(guest)
        for _ in range(2):
            for number in range(1, FUNCTIONS):
                guest.qmp("device_add", self.function(number))
            self.assertEqual(self.functions(guest), before)
            if not options:
                # With PCI Express nobody need ask the guest for one that it has not seen.
                guest.qmp("device_del", {"id": "disk3"})
                guest.event("DEVICE_DELETED", device="disk3")
                guest.qmp("device_add", self.function(3))
            guest.qmp("device_add", self.function(0))
            self.assert_disks(guest, disks, disks.sums)
            self.assertEqual(self.without_room(guest), [], "the guest's log")
            # They go together.
            guest.qmp("device_del", {"id": "disk0"})
            for name in disks.sums:
                guest.event("DEVICE_DELETED", portcase.PLUG_SECONDS, device=name)
            self.assert_disks(guest, disks, ())
            self.assertEqual(self.functions(guest), before)
            guest.events()
        guest.qmp("device_add", self.function(0))
        self.assert_refused("function 0 already occupied", guest.qmp, "device_add",
                            self.function(1))
        self.assert_disks(guest, disks, {"disk0"})
        self.assert_sound(guest)

    def test_native(self):
        self.check_functions()

    @guestcase.long_only
    def test_acpi(self):
        self.check_functions(*portcase.ACPI)


class InUse(portcase.PortCase):
    """A disk goes while programs read from it."""

    DISK = portcase.null_disk(1 << 30, "latency-ns=2000000")

    def check_rounds(self, count, *options):
        """COUNT times a disk comes, is read by two programs, and goes meanwhile."""
        guest = self.boot(self.config(machine=MACHINE, extra=[*self.DISK, *options]))
        before = self.functions(guest)
        for number in range(count):
            port = f"hotplug{number % 4}"
            guest.qmp("device_add", portcase.disk(0, port))
            # Linux shows a disk a moment before it can be opened.
            guest.wait_for(lambda: guest.run("dd if=/dev/vda of=/dev/null bs=4k count=1")[0] == 0,
                           lambda: f"a disk in the guest; {self.messages(guest)}",
                           portcase.PLUG_SECONDS)
            guest.check("for start in 0 512; do (while dd if=/dev/vda of=/dev/null bs=1M "
                        "skip=$start; do start=0; done > /dev/null 2>&1; :) & done")
            guest.wait_for(lambda: self.in_flight(guest), "requests in flight")
            self.remove(guest, "disk0")
            guest.check("wait", 60)
            guest.wait_for(lambda: self.functions(guest) == before,
                           lambda: f"all gone in the guest; {self.messages(guest)}")
            self.assertEqual(self.count(guest), 0)
            guest.events()
        self.assert_sound(guest)

    def in_flight(self, guest):
        """How many requests to the disk have not been answered."""
        return sum(map(int, guest.check("cat /sys/block/vda/inflight").split()))

    def test_native(self):
        """Linux waits five seconds before it begins."""
        self.check_rounds(20 if guestcase.LONG else 2)

    def test_acpi(self):
        self.check_rounds(100 if guestcase.LONG else 8, *portcase.ACPI)


if __name__ == "__main__":
    guestcase.main()
