#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""libvirt 12, the newest one of Debian."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from libvirtcase import LibvirtCase  # noqa: E402
from libvirtcases import ActiveCases, InactiveCases, PortCases  # noqa: E402
from libvirtstartcases import StartCases  # noqa: E402


class Expected:
    """What this release is, and how it differs from what the cases expect."""

    release = "12"


class Start(Expected, StartCases, LibvirtCase):
    """Domains that do not run."""


class Active(Expected, ActiveCases, LibvirtCase):
    """A domain with vCPU hot-plug."""

    rounds = 12


class Inactive(Expected, InactiveCases, LibvirtCase):
    """A domain without."""


class Ports(Expected, PortCases, LibvirtCase):
    """A domain with many root ports."""


if __name__ == "__main__":
    guestcase.main(clean_up=True)
