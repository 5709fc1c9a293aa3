#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=3600
"""The package for Debian 12, beside the distribution's QEMU and with its libvirt."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from libvirtcase import LibvirtCase  # noqa: E402
from packagecases import DebCases  # noqa: E402


class Installed(DebCases, LibvirtCase):

    number = "12"
    apparmor_line = "include if exists <abstractions/libvirt-qemu.d>\n"
    # It wants an init system.
    apparmor_package = "libvirt-daemon-system"


if __name__ == "__main__":
    guestcase.main(clean_up=True)
