#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1500
"""Ten minutes of scripts/fuzz, and one input of the corpus made a test."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

from workbench.fuzz import corpus, fuzzer  # noqa: E402
from workbench.system import paths  # noqa: E402
from workbench.testing import tap  # noqa: E402

MINUTES = 10


def run(*words, minutes=5):
    """Run scripts/fuzz with WORDS, which must end within MINUTES; returns the finished process."""
    return subprocess.run([paths.SCRIPTS / "fuzz", "--no-build", *words], capture_output=True,
                          text=True, timeout=minutes * 60, check=False)


class Fuzz(unittest.TestCase):

    def test_replay(self):
        """An input of the corpus does no harm, and becomes a test of what it does."""
        file = min(corpus.FOLDER.iterdir())
        for target in fuzzer.TARGETS:
            done = run("--target", target, "--replay", str(file))
            self.assertEqual(done.returncode, 0, f"{done.stdout}\n{done.stderr}")
            made = re.search(r"^The same as a test: (\S+)$", done.stdout, re.M)
            self.assertTrue(made, done.stdout)
            source = (paths.TOP / made[1]).read_text(encoding="utf-8")
            self.assertIn('"writel 0x90d0000 ', source)
            self.assertIn("qtest_system_reset(qts);", source)
            self.assertIn("cpu-hotplug=on", source)

    def test_ten_minutes(self):
        """From all inputs of the corpus on, no input makes QEMU fail."""
        done = run("--time", f"{MINUTES}m", minutes=MINUTES + 5)
        self.assertEqual(done.returncode, 0, f"{done.stdout}\n{done.stderr}")
        print(done.stdout)


if __name__ == "__main__":
    tap.main()
