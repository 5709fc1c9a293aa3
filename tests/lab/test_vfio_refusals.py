#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1500 suite=vfio parallel
"""Devices that cannot be had by their groups: QEMU says why, the guest goes on, and once the cause
is gone the device can be plugged.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
import vfiorefusalcases  # noqa: E402
from labcase import Refused  # noqa: E402
from vfiocase import NVME  # noqa: E402


class Refusals(vfiorefusalcases.RefusalCases, vfiorefusalcases.GroupWords, vfiocase.VfioCase):
    """The cases of vfiorefusalcases.py, and what is about groups only."""

    def test_no_module(self):
        """What connects VFIO and the IOMMU is not loaded."""
        guest, group = self.guest(), self.group(NVME)
        self.bind(NVME)
        self.put_back("modprobe vfio_iommu_type1")
        self.place.check("rmmod vfio_iommu_type1")
        self.check_refused(guest, NVME, f"failed to setup container for group {group}: No "
                           "available IOMMU models; ", "module vfio_iommu_type1 is not loaded")
        self.place.check("modprobe vfio_iommu_type1")
        self.assert_works(guest, NVME)

    def test_mappings(self):
        """The kernel allows fewer mappings than the guest's memory has pieces."""
        guest = self.guest()
        self.bind(NVME)
        limit = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
        before = self.place.check(f"cat {limit}")
        self.put_back(f"echo {before} > {limit}")
        self.place.check(f"echo 1 > {limit}")
        self.check_refused(guest, NVME, "= -28 (No space left on device); the host's kernel allows "
                           "1 mappings:", "dma_entry_limit")
        self.place.check(f"echo {before} > {limit}")
        self.assert_works(guest, NVME)

    def test_no_iommufd(self):
        """Debian's kernel has no iommufd, and no nodes for devices either."""
        guest = self.guest()
        with self.assertRaisesRegex(Refused, "^/dev/iommu does not exist "):
            guest.qmp("object-add", {"qom-type": "iommufd", "id": "iommufd0"})
        self.bind(NVME)
        # With a descriptor, QEMU does not look for /dev/iommu, and comes to the device.
        config = self.config(extra=["-object", "iommufd,id=iommufd0,fd=5"])
        other, _ = self.start(self.prepared_by(config, "exec 5<> /dev/null"), ".other", paused=True)
        self.assert_attach_refused(other, NVME, "failed to load ", "the host's kernel has no nodes "
                                   "for devices (CONFIG_VFIO_DEVICE_CDEV,", iommufd="iommufd0")
        other.close()
        self.assert_works(guest, NVME)


class Limits(vfiorefusalcases.LimitCases, vfiorefusalcases.GroupWords, vfiocase.VfioCase):
    """The cases of vfiorefusalcases.py, and limits of the machine."""

    def test_ports(self):
        """A root port more than the machine may have, by way of ACPI PCI hot-plug."""
        guest = self.boot_guest(
            machine="virt,gic-version=3,max-pcie-root-ports=5,pcie-hotplug-ports=4",
            extra=["-global", "acpi-ged.acpi-pci-hotplug-with-bridge-support=on"])
        guest.qmp("device_add", {"driver": "pcie-root-port", "id": "fifth", "chassis": 1})
        self.assert_refused(
            "^PCIe root port 'sixth' is one too many: .*because of 'max-pcie-root-ports=5';",
            guest.qmp, "device_add", {"driver": "pcie-root-port", "id": "sixth", "chassis": 2})
        guest.check("true")


class Isolation(vfiorefusalcases.IsolationCases, vfiorefusalcases.GroupWords, vfiocase.VfioCase):
    """The case of vfiorefusalcases.py."""


if __name__ == "__main__":
    vfiocase.labcase.main()
