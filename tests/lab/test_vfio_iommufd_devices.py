#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=2400 suite=vfio-iommufd parallel
"""Network functions and disks in guests by iommufd, there at start and plugged, and as descriptors.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
import vfiodevicecases  # noqa: E402
from vfiocase import NVME, SHARED, SYSFS  # noqa: E402


class Host(vfiocase.Iommufd, vfiocase.VfioCase):

    def test_kernel(self):
        """The host is what it is taken for: it takes a vf-token with iommufd, and has groups."""
        major, minor = self.place.check("uname -r").split(".")[:2]
        self.assertGreaterEqual((int(major), int(minor)), (6, 17))
        self.place.check("ls /dev/kvm /dev/iommu /dev/vfio/vfio")


class Nic(vfiodevicecases.NicCases, vfiocase.Iommufd, vfiocase.VfioCase):
    """The cases of vfiodevicecases.py."""


class Nvme(vfiodevicecases.NvmeCases, vfiocase.Iommufd, vfiocase.VfioCase):
    """The cases of vfiodevicecases.py."""


class Descriptors(vfiodevicecases.Disk, vfiocase.Iommufd, vfiocase.VfioCase):
    """QEMU opens no node: it is given descriptors, 5 for /dev/iommu and 6 and 7 for devices."""

    def iommufd_object(self):
        return f"{super().iommufd_object()},fd=5"

    def start_with(self, devices, **changes):
        """Start a guest whose QEMU has descriptors of these DEVICES; returns it."""
        nodes = ("/dev/iommu", *map(self.node, devices))
        opened = " ".join(f"{number}<> {node}" for number, node in enumerate(nodes, 5))
        guest, _ = self.start(self.prepared_by(self.config(**changes), f"exec {opened}"))
        return guest

    def test_descriptors(self):
        """A disk from the start, and a network function that is plugged; both are given back."""
        function, = self.virtual_functions(1)
        self.write(self.place, "from-the-host", 5)
        self.bind(function)
        self.bind(NVME)
        guest = self.start_with((NVME, function), extra=[
            "-device", self.device(NVME, host=None, fd=6)])
        self.wait_ready(guest)
        self.assert_read(guest, "from-the-host", 5)
        self.attach(guest, function, "hotplug1", host=None, fd="7")
        self.interface(guest, "igbvf")
        self.write(guest, "from-the-guest", 7)
        for port in ("hotplug0", "hotplug1"):
            self.detach(guest, port)
        self.assertEqual(self.functions(guest), 0)
        self.release(NVME)
        self.assert_read(self.place, "from-the-guest", 7)
        self.release(function)
        self.assert_host(f"ls {SYSFS}/devices/{function}/net | wc -l", "1")

    def test_refused(self):
        """The reason is found by the descriptor, which is all that QEMU has of the device."""
        mine, other = SHARED
        self.bind(mine)
        guest = self.start_with((mine,))
        self.wait_ready(guest)
        self.assert_attach_refused(guest, mine, "error bind device fd=6 to iommufd=5: Operation "
                                   "not permitted; the IOMMU group is not viable: "
                                   f"{other} (e1000e) still uses", host=None, fd="6")
        guest.check("true")


if __name__ == "__main__":
    vfiocase.labcase.main()
