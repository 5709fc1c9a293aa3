#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""The image of a distribution, as far as it can be tested without making one."""

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.system import aptroot, paths, tools  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

tools.ensure()
tools.activate()

from workbench.distribution import builder, image, packages  # noqa: E402
from workbench.guest import assets  # noqa: E402


def read_archive(data):
    """{name: (mode, content)} of the archive DATA, as Linux unpacks it: the last of two stays."""
    found, at = {}, 0
    while True:
        fields = [int(data[at + 6 + 8 * n:at + 14 + 8 * n], 16) for n in range(13)]
        start = at + 110 + fields[11]
        name = data[at + 110:start - 1].decode()
        if name == "TRAILER!!!":
            return found
        start += -start % 4
        found[name] = (fields[1], data[start:start + fields[6]])
        at = start + fields[6] + -fields[6] % 4


class Packages(unittest.TestCase):

    def setUp(self):
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def deb(self, name, files, links=(), compression="none"):
        """A package with FILES, {path: content}, and LINKS, pairs (path, target)."""
        root = self.top / f"{name}-root"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1:2-3\nArchitecture: arm64\nMaintainer: none <a@b>\n"
            "Description: a package\n for a test\n")
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
            (root / path).chmod(0o755)
        for path, target in links:
            (root / path).symlink_to(target)
        file = self.top / f"{name}_1:2-3_arm64.deb"
        subprocess.run(["dpkg-deb", f"-Z{compression}", "--root-owner-group", "--build", root,
                        file], check=True, capture_output=True)
        return file

    def test_index(self):
        """The index has what a package says of itself, and where it is."""
        debs = [self.deb("one", {"a": b"1"}), self.deb("two", {"b": b"2"})]
        one, two = packages.index(debs).split("\n\n")
        self.assertTrue(one.startswith("Package: one\nVersion: 1:2-3\n"), one)
        self.assertIn("\nDescription: a package\n for a test\nFilename: ./one_1:2-3_arm64.deb\n",
                      one)
        self.assertIn(f"\nSize: {debs[1].stat().st_size}\n", two)

    def test_stored(self):
        """A package has the same files and the same description when it is not compressed."""
        deb = self.deb("one", {"a": b"1" * 1001, "b/c": b"2" * 4096}, compression="xz")
        folder = self.top / "stored"
        folder.mkdir()
        stored = packages.store(deb, folder)
        self.assertEqual(stored.name, deb.name)
        for option in ("--contents", "--field"):
            self.assertEqual(*(subprocess.run(["dpkg-deb", option, path], capture_output=True,
                                              text=True, check=True).stdout
                               for path in (deb, stored)))
        self.assertGreater(stored.stat().st_size, 5097)
        self.assertLess(deb.stat().st_size, 2000)

    def test_builder(self):
        """Files are where Debian has them, with /bin, /lib and /sbin as links, and a kernel."""
        release = "usr/lib/modules/6.0"
        modules = {f"{release}/kernel/fs/ext4/ext4.ko.xz": b"ext4",
                   f"{release}/kernel/fs/xfs/xfs.ko.xz": b"xfs"}
        found = packages.Packages(
            image=[], builder=[
                self.deb("tool", {"bin/tool": b"t", "usr/bin/dash": b"d", "usr/share/doc/x": b"x"},
                         [("usr/bin/sh", "dash")])],
            kernel=self.deb("kernel", {"boot/vmlinuz-6.0": b"kernel", **modules}))
        (self.top / "busybox").write_bytes(b"b")
        with mock.patch.object(assets, "busybox", lambda: self.top / "busybox"):
            builder.make(found, self.top / "vmlinuz", self.top / "initrd")
        self.assertEqual((self.top / "vmlinuz").read_bytes(), b"kernel")
        files = read_archive((self.top / "initrd").read_bytes())
        for name in ("bin", "lib", "sbin"):
            self.assertEqual(files[name], (0o120777, f"usr/{name}".encode()))
        self.assertEqual(files["usr/bin/tool"], (0o100755, b"t"))
        self.assertEqual(files["usr/bin/sh"][1], b"dash")
        self.assertEqual(files["usr/bin/busybox"][1], b"b")
        self.assertIn("init", files)
        self.assertIn("etc/hook", files)
        self.assertIn(f"{release}/kernel/fs/ext4/ext4.ko.xz", files)
        for name in ("usr/share/doc/x", f"{release}/kernel/fs/xfs/xfs.ko.xz"):
            self.assertNotIn(name, files)

    def test_no_kernel(self):
        """A kernel package without a kernel is named."""
        found = packages.Packages([], [], self.deb("kernel", {"usr/x": b"x"}))
        with self.assertRaisesRegex(WorkbenchError, "kernel_1:2-3_arm64.deb"):
            builder.make(found, self.top / "vmlinuz", self.top / "initrd")

    def test_work(self):
        """What the guest unpacks: packages with their index, its script, and files of root."""
        deb = self.deb("one", {"a": b"1"})
        image._pack([deb], self.top / "work.tar")
        with tarfile.open(self.top / "work.tar") as archive:
            names = archive.getnames()
            self.assertEqual({member.uid for member in archive}, {0})
        for name in ("make-image", "include", "packages/Packages", f"packages/{deb.name}",
                     "root/etc/fstab"):
            self.assertIn(name, names)


