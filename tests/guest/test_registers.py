#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The state of CPUs that came later."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import registercases  # noqa: E402


class Registers(registercases.RegisterCases, guestcase.GuestCase):
    """The cases of registercases.py with TCG."""


if __name__ == "__main__":
    guestcase.main()
