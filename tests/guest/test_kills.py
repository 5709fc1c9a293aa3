#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""One side of a migration is killed while requests wait for the guest's answer."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import killcases  # noqa: E402


class Kills(killcases.KillCases, guestcase.GuestCase):
    """The cases of killcases.py with TCG."""

    rounds = 200 if guestcase.LONG else killcases.KillCases.rounds


if __name__ == "__main__":
    guestcase.main()
