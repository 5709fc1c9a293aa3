#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=asan timeout=60 sanitizers=tsan,pristine
"""The sanitizers work here: faults made on purpose are reported, and QEMU is built with them."""

import mmap
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

from workbench.build import sanitizers, tsanglib  # noqa: E402
from workbench.sanitize import known, reports, settings  # noqa: E402
from workbench.system import addresses, clang  # noqa: E402
from workbench.testing import qemusuites, sanitized, tap  # noqa: E402

SUITE = os.environ.get("SANITIZE_SUITE", "asan")
SANITIZER, WHICH = sanitized.SUITES[SUITE]
SOURCE = Path(__file__).with_name("faults.c")
# {fault, which is the name of its function, too: (of, kind)}
FAULTS = {
    sanitizers.ADDRESS: {"use_freed": (reports.ADDRESS, "heap-use-after-free"),
                         "shift_too_far": (reports.UNDEFINED, "shift exponent N is too large for "
                                           "N-bit type 'int'"),
                         "lose": (reports.LEAK, "direct leak")},
    sanitizers.THREAD: {"increment": (reports.THREAD, "data race")},
}[SANITIZER]
FLAGS = {sanitizers.ADDRESS: "address,undefined", sanitizers.THREAD: "thread"}[SANITIZER]
# Functions of the runtimes, which are linked into each program.
SYMBOLS = {sanitizers.ADDRESS: (b"__asan_report_load8", b"__ubsan_handle_shift_out_of_bounds"),
           sanitizers.THREAD: (b"__tsan_read8", b"__tsan_func_entry")}[SANITIZER]


class Faults(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        addresses.fix()
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.program = cls.folder / "faults"
        subprocess.run([clang.program("clang"), "-g", "-O1", "-fno-omit-frame-pointer",
                        f"-fsanitize={FLAGS}", "-o", cls.program, SOURCE, "-pthread"], check=True)

    def reported(self, fault):
        """The reports of the program with FAULT, and its exit status."""
        logs = Path(tempfile.mkdtemp(dir=self.folder))
        done = subprocess.run([self.program, fault], capture_output=True, text=True, check=False,
                              timeout=30 * qemusuites.FACTOR,
                              env={**os.environ, **settings.environment(SANITIZER, logs)})
        self.assertEqual(done.stdout + done.stderr, "", "reports go to files")
        return [group.report for group in reports.collect(logs).values()], done.returncode

    def test_reported(self):
        """Each fault, with the function that makes it on top, and none of the list covers it."""
        entries = known.read()
        for fault, (of, kind) in FAULTS.items():
            with self.subTest(fault):
                found, _ = self.reported(fault)
                self.assertEqual([(one.of, one.kind) for one in found], [(of, kind)],
                                 "\n".join(one.text for one in found))
                self.assertTrue(all(text.startswith(fault) for text in found[0].signatures()),
                                found[0].signatures())
                self.assertIsNone(known.of(found[0], entries))

    def test_nothing(self):
        """A program without a fault has no report, and its own exit status."""
        self.assertEqual(self.reported("none"), ([], 0))

    def test_status(self):
        """What can go on does, and ends as it would have without a report."""
        for fault in set(FAULTS) - {"use_freed"}:
            with self.subTest(fault):
                self.assertEqual(self.reported(fault)[1], 0)


class Build(unittest.TestCase):

    def test_qemu(self):
        """The emulators that the tests start are built with the sanitizer."""
        for name in sanitizers.EMULATORS:
            binary = sanitizers.folder(SANITIZER, WHICH) / name
            with open(binary, "rb") as file, \
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for symbol in SYMBOLS:
                    self.assertGreaterEqual(content.find(symbol), 0, f"{binary} lacks {symbol}")

    @unittest.skipUnless(SANITIZER == sanitizers.THREAD, "only ThreadSanitizer needs it")
    def test_glib(self):
        """QEMU uses the GLib whose locks ThreadSanitizer sees."""
        for name in sanitizers.EMULATORS:
            binary = sanitizers.folder(SANITIZER, WHICH) / name
            done = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True)
            found = re.search(rf"{re.escape(tsanglib.LIBRARY)} => (\S+)", done.stdout)
            self.assertEqual(found and Path(found[1]), tsanglib.folder() / tsanglib.LIBRARY)


if __name__ == "__main__":
    tap.main()
