#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 suite=kvm parallel
"""The state of CPUs that came later, with KVM."""

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
import registercases  # noqa: E402
from labcase import native  # noqa: E402


class Registers(registercases.RegisterCases, labcase.LabCase):
    """The cases of registercases.py with KVM."""

    different = frozenset({
        "register 0x603000000013c005",      # MPIDR_EL1
        # The counters of the VM, which go on between the reading of two CPUs.
        "register 0x603000000013df01",      # that of the physical timer
        "register 0x603000000013df1a",      # that of the virtual timer
    })
    # Linux does not clear it when it resets a vCPU. The timer is off.
    left = frozenset({"register 0x603000000013df02"})       # CNTV_CVAL_EL0

    def fetch(self, path):
        if native():
            return path
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        copy = Path(folder.name, path.name)
        with open(copy, "wb") as file:
            self.assertEqual(self.place.stream(["cat", path], file, 60), 0)
        return copy


if __name__ == "__main__":
    labcase.main()
