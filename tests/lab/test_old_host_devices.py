#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=host-6.1 parallel
"""A host with Linux 6.1: PCI devices are plugged, those of the host by their groups. iommufd, which
needs Linux 6.6, is refused with that reason.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
from labcase import Refused  # noqa: E402
from vfiocase import NVME, SYSFS  # noqa: E402


class Devices(vfiocase.VfioCase):
    """The host has no other driver for its devices than vfio-pci."""

    kernel = "6.1"
    host_modules = ("vfio-pci", "vfio_iommu_type1")
    drivers = ("nvme",)

    def test_kernel(self):
        """The host is what it is taken for."""
        self.assertRegex(self.place.check("uname -r"), r"^6\.1\.")

    def test_from_start(self):
        """A device of the host is there when the guest starts, goes, and comes again."""
        self.bind(NVME)
        guest = self.boot_guest(self.device(NVME))
        guest.wait_for(lambda: self.functions(guest) == 1, "the disk", 60)
        self.detach(guest)
        self.assertEqual(self.functions(guest), 0)
        self.attach(guest, NVME)
        guest.wait_for(lambda: self.functions(guest) == 1, "the disk", 60)
        self.detach(guest)

    def test_emulated(self):
        """So do devices of QEMU's own."""
        guest = self.boot_guest()
        count = f"ls {SYSFS}/devices | wc -l"
        before = int(guest.check(count))
        guest.qmp("device_add", {"driver": "virtio-rng-pci", "bus": "hotplug0", "id": "random"})
        guest.wait_for(lambda: int(guest.check(count)) == before + 1, "another PCI function", 60)
        guest.delete_device("random")
        guest.event("DEVICE_DELETED", 60, device="random")
        self.assertEqual(int(guest.check(count)), before)

    def test_no_iommufd(self):
        """There is no /dev/iommu, and no node of the device."""
        self.bind(NVME)
        config = self.config(extra=["-object", "iommufd,id=iommufd0,fd=5"])
        guest, _ = self.start(self.prepared_by(config, "exec 5<> /dev/null"), paused=True)
        with self.assertRaisesRegex(Refused, "^/dev/iommu does not exist "):
            guest.qmp("object-add", {"qom-type": "iommufd", "id": "second"})
        self.assert_attach_refused(guest, NVME, "failed to load ", "the host's kernel has no nodes "
                                   "for devices (CONFIG_VFIO_DEVICE_CDEV, since Linux 6.6)",
                                   iommufd="iommufd0")
        self.attach(guest, NVME)


if __name__ == "__main__":
    vfiocase.labcase.main()
