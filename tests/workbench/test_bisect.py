#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""scripts/series bisect: each commit is built once, in order; the first bad one stops it.

Compiling and QEMU's tests are replaced by stubs: what is tested is what is built when.
"""

import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402

# Stubs: a commit is bad if its board.c says so; it has one test as soon as there is a board.
DRIVER = """
import sys
sys.path.insert(0, sys.argv[1] + "/scripts")
from workbench.build import emulators
from workbench.system import host, paths, tools
from workbench.testing import bisect, qemusuites, qtests
from workbench.ui import report
host.require = lambda *groups: None
tools.ensure = lambda: None
board = paths.BISECT_SRC / "hw/arm/board.c"

def build(source, folder, targets=None, name=None, options=None):
    text = board.read_text() if board.exists() else ""
    print("compiled", len(text))
    if "BROKEN" in text:
        raise report.WorkbenchError("it does not compile")

def run(build, source, names, label, tables=False):
    bad = "WRONG" in board.read_text()
    return {"t": qemusuites.Result("qtest-aarch64/t", "FAIL" if bad else "OK", {}, "words")}

emulators.configure_and_make = build
emulators.built = lambda which: True
qtests.related = lambda build, source, complete: ["qtest-aarch64/t"]
qtests.run = run
report.main(lambda: bisect.main(*eval(sys.argv[2])))
"""


class Bisect(fake.WorkbenchCase):

    def setUp(self):
        super().setUp()
        self.two_patches()

    def bisect(self, *args, status=0):
        """Run bisect.main(*args) with the stubs; returns its output."""
        done = subprocess.run([fake.tools.PYTHON, "-c", DRIVER, str(self.top), repr(args)],
                              env=self.environment(), stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=60, check=False)
        self.assertEqual(done.returncode, status, done.stdout)
        self.assertNotIn("Traceback", done.stdout)
        return done.stdout

    def test_each_once(self):
        """All are built in order; a second run builds none; a changed one is built again."""
        out = self.bisect()
        self.assertEqual(out.count("compiled "), 2, out)
        self.assertIn("2 of 2 patches good, 2 of them built now", out)
        self.assertEqual(self.bisect().count("compiled "), 0)
        self.commit("hw/arm: third", {"hw/arm/board.c": "int third;\n"})
        self.assertEqual(self.bisect().count("compiled "), 1)
        self.assertEqual(self.bisect(False, 3, True).count("compiled "), 1)

    def test_topic(self):
        """A topic is built on just what it needs; trees that were built already count."""
        self.topics({"board": (), "apart": (), "use": ("board",)})
        self.commit("hw/arm: apart", {"hw/arm/apart.c": "int apart;\n"}, topic="apart")
        self.commit("hw/arm: use", {"hw/arm/board.c": "int use;\n"}, topic="use")
        out = self.bisect(False, 1, False, "use")
        self.assertIn("topic use: 1 of 1 patches good, 1 of them built now", out)
        self.assertNotIn("hw/arm: apart", out)
        self.assertEqual(self.bisect(False, 1, False, "board").count("compiled "), 2)
        # The last patch of the series is on a tree with apart.c, where it was not built yet.
        self.assertEqual(self.bisect().count("compiled "), 2)
        self.assertEqual(self.bisect(False, 1, False, "use").count("compiled "), 0)
        self.assertIn("topic use has the patches 1 to 1",
                      self.bisect(False, 2, False, "use", status=1))
        self.git("branch", "-D", "topic/apart")
        self.assertIn("no branch topic/apart", self.bisect(False, 1, False, "use", status=1))

    def test_quick(self):
        """Without tests only building counts, and does not stand in for a full run."""
        self.assertIn("builds ", self.bisect(True))
        self.assertEqual(self.bisect().count("compiled "), 2)
        self.assertEqual(self.bisect(True).count("compiled "), 0)

    def test_bad(self):
        """A commit that does not build, or whose tests fail, is named; later ones wait."""
        self.commit("hw/arm: third", {"hw/arm/board.c": "WRONG\n"})
        self.commit("hw/arm: fourth", {"hw/arm/board.c": "BROKEN\n"})
        out = self.bisect(status=1)
        self.assertIn("patch 3 is bad", out)
        self.assertIn("words", out)
        out = self.bisect(False, 4, status=1)
        self.assertIn("it does not compile", out)
        self.assertIn("patch 4 is bad", out)

    def test_range(self):
        """A number that the series does not have."""
        self.assertIn("1 to 2", self.bisect(False, 3, status=1))


if __name__ == "__main__":
    fake.main()
