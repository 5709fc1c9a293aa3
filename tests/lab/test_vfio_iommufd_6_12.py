#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=vfio-iommufd parallel
"""A host with Linux 6.12 and iommufd, which checks no vf-token with that."""

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
        """A vf-token, which this kernel does not check with iommufd, is ignored with a warning."""
        (owner, function), guest = self.owned_function(iommufd=None), self.guest()
        guest.expect(says=(*self.says(), "warning: vfio .*: the host's kernel takes no 'vf-token' "
                           "with iommufd, so it is ignored; use Linux 6.18.3 or newer"))
        self.assert_works(guest, function, **{"vf-token": TOKEN})
        self.assert_works(guest, function, iommufd=None, **{"vf-token": TOKEN})
        owner.close()


if __name__ == "__main__":
    vfiocase.labcase.main()
