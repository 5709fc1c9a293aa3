#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=vfio-iommufd parallel
"""A host with Linux 6.12 and iommufd, which takes no vf-token with that."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
import vfiodevicecases  # noqa: E402
import vfiorefusalcases  # noqa: E402
from vfiorefusalcases import TOKEN  # noqa: E402

KERNEL = "iommufd-6.12"


class Nvme(vfiodevicecases.NvmeCases, vfiocase.Iommufd, vfiocase.VfioCase):
    """The cases of vfiodevicecases.py."""

    kernel = KERNEL


class Refusals(vfiorefusalcases.Owned, vfiorefusalcases.NoiommuCases, vfiocase.Iommufd,
               vfiocase.VfioCase):
    """What other kernels refuse as well, or in another way."""

    kernel = KERNEL

    def test_token(self):
        """A vf-token is refused as what the kernel is too old for; by the group, it is taken."""
        (owner, function), guest = self.owned_function(iommufd=None), self.guest()
        self.check_refused(guest, function, "error bind device fd=", "Invalid argument; another "
                           "process has the device, or the host's kernel is older than Linux 6.17 "
                           "and takes no 'vf-token' with iommufd", **{"vf-token": TOKEN})
        self.assert_works(guest, function, iommufd=None, **{"vf-token": TOKEN})
        owner.close()


if __name__ == "__main__":
    vfiocase.labcase.main()
