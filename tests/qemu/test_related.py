#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=qtest timeout=900
"""QEMU's own qtests for what the series touches, on the patched build."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from workbench import paths, qtests, tap  # noqa: E402


class Related(unittest.TestCase):
    """One method for each qtest, made below."""

    @classmethod
    def setUpClass(cls):
        cls.results = qtests.run(paths.PATCHED, paths.QEMU_SRC, qtests.related(paths.PATCHED),
                                 "related")

    def judge(self, name):
        """The result of the qtest `name` becomes that of the calling test."""
        result = self.results[name]
        if result.status == "SKIP":
            self.skipTest((result.output.strip().splitlines() or ["it says no reason"])[-1])
        self.assertEqual(result.status, "OK", f"{', '.join(sorted(result.failed))}\n"
                         + result.output[-3000:])


def add(name):
    """A method for one qtest."""
    def method(self):
        self.judge(name)
    setattr(Related, f"test_{name}", method)


for _name in qtests.related(paths.PATCHED):
    add(_name)

if __name__ == "__main__":
    tap.main()
