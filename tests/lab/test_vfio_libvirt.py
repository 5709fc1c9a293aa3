#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=vfio parallel
"""Devices of the host that libvirt takes from their drivers, gives to guests, and gives back."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
import vfiodevicecases  # noqa: E402
from libvirtcase import PLUG_SECONDS  # noqa: E402
from libvirtlabcase import LibvirtLabCase, describe_device  # noqa: E402
from shareddomain import SharedDomain  # noqa: E402
from vfiocase import BYPASSED, NVME, SHARED  # noqa: E402


class Example(LibvirtLabCase):
    """examples/passthrough.xml."""

    def test_start(self):
        """The guest has its function and takes a vCPU; the host gets the function back."""
        function = self.function()
        guest = self.booted(self.example("passthrough", function), self)
        self.assertEqual(self.driver(function), "vfio-pci")
        self.interface(guest, "igbvf")
        self.assertEqual(guest.check("cat /sys/block/vda/size"), "2048")
        guest.virsh("setvcpus", 3, "--live")
        guest.cpus.wait_enabled(2, PLUG_SECONDS)
        guest.cpus.bring_online(2)
        guest.cpus.wait_view("vCPU 2", online=range(3))
        guest.patient("setvcpus", 2, "--live")
        guest.cpus.wait_view("vCPU 2 gone", online=range(2))
        self.assertEqual(guest.count(), 2)
        guest.virsh("destroy")
        self.assert_driver(function, "igbvf")


class Devices(vfiodevicecases.Disk, SharedDomain, LibvirtLabCase):
    """Devices that come and go by virsh; each test finds the guest without any."""

    def describe(self):
        return self.example("devices")

    def to_start(self, guest):
        super().to_start(guest)
        self.assertEqual(self.devices(guest), [], "devices that the test has left")

    def give_back(self, guest, address, driver, *options):
        """Have the guest give up the function; the host's DRIVER has it then."""
        device = self.file("device.xml", describe_device(address))
        guest.patient("detach-device", device, *options)
        guest.wait_for(lambda: address not in self.devices(guest),
                       f"libvirt to have let go {address}", PLUG_SECONDS)
        self.assert_driver(address, driver)

    def test_nvme(self):
        """A disk comes, for this run of the domain and the next, and goes, with what is on it."""
        guest, both = self.domain(), ("--live", "--config")
        self.write(self.place, "from-the-host", 5)
        device = self.file("device.xml", describe_device(NVME))
        guest.virsh("attach-device", device, *both)
        self.assertEqual(self.driver(NVME), "vfio-pci")
        for options in ((), ("--inactive",)):
            self.assertEqual(self.devices(guest, *options), [NVME])
        self.assert_read(guest, "from-the-host", 5)
        self.write(guest, "from-the-guest", 7)
        self.give_back(guest, NVME, "nvme", *both)
        self.assertEqual(self.devices(guest, "--inactive"), [])
        self.assertEqual(self.functions(guest), 0)
        self.assert_read(self.place, "from-the-guest", 7)
        self.assert_read(self.place, "from-the-host", 5)

    def test_function(self):
        """A virtual function comes and goes."""
        guest, function = self.domain(), self.function()
        guest.virsh("attach-device", self.file("device.xml", describe_device(function)), "--live")
        self.interface(guest, "igbvf")
        self.assertEqual(self.devices(guest, "--inactive"), [])
        self.give_back(guest, function, "igbvf", "--live")
        self.assertEqual(self.functions(guest), 0)

    def assert_refused_device(self, guest, pattern, address, driver, managed="yes"):
        """virsh refuses the function with a message like PATTERN; it stays with DRIVER."""
        device = self.file("device.xml", describe_device(address, managed))
        self.refused(pattern, guest.virsh, "attach-device", device, "--live")
        self.assertEqual(self.devices(guest), [])
        self.assert_driver(address, driver)

    def test_refusals(self):
        """What virsh says of devices that cannot be had: QEMU's words, or libvirt's own."""
        guest, (mine, other) = self.domain(), SHARED
        self.assert_refused_device(
            guest, f"'device_add': vfio {BYPASSED}: no iommu_group found: .*no IOMMU of the host "
            "serves the device:", BYPASSED, "e1000e")
        self.assert_refused_device(
            guest, rf"'device_add': vfio {mine}: group {self.group(mine)} is not viable: "
            rf"{other} \(e1000e\) still uses", mine, "e1000e")
        self.assert_refused_device(
            guest, f"Unmanaged PCI device {NVME} must be manually detached from the host", NVME,
            "nvme", managed="no")
        user = self.started(self.example("user", NVME))
        self.assert_refused_device(
            guest, f"PCI device {NVME} is in use by driver QEMU, domain {user}", NVME, "vfio-pci")
        self.daemon.end(user)
        self.assert_driver(NVME, "nvme")
        guest.check("true")


if __name__ == "__main__":
    labcase.main()
