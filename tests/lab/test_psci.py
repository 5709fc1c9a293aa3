#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 suite=kvm parallel
"""PSCI calls and register accesses under KVM by a guest that was written for that."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
import pscicases  # noqa: E402
from pscimonitor import CPU_ON, DENIED, SUCCESS  # noqa: E402


class Calls(pscicases.CallCases, labcase.LabCase):
    """The cases of pscicases.py with KVM."""

    # AFFINITY_INFO is answered by the kernel, which hears of it when the CPU is removed.
    EJECT_SHOWS_AT_ONCE = False

    def test_upper_halves(self):
        """The arguments of the 32-bit call are what the lower halves of the registers hold."""
        _, _, monitor = self.monitor()
        self.assertEqual(monitor.start(2 | 1 << 32, 1, CPU_ON[0]), DENIED)
        before = monitor.entries(1)
        self.assertEqual(monitor.start(1 | 1 << 40, 0xabcdef0123456789, CPU_ON[0]), SUCCESS)
        self.assert_started(monitor, 1, 0x23456789, before)


class Hostile(pscicases.HostileCases, labcase.LabCase):
    """The cases of pscicases.py with KVM."""


if __name__ == "__main__":
    labcase.main()
