#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1800 suite=vfio-iommufd parallel
"""Devices that cannot be had by iommufd: QEMU says why, the guest goes on, and once the cause is
gone the device can be plugged.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
import vfiorefusalcases  # noqa: E402
from labcase import Refused  # noqa: E402
from vfiocase import NVME, SHARED  # noqa: E402


class Refusals(vfiorefusalcases.RefusalCases, vfiorefusalcases.NoiommuCases,
               vfiorefusalcases.IommufdWords, vfiocase.Iommufd, vfiocase.VfioCase):
    """The cases of vfiorefusalcases.py, and what is about iommufd only."""

    def test_used_by_group(self):
        """Another QEMU has the device without iommufd."""
        guest = self.guest()
        self.bind(NVME)
        other = self.other(NVME, iommufd=None)
        self.check_refused(guest, NVME, "error bind device fd=", "Device or resource busy; the "
                           "IOMMU group is in use without iommufd, by another process")
        other.close()
        self.assert_works(guest, NVME)

    def test_used_by_iommufd(self):
        """Another QEMU has the device with iommufd, and this one wants its group."""
        guest = self.guest()
        self.bind(NVME)
        other = self.other(NVME)
        self.check_refused(guest, NVME, f"Could not open '/dev/vfio/{self.group(NVME)}': Device or "
                           "resource busy; the IOMMU group is in use, by another process or with "
                           "iommufd", iommufd=None)
        other.close()
        self.assert_works(guest, NVME, iommufd=None)
        self.assert_works(guest, NVME)

    def test_group_in_use(self):
        """Another QEMU has a device of the group: with iommufd, and by the group."""
        guest, (mine, other) = self.guest(), SHARED
        self.bind(mine)
        self.bind(other)
        owner = self.other(other)
        self.check_refused(guest, mine, "error bind device fd=", "Operation not permitted; a "
                           "device of the IOMMU group is in use, by another process or by this "
                           "one")
        owner.close()
        owner = self.other(other, iommufd=None)
        self.check_refused(guest, mine, "error bind device fd=", "Device or resource busy; the "
                           "IOMMU group is in use without iommufd, by another process")
        owner.close()
        self.assert_works(guest, mine)

    def test_no_iommufd(self):
        """/dev/iommu is not there when the object is made, or when it is first used."""
        self.bind(NVME)
        away = "/dev/iommu-away"
        guest, _ = self.start(paused=True)
        self.put_back(f"[ ! -e {away} ] || mv {away} /dev/iommu")
        self.place.check(f"mv /dev/iommu {away}")
        with self.assertRaisesRegex(Refused, "^/dev/iommu does not exist "):
            guest.qmp("object-add", {"qom-type": "iommufd", "id": "second"})
        self.assert_attach_refused(
            guest, NVME, "Could not open '/dev/iommu': No such file or directory; the host's "
            "kernel has no iommufd (CONFIG_IOMMUFD), or its module is not loaded, or the node "
            "is not visible to QEMU")
        self.place.check(f"mv {away} /dev/iommu")
        self.attach(guest, NVME)


class Limits(vfiorefusalcases.LimitCases, vfiorefusalcases.IommufdWords, vfiocase.Iommufd,
             vfiocase.VfioCase):
    """The cases of vfiorefusalcases.py."""


class Isolation(vfiorefusalcases.IsolationCases, vfiorefusalcases.IommufdWords, vfiocase.Iommufd,
                vfiocase.VfioCase):
    """The case of vfiorefusalcases.py."""


if __name__ == "__main__":
    vfiocase.labcase.main()
