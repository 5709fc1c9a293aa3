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
from workbench.testing.outsidekvmunit import DEVICE_TREE, EFI  # noqa: E402


@kvmunitcases.each()
class Tcg(kvmunitcases.KvmUnitCases, guestcase.GuestCase):

    def binary(self, which):
        return guestcase.QEMU if which == kvmunitcases.PATCHED else outsidecase.pristine()

    def test_device_tree_psci(self):
        """The test of PSCI passes, but for a defect of its own."""
        self.check_psci(DEVICE_TREE)

    def test_efi_psci(self):
        """The same as an EFI program."""
        self.check_psci(EFI)

    def test_slots_are_no_cpus(self):
        """Free slots are taken for CPUs by the EFI programs, unless these are mended."""
        self.check_slots()


if __name__ == "__main__":
    guestcase.main()
