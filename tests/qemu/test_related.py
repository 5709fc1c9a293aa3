#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=qtest timeout=900 sanitizers=asan,tsan,pristine
"""QEMU's own qtests for what the series touches, on the patched build.

scripts/sanitize runs them on builds with a sanitizer, the pristine one among them.
"""

import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

from workbench.system import paths  # noqa: E402
from workbench.testing import qtests, tap  # noqa: E402
from workbench.ui import report  # noqa: E402


PATCHED = qtests.SOURCE == paths.QEMU_SRC

try:
    NAMES, WRONG = qtests.related(qtests.BUILD, qtests.SOURCE, complete=PATCHED), None
except report.WorkbenchError as error:
    NAMES, WRONG = [], error


class Related(unittest.TestCase):
    """One method for each qtest, made below."""

    @classmethod
    def setUpClass(cls):
        if WRONG:
            raise WRONG
        cls.results = qtests.run(qtests.BUILD, qtests.SOURCE, NAMES, "related")

    @unittest.skipUnless(PATCHED, "the pristine QEMU has no tests of the series")
    def test_own(self):
        """The tests that the series adds are among them."""
        self.assertGreaterEqual(len(qtests.added(qtests.SOURCE)), 3)

    def judge(self, name):
        """The result of the qtest `name` becomes that of the calling test."""
        result = self.results[name]
        self.assertEqual(qtests.own_skips(result, qtests.SOURCE), [], "skipped")
        if result.status == "SKIP":
            self.skipTest((result.output.strip().splitlines() or ["it says no reason"])[-1])
        self.assertEqual(result.status, "OK", f"{', '.join(sorted(result.failed))}\n"
                         + result.output[-3000:])


class Vanished(unittest.TestCase):
    """A test that the build does not know is an error."""

    def related(self, known, own, complete=True):
        """The list for a build that knows the names KNOWN of a tree that adds OWN."""
        with mock.patch.object(qtests.qemusuites, "names", lambda build, suite: [
                name for name in known if name.startswith(suite) or suite == "unit"
                and "/" not in name]), mock.patch.object(qtests, "added", lambda source: own):
            return qtests.related("build", "source", complete)

    def test_skipped(self):
        """What a test of the series skips is seen, and what one of QEMU skips is QEMU's business."""
        with mock.patch.object(qtests, "added", lambda source: ["new-test"]):
            for name, status, found in (("a/new-test", "OK", ["/b"]), ("new-test", "SKIP", ["all"]),
                                        ("a/old-test", "OK", [])):
                result = qtests.qemusuites.Result(name, status, {"/a": "ok", "/b": "skip"}, "")
                self.assertEqual(qtests.own_skips(result, "source"), found)

    def test_vanished(self):
        """One that the series adds, one of the list, and one that a later patch brings."""
        every = [*qtests.RELATED, "qtest-aarch64/new-test", "test-unit", "qtest-aarch64/other"]
        own = ["new-test", "test-unit"]
        self.assertEqual(self.related(every, own), sorted(every[:-1]))
        for name in every[:-1]:
            with self.assertRaisesRegex(report.WorkbenchError, name.split("/")[-1]):
                self.related([one for one in every if one != name], own)
        for name in qtests.REGISTERED:
            left = [one for one in every[:-1] if one != name]
            self.assertEqual(self.related(left, own, complete=False), sorted(left))


def add(name):
    """A method for one qtest."""
    def method(self):
        self.judge(name)
    setattr(Related, f"test_{name}", method)


for _name in NAMES:
    add(_name)

if __name__ == "__main__":
    tap.main()
