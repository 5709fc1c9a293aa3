#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 suite=kvm
"""The state of CPUs that came later, with KVM."""

import tempfile
from pathlib import Path

import labcase
import registercases
from labcase import native


class Registers(registercases.RegisterCases, labcase.LabCase):
    """The cases of registercases.py with KVM."""

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
