#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""PSCI calls and register accesses by a guest that was written for that."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import pscicases  # noqa: E402


class Calls(pscicases.CallCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


class Debug(pscicases.DebugCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG, which keeps such points in lists of QEMU."""


class Off(pscicases.OffCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


class Hostile(pscicases.HostileCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


if __name__ == "__main__":
    guestcase.main()
