#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""Sources of test suites that others wrote, and what such tests report."""

import contextlib
import io
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.system import paths  # noqa: E402
from workbench.testing import outside, outsidekvmunit, outsideltp  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402


class Sources(unittest.TestCase):
    """Places and tarballs, in folders of the test's own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        for name in ("given", "base", "cache", "user"):
            (self.top / name).mkdir()
        for patch in (
                mock.patch.object(paths, "CACHE", self.top / "cache"),
                mock.patch.object(paths, "USER_CACHE", self.top / "user"),
                mock.patch.object(paths, "OUTSIDE", self.top / "outside"),
                mock.patch.object(paths, "LOGS", self.top / "logs"),
                mock.patch.dict("os.environ", {"OUTSIDE_SOURCES": str(self.top / "given"),
                                               "QEMU_BASE_SOURCE": str(self.top / "base")})):
            patch.start()
            self.addCleanup(patch.stop)

    def tarball(self, path, text="1\n"):
        """Write a tarball that holds the file VERSION with TEXT; returns its path."""
        path = self.top / path
        with tarfile.open(path, "w:xz") as archive:
            entry = tarfile.TarInfo("ltp/VERSION")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        return path

    def test_order(self):
        """The variable, QEMU's source, the caches: the first that has one decides."""
        for place in ("user", "cache", "base", "given"):
            path = self.tarball(f"{place}/ltp.tar.xz")
            self.assertEqual(outside.tarball("ltp"), path)

    def test_beside_tarball_of_qemu(self):
        """QEMU_BASE_SOURCE may be a file; its folder is looked into."""
        path = self.tarball("base/ltp.tar.xz")
        with mock.patch.dict("os.environ", QEMU_BASE_SOURCE=str(self.top / "base/qemu.tar.xz")):
            (self.top / "base/qemu.tar.xz").touch()
            self.assertEqual(outside.tarball("ltp"), path)

    def test_names(self):
        """With a version, the last one; nothing of others, no signature, no part of a file."""
        for name in ("ltprov.tar.xz", "ltp-full-20260529.tar.xz.asc", "ltp.tar.part", "ltp.txt"):
            (self.top / "given" / name).touch()
        with self.assertRaises(outside.Missing):
            outside.tarball("ltp")
        self.tarball("given/ltp-full-20250130.tar.bz2")
        path = self.tarball("given/ltp-full-20260529.tar.xz")
        self.assertEqual(outside.tarball("ltp"), path)

    def test_missing(self):
        """It is said where it was looked for and what would help, and it counts as incomplete."""
        self.tarball("given/ltp.tar.xz")
        with self.assertRaises(outside.Missing) as raised:
            outside.tarball("kvm-unit-tests")
        for words in ("there is no tarball of kvm-unit-tests", "OUTSIDE_SOURCES=PATH",
                      *(str(self.top / name) for name in ("given", "base", "cache", "user"))):
            self.assertIn(words, str(raised.exception))
        self.assertFalse(outside.complete())
        self.tarball("given/kvm-unit-tests.tar.xz")
        self.assertTrue(outside.complete())

    def test_note(self):
        """A source whose results nobody has seen is named."""
        path = self.tarball("given/ltp.tar.xz")
        self.assertIn("ltp.tar.xz", outside.note("ltp"))
        with mock.patch.dict(outside.KNOWN, ltp=fake.sha256(path)):
            self.assertEqual(outside.note("ltp"), "")

    def source(self):
        """The version in the unpacked source, quietly."""
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return (outside.source("ltp") / "VERSION").read_text()

    def test_unpacked_once(self):
        """As long as the tarball is the same; another one takes its place."""
        self.tarball("given/ltp.tar.xz")
        self.assertEqual(self.source(), "1\n")
        kept = outside.source("ltp") / "kept"
        kept.touch()
        self.assertEqual(self.source(), "1\n")
        self.assertTrue(kept.exists())
        self.tarball("given/ltp.tar.xz", "2\n")
        self.assertEqual(self.source(), "2\n")
        self.assertFalse(kept.exists())

    def test_broken(self):
        """A broken tarball is named, and nothing of it stays."""
        path = self.tarball("given/ltp.tar.xz")
        path.write_bytes(path.read_bytes()[:100])
        with self.assertRaisesRegex(WorkbenchError, f"If {path} is broken, replace it"):
            self.source()
        self.assertFalse((self.top / "outside/ltp/source").exists())


class Results(unittest.TestCase):
    """Reading what tests print."""

    def test_kvm_unit_tests(self):
        """All checks in their order, without what differs from run to run, and the status."""
        text = ("\x1b[2Jfirmware\r\nAddress of image is: 0x1000\r\nPASS: psci: invalid-function\r\n"
                "INFO: psci: PASS: took 7 ms\r\nSKIP: psci: cpu-on\r\nXFAIL: a: b\r\n"
                "SUMMARY: 3 tests\r\n\r\nEXIT: STATUS={}\r\n")
        checks = ("PASS: psci: invalid-function", "SKIP: psci: cpu-on", "XFAIL: a: b")
        for printed, status in ((1, 0), (3, 1), (77, 38), (127, 63)):
            self.assertEqual(outsidekvmunit.results(text.format(printed)), (checks, status))

    def test_kvm_unit_tests_broken_off(self):
        """A program that has not come to its end has no status."""
        self.assertEqual(outsidekvmunit.results("PASS: a\r\nABORT: b\r\nEXIT: STAT"),
                         (("PASS: a", "ABORT: b"), None))

    def test_ltp(self):
        """The words of results, of old and new shell tests; information is none."""
        text = ("Name:   cpuhotplug04\nCPU is 3\ncpuhotplug04 1 TINFO: Starting loop\n"
                "cpuhotplug04 1 TPASS: refused\ncpuhotplug04 2 TFAIL: Success\nTPASS: x\n")
        self.assertEqual(outsideltp.results(text), ("TPASS", "TFAIL"))


if __name__ == "__main__":
    fake.main()