class Closure(unittest.TestCase):

    def setUp(self):
        top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        bin_folder = top / "bin"
        bin_folder.mkdir()
        self.apt = bin_folder / "apt-get"
        for patch in (mock.patch.object(paths, "APT", top / "apt"),
                      mock.patch.object(aptroot, "available", lambda: True),
                      mock.patch.object(aptroot, "_update", lambda *_: None),
                      mock.patch.dict(os.environ, DEBIAN_MIRROR=fake.NOWHERE + "/debian",
                                      PATH=f"{bin_folder}:{os.environ['PATH']}")):
            self.enterContext(patch)
        aptroot.mirrors.cache_clear()
        self.addCleanup(aptroot.mirrors.cache_clear)

    def say(self, text, status=0):
        """Have apt-get print TEXT."""
        self.apt.write_text(f"#!/bin/sh\ncat <<'end'\n{text}\nend\nexit {status}\n")
        self.apt.chmod(0o755)

    def test_found(self):
        """Each package that apt would install, with its version."""
        self.say("Inst libc6 (2.41-12 Debian:13.1/stable [arm64]) []\n"
                 "Inst gcc-14-base:arm64 (1:14.2-19 Debian:13.1/stable [arm64])\n"
                 "Conf libc6 (2.41-12 Debian:13.1/stable [arm64])")
        self.assertEqual(aptroot.closure(["x"], "arm64", "trixie"), [
            aptroot.Package("libc6", "arm64", ("trixie",), "2.41-12"),
            aptroot.Package("gcc-14-base", "arm64", ("trixie",), "1:14.2-19")])

    def test_provided(self):
        """apt takes what is there already for installed."""
        self.apt.write_text("#!/bin/sh\nfor word; do case $word in Dir::State::status=*)\n"
                            "sed -n 's/^Package: \\(.*\\)/Inst \\1 (1 Debian [all])/p' "
                            "\"${word#*=}\"\nesac done\n")
        self.apt.chmod(0o755)
        found = aptroot.closure(["x"], "arm64", "trixie", provided=("a", "b"))
        self.assertEqual([package.name for package in found], ["a", "b"])

    def test_impossible(self):
        """What apt says is in the message."""
        self.say("E: Unable to locate package x", 100)
        with self.assertRaisesRegex(WorkbenchError, "Unable to locate package x"):
            aptroot.closure(["x"], "arm64", "trixie")


class Image(unittest.TestCase):

    def test_without_qemu(self):
        """Without QEMU, what to run is said before anything is downloaded."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(paths, "PATCHED", Path(folder)), \
                mock.patch.object(paths, "DISTRIBUTION", Path(folder, "images")), \
                mock.patch.object(image, "FOLDER", Path(folder, "images/some")), \
                mock.patch.object(packages, "fetch", self.fail), \
                contextlib.redirect_stderr(io.StringIO()), \
                self.assertRaisesRegex(WorkbenchError, "scripts/build"):
            image.disk()

    def test_kept(self):
        """An image is made again when what it is made from has changed."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(image, "FOLDER", Path(folder)):
            (Path(folder) / "recipe").write_text(image._recipe())
            self.assertEqual(image.disk(), Path(folder, "disk.qcow2"))
            with mock.patch.object(packages, "IMAGE", packages.IMAGE + ("more",)):
                self.assertFalse(image._current(image._recipe()))


if __name__ == "__main__":
    fake.main()
