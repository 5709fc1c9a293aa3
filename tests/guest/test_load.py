#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""CPUs come under load, are used, and all go under load."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import loadcases  # noqa: E402


class Load(loadcases.LoadCases, guestcase.GuestCase):
    """The cases of loadcases.py with TCG."""

    laps = 12 if guestcase.LONG else 2


if __name__ == "__main__":
    guestcase.main()
