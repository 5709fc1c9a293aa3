#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1800 parallel
"""Thousands of plugs in one guest leave nothing behind in QEMU."""

import itertools
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from cyclecases import CycleCases, single_arena  # noqa: E402

CYCLES = 1000 if guestcase.LONG else 200
WARM_UP = 100

single_arena()


class Cycles(CycleCases, guestcase.GuestCase):

    def test_flat(self):
        """Memory, threads and file descriptors do not grow."""
        # A small translation buffer is full after the warm-up.
        self.check_flat(list(itertools.islice(itertools.cycle((1, 2, 3)), CYCLES)), WARM_UP,
                        accel="tcg,thread=multi,tb-size=8")


if __name__ == "__main__":
    guestcase.main()
