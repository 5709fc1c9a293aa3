#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""scripts/bench, as far as it can be tested without measuring anything."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.bench import benchmarks  # noqa: E402
from workbench.system import tools  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

tools.ensure()
tools.activate()

from workbench.bench import guests, plugs  # noqa: E402

OPTIONS = benchmarks.Options("qemu", "qemu-x86", 1)
GOOD = '''"""What is good.

And more of it.
"""
from workbench.bench import benchmarks


def measure(options):
    return [benchmarks.ratio("one and two", 1, 2, {limit})]
'''
LACKS = '''"""What lacks something."""
from workbench.ui.report import WorkbenchError


def measure(options):
    raise WorkbenchError("There is nothing to compare with.")
'''


class Benchmarks(unittest.TestCase):

    def test_each(self):
        """Each file has what run() calls, and says what it measures."""
        listing = benchmarks.listing()
        for name in benchmarks.names():
            with self.subTest(name):
                self.assertTrue(callable(benchmarks._load(name).measure))
                self.assertRegex(listing, rf"(?m)^{name} +\w")

    def run_files(self, *wanted, **files):
        """run() with FILES, {name: text}, in place of the benchmarks; returns (status, output).

        In place of the status there may be the error.
        """
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        self.enterContext(mock.patch.object(benchmarks, "FOLDER", folder))
        with contextlib.redirect_stdout(io.StringIO()) as out, \
                contextlib.redirect_stderr(io.StringIO()):
            try:
                status = benchmarks.run(wanted, OPTIONS)
            except WorkbenchError as error:
                status = str(error)
        return status, out.getvalue()

    def test_limit(self):
        """The exit status says whether all limits are met."""
        for limit, status, word in ((2, 0, "yes"), (1.5, 1, "NO"), (None, 0, "-")):
            found, output = self.run_files(good=GOOD.format(limit=limit))
            self.assertEqual(found, status)
            self.assertRegex(output, rf"one and two +1000 ms +2000 ms +2\.00 times .* {word}\n$")

    def test_kept(self):
        """What was measured is shown although a later benchmark cannot be run."""
        error, output = self.run_files(good=GOOD.format(limit=2), lacks=LACKS)
        self.assertEqual(error, "There is nothing to compare with.")
        self.assertIn("one and two", output)

    def test_unknown(self):
        """An unknown name is refused, with those that there are, and nothing is run."""
        error, output = self.run_files("good", "bad", good=GOOD.format(limit=2), lacks=LACKS)
        self.assertEqual(error, "There is no benchmark bad; there are: good, lacks.")
        self.assertEqual(output, "")

    def test_listing(self):
        """The list has the first line of each description."""
        self.run_files("good", good=GOOD.format(limit=2), lacks=LACKS)
        self.assertEqual(benchmarks.listing(),
                         "good   What is good.\nlacks  What lacks something.")


class Guests(unittest.TestCase):

    def test_answered(self):
        """What the guest says of another device, or of none, is not taken for the answer."""
        def event(seconds, **info):
            return {"data": {"info": info}, "timestamp": {"seconds": seconds, "microseconds": 5000}}

        guest = mock.Mock()
        guest.event.side_effect = [event(1, slot="2"), event(2, slot="3", device="cpu3"),
                                   event(3, slot="2", device="cpu2")]
        self.assertEqual(plugs.answered(guest, "cpu2"), 3.005)

    def test_load(self):
        """The load names each CPU, and ends by itself."""
        self.assertEqual(
            guests.starts(range(2), 5),
            "for cpu in 0 1; do taskset -c $cpu sh -c 'i=0; while [ $i -lt 5 ]; do busybox true; "
            "i=$((i+1)); done' & done; wait")

    def test_percentile(self):
        """The lowest value that so many are not above."""
        percentile = benchmarks._load("unplug_under_load").percentile
        self.assertEqual([percentile([3, 1, 2], percent) for percent in (1, 33, 34, 99, 100)],
                         [1, 1, 2, 3, 3])
        self.assertEqual(percentile(range(1, 501), 99), 495)


if __name__ == "__main__":
    fake.main()
