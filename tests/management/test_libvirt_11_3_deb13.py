#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""libvirt 11.3 of Debian 13, which has patches for QEMU 11. It cannot restore what it saved."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from libvirtcase import LibvirtCase  # noqa: E402
from libvirtcases import NO_FILE, ActiveCases, InactiveCases, PortCases  # noqa: E402
from libvirtstartcases import StartCases  # noqa: E402


class Expected:
    """What this release is, and how it differs from what the cases expect."""

    release = "11.3-deb13"
    restores = NO_FILE
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
