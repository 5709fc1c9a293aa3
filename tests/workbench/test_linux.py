#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""Kernels of our own for the emulated Arm host, as far as they can be tested without building one.
"""

import contextlib
import io
import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.build import cross, linux  # noqa: E402
from workbench.guest import assets  # noqa: E402
from workbench.lab import kernels  # noqa: E402
from workbench.system import paths  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

KCONFIG = "config NET\n\tbool\n\nmenuconfig VFIO\n\ttristate\n\n  config IGB\n\ttristate\n"


class Configuration(unittest.TestCase):

    def test_differing(self):
        """What is off, or a module, though it was asked for otherwise; the rest does not matter."""
        self.assertEqual(
            linux.differing("# A comment\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=\"-x\"\nCONFIG_D=y\n",
                            "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"-x\"\n# CONFIG_D is not set\n"
                            "CONFIG_E=y\n"),
            {"B": ("m", "y"), "D": ("y", "n")})

    def test_options_of(self):
        """Options and menus of all files Kconfig, but not what is in other files."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "drivers").mkdir()
            (Path(folder) / "drivers/Kconfig.debug").write_text(KCONFIG)
            (Path(folder) / "Makefile").write_text("config OTHER\n")
            self.assertEqual(linux.options_of(folder), {"NET", "VFIO", "IGB"})

    def test_fragment(self):
        """Each line is a comment or sets one option, and no option is set twice."""
        lines = [line for line in linux.FRAGMENT.read_text().splitlines()
                 if line and not line.startswith("#")]
        self.assertEqual([line for line in lines
                          if not re.fullmatch(r"CONFIG_\w+=(y|m|\d+|\".*\")", line)], [])
        names = [line.partition("=")[0] for line in lines]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({"CONFIG_IOMMUFD", "CONFIG_VFIO_DEVICE_CDEV", "CONFIG_KVM"},
                             set(names))


class Build(unittest.TestCase):
    """With a make that writes what the kernel's would, in folders of the test's own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        self.made = []
        self.config = linux.FRAGMENT.read_text()
        for patch in (
                mock.patch.object(paths, "TOP", self.top),
                mock.patch.object(paths, "LINUX", self.top),
                mock.patch.object(paths, "LOGS", self.top / "logs"),
                mock.patch.object(linux.host, "require"), mock.patch.object(cross, "toolchain"),
                mock.patch.object(linux, "need_space"),
                mock.patch.object(linux.debfiles, "have", self.fetch),
                mock.patch.object(linux, "FRAGMENT", self.top / "fragment"),
                mock.patch.object(linux, "_make", self.make)):
            patch.start()
            self.addCleanup(patch.stop)
        linux.FRAGMENT.write_text(self.config)

    def fetch(self, folder, *_):
        """In place of a package, a tarball with a file Kconfig."""
        folder.mkdir(parents=True)
        fake.tarball(folder / "linux.tar.xz", files={"VERSION": "7\n", "Kconfig": KCONFIG})
        (folder / "package").write_text("linux-source-7.3_1_all.deb\n")
        return folder

    def make(self, _source, tree, _name, *targets, **_variables):
        """In place of the kernel's make."""
        self.made.append(targets)
        if targets == ("allnoconfig",):
            (tree / ".config").write_text(self.config)
            return
        for name in (linux.IMAGE, "drivers/vfio/vfio.ko"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text("\0name=vfio\0depends=\0vermagic=7.3.4-iommufd SMP\0")

    def build(self):
        """Build quietly; returns the folder."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return linux.build("iommufd")

    def test_once(self):
        """It is built once for each configuration; neither source nor objects stay."""
        folder = self.build()
        self.assertEqual(self.made, [("allnoconfig",), ("Image", "modules")])
        self.assertEqual({path.name for path in folder.iterdir()},
                         {"vmlinuz", "vfio.ko", "config", "package", "fragment"})
        self.assertFalse((self.top / "iommufd-work").exists())
        self.build()
        self.assertEqual(len(self.made), 2)
        linux.FRAGMENT.write_text(self.config + "CONFIG_NET_SCHED=y\n")
        self.config += "CONFIG_NET_SCHED=y\n"
        self.build()
        self.assertEqual(len(self.made), 4)

    def test_interrupted(self):
        """What was unpacked is used again."""
        with mock.patch.object(linux, "_collect", side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, self.build)
        with mock.patch.object(linux.debfiles, "have", side_effect=AssertionError):
            self.build()

    def test_option_that_is_off(self):
        """It is named; one that this release does not have is passed over."""
        self.config = self.config.replace("CONFIG_IGB=m", "").replace("CONFIG_RD_GZIP=y", "")
        with self.assertRaisesRegex(WorkbenchError, "IGB=m, which is n") as raised:
            self.build()
        self.assertNotIn("RD_GZIP", str(raised.exception))
        self.assertFalse((self.top / "iommufd").exists())

    def test_modules(self):
        """modprobe finds the modules, and the kernel is the one that was built."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(kernels.kernel("iommufd"), self.top / "iommufd/vmlinuz")
            self.assertEqual(set(kernels.module_files("iommufd")),
                             {"lib/modules/7.3.4-iommufd/vfio.ko",
                              "lib/modules/7.3.4-iommufd/modules.dep"})

    def test_names(self):
        """Debian's kernels and ours have different names."""
        self.assertEqual(len(set(kernels.names())),
                         len(assets.kernel_names()) + len(linux.names()))
        self.assertIn(kernels.DEFAULT, kernels.names())


if __name__ == "__main__":
    fake.main()
