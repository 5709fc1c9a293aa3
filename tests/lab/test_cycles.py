#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=kvm parallel
"""Many plugs in one guest with KVM leave nothing behind in QEMU."""

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
from cyclecases import CycleCases, single_arena  # noqa: E402
from guestcase import LONG, long_only  # noqa: E402

CYCLES = 1000 if LONG else 200
SEED = 11

single_arena()


class Cycles(CycleCases, labcase.LabCase):
    """CPUs come and go in random order, each as soon as QEMU has confirmed the one before."""

    def setUp(self):
        super().setUp()
        if not labcase.native():
            # Guests are started by this shell.
            self.place.check("export MALLOC_ARENA_MAX=1")

    def check_random(self, numbers, count, warm_up, **changes):
        order = random.Random(SEED)
        self.check_flat([order.choice(numbers) for _ in range(count)], warm_up,
                        machine="virt,gic-version=3", **changes)

    def test_flat(self):
        """Four CPUs; one in three is the one that has just gone."""
        self.check_random((1, 2, 3), CYCLES, CYCLES // 2)

    @long_only
    def test_64(self):
        """Few of many, where the guest takes longer to look through them."""
        self.check_random((1, 32, 63), 30, 15, smp="1,maxcpus=64", memory="512M")

    @long_only
    def test_240(self):
        self.check_random((1, 120, 239), 30, 15, smp="1,maxcpus=240", memory="1G")


if __name__ == "__main__":
    labcase.main()
