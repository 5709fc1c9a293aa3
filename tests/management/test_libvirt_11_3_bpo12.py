#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""libvirt 11.3 of Debian 12's backports. It cannot save or migrate with QEMU 11.0 and newer."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from libvirtcase import LibvirtCase  # noqa: E402
from libvirtcases import DETACH, ActiveCases, InactiveCases, PortCases  # noqa: E402
from libvirtstartcases import StartCases  # noqa: E402


class Expected:
    """What this release is, and how it differs from what the cases expect."""

    release = "11.3-bpo12"
    saves = DETACH
    removes_later = False


class Start(Expected, StartCases, LibvirtCase):
    """Domains that do not run."""


class Active(Expected, ActiveCases, LibvirtCase):
    """A domain with vCPU hot-plug."""


class Inactive(Expected, InactiveCases, LibvirtCase):
    """A domain without."""


class Ports(Expected, PortCases, LibvirtCase):
    """A domain with many root ports."""


if __name__ == "__main__":
    guestcase.main(clean_up=True)
