#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""libvirt 9.0 of Debian 12. It cannot save or migrate with QEMU 11.0 and newer."""

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

    release = "9.0"
    saves = DETACH
    clusters = False
    removes_later = False


class Start(Expected, StartCases, LibvirtCase):
    """Domains that do not run."""


class Active(Expected, ActiveCases, LibvirtCase):
    """A domain with vCPU hot-plug."""

    topology = "sockets='2' cores='2' threads='2'"


class Inactive(Expected, InactiveCases, LibvirtCase):
    """A domain without."""


class Ports(Expected, PortCases, LibvirtCase):
    """A domain with many root ports."""


if __name__ == "__main__":
    guestcase.main(clean_up=True)
