#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1800 parallel
"""Each topic of the series on just what it needs: it applies and keeps the rules, and, in the long
form, each of its patches builds and passes the tests that exist there."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

from workbench.series.topics import Topics  # noqa: E402
from workbench.testing import discovery  # noqa: E402
from workbench.testing.tap import main  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
LONG = bool(os.environ.get(discovery.LONG_VARIABLE))


class Each(unittest.TestCase):
    """One part for each topic, so that one bad topic does not hide the others."""

    def each(self, verb):
        """Run a verb of scripts/series for each topic."""
        topics = Topics.load()
        self.assertTrue(len(topics))
        for topic in topics:
            with self.subTest(topic=topic.name):
                done = subprocess.run(
                    [str(TOP / "scripts/series"), verb, "--topic", topic.name], check=False,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                    stdin=subprocess.DEVNULL)
                self.assertEqual(done.returncode, 0, "\n".join(done.stdout.splitlines()[-60:]))

    def test_check(self):
        """It applies, without a merge and without fuzz."""
        self.each("check")

    @unittest.skipUnless(LONG, "takes long: use the suite's long form (scripts/test --list)")
    def test_bisect(self):
        """Each patch builds and passes its tests. Results are kept: only what changed is built."""
        self.each("bisect")


if __name__ == "__main__":
    main()
