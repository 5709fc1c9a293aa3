#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=3600
"""kvm-unit-tests with TCG: the patched QEMU gives the results of the pristine one."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import kvmunitcases  # noqa: E402
import outsidecase  # noqa: E402


@kvmunitcases.each()
class Tcg(kvmunitcases.KvmUnitCases, guestcase.GuestCase):

    def binary(self, which):
        return guestcase.QEMU if which == kvmunitcases.PATCHED else outsidecase.pristine()


if __name__ == "__main__":
    guestcase.main()
