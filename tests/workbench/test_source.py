#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""Finding the base source: every place, broken files, other files, none at all."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A package mirror that says nothing."""

    def log_message(self, *_args):
        pass


class Source(fake.WorkbenchCase):

    def mirror(self, folder):
        """Serve a folder by HTTP; returns the address."""
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def base_files(self):
        """Names of all files of the base."""
        return set(self.git("ls-tree", "-r", "--name-only", "base").split())

    def test_tarball_folder_and_environment(self):
        """A tarball, the folder that holds it, the variable: the same base."""
        ids = set()
        for number, given in enumerate((self.source / fake.PINNED, self.source)):
            top = self.make_top(f"top{number}")
            self.series("setup", "--source", given, top=top)
            ids.add(self.git("rev-parse", "base", top=top))
        self.series("setup", QEMU_BASE_SOURCE=str(self.source))
        ids.add(self.git("rev-parse", "base"))
        self.assertEqual(len(ids), 1)
        self.assertEqual(self.base_files(), set(fake.FILES), "also what .gitignore hides")
        self.assertTrue(os.access(self.qemu / "configure", os.X_OK))

    def test_relative_path(self):
        """A path relative to the current folder."""
        subprocess.run([str(self.top / "scripts/series"), "setup", "--source", fake.PINNED],
                       cwd=self.source, env=self.environment(), check=True, capture_output=True)
        self.assertEqual(self.base_files(), set(fake.FILES))

    def test_tree(self):
        """An unpacked tree and a git work tree give the base, uncommitted edits left out."""
        shutil.unpack_archive(self.source / fake.PINNED, self.root / "plain")
        tree = self.root / "plain/qemu-11.1.1"
        self.series("setup", "--offline", "--source", tree)
        self.assertEqual(self.base_files(), set(fake.FILES))
        wanted = self.git("rev-parse", "base^{tree}")
        for command in (["init", "-q"], ["add", "-Af"],
                        ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "x"]):
            subprocess.run(["git", *command], cwd=tree, check=True, env=self.environment())
        (tree / "VERSION").write_text("edited\n")
        top = self.make_top("other")
        self.series("setup", "--offline", "--source", tree, top=top)
        self.assertEqual(self.git("rev-parse", "base^{tree}", top=top), wanted)

    def test_broken_in_cache(self):
        """A truncated file in the cache is named and moved aside; the next place is tried."""
        cache, own = self.top / "build/cache", self.home / ".cache/qemu-virt-hotplug"
        for folder in (cache, own):
            folder.mkdir(parents=True)
            shutil.copy(self.source / fake.PINNED, folder)
        whole = (cache / fake.PINNED).read_bytes()
        (cache / fake.PINNED).write_bytes(whole[:len(whole) // 2])
        out = self.series("setup")
        self.assertIn(str(cache / fake.PINNED), out)
        self.assertIn("sha256", out)
        self.assertTrue((cache / (fake.PINNED + ".broken")).exists())
        self.assertFalse((cache / fake.PINNED).exists())
        self.assertEqual(self.base_files(), set(fake.FILES))

    def test_broken_given(self):
        """A user's own broken file is named, stays where it is, and nothing is set up."""
        file = self.source / fake.PINNED
        file.write_bytes(b"nonsense")
        out = self.series("setup", "--offline", "--source", file, status=1)
        self.assertIn(f"{file} is broken or another file", out)
        self.assertEqual(file.read_bytes(), b"nonsense")
        self.assertFalse(self.qemu.exists())

    def test_nothing_anywhere(self):
        """The message lists every place tried and why it failed, and what would do."""
        out = self.series("setup", "--source", "/nonexistent/x", status=1)
        for words in ("given source /nonexistent/x: it does not exist", "cache ", "nothing there",
                      "release site", "package mirror, pool", "package mirror, source lists",
                      "--source PATH", fake.PINNED):
            self.assertIn(words, out)
        self.assertFalse(self.qemu.exists())

    def test_not_unpackable(self):
        """An archive of unknown hash that cannot be unpacked is rejected with tar's words."""
        file = self.source / "qemu-11.1.1.tar.xz"
        file.write_bytes(b"nonsense")
        out = self.series("setup", "--offline", "--source", file, status=1)
        self.assertIn(f"{file} cannot be unpacked", out)
        self.assertEqual(list((self.top / "build").glob("qemu*")), [])

    def test_not_qemu(self):
        """Another version, and a tarball of something else, are rejected."""
        file = fake.tarball(self.source / "qemu-12.0.0.tar.xz", {"VERSION": "12.0.0\n"})
        self.assertIn("is QEMU 12.0.0, wanted is 11.1.1",
                      self.series("setup", "--offline", "--source", file, status=1))

    def test_other_tarball_same_files(self):
        """A later release in which nothing that the series touches changed will do."""
        self.two_patches()
        file = fake.tarball(self.root / "qemu_11.1.9+ds.orig.tar.xz",
                            {"VERSION": "11.1.9\n", "more": "firmware\n"})
        top = self.make_top("other", patches_of=self.top)
        out = self.series("setup", "--offline", "--source", file, top=top)
        self.assertRegex(out, "Taken: QEMU 11.1.9 from .*, not 11.1.1. Every file")
        self.assertIn("line thirty", (top / "build/qemu/hw/arm/virt.c").read_text())
        self.assertEqual(self.series("check", top=top).splitlines()[-1].split(",")[1],
                         " 0 errors")

    def test_other_tarball_other_files(self):
        """A release that changed what the series starts from is rejected; the file is named."""
        self.two_patches()
        top = self.make_top("other", patches_of=self.top)
        file = fake.tarball(self.root / "qemu_11.1.9+ds.orig.tar.xz",
                            {"VERSION": "11.1.9\n", "hw/arm/virt.c": "other\n"})
        out = self.series("setup", "--offline", "--source", file, status=1, top=top)
        self.assertIn("hw/arm/virt.c differs", out)
        file = fake.tarball(self.root / "qemu_11.1.8+ds.orig.tar.xz",
                            {"VERSION": "11.1.8\n", "hw/arm/board.c": "int mine;\n"})
        out = self.series("setup", "--offline", "--source", file, status=1, top=top)
        self.assertIn("hw/arm/board.c exists", out)

    def test_stand_ins(self):
        """Missing firmware images get valid empty stand-ins that git does not see."""
        self.setup_series()
        made = sorted(f.name for f in (self.qemu / "pc-bios").glob("*.bz2"))
        self.assertEqual(made, ["edk2-arm-code.fd.bz2", "edk2-x86_64-code.fd.bz2"])
        for name in made:
            self.assertEqual(subprocess.run(
                ["bzip2", "-dc", self.qemu / "pc-bios" / name], capture_output=True,
                check=True).stdout, b"")
        self.assertEqual(self.git("status", "--porcelain"), "")

    @unittest.skipUnless(os.path.exists("/usr/lib/apt/apt-helper"), "there is no apt here")
    def test_pool_of_mirror(self):
        """The pinned file comes from the mirror's pool and is kept for the next time."""
        pool = self.root / "mirror/pool/main/q/qemu"
        pool.mkdir(parents=True)
        shutil.copy(self.source / fake.PINNED, pool)
        self.series("setup", DEBIAN_MIRROR=self.mirror(self.root / "mirror"))
        self.assertEqual(self.base_files(), set(fake.FILES))
        shutil.rmtree(self.top / "build")
        self.assertIn(".cache/qemu-virt-hotplug", self.series("setup"))

    @unittest.skipUnless(os.path.exists("/usr/lib/apt/apt-helper"), "there is no apt here")
    def test_wrong_file_in_pool(self):
        """A mirror with another file of that name: rejected by its hash, nothing is kept."""
        pool = self.root / "mirror/pool/main/q/qemu"
        pool.mkdir(parents=True)
        (pool / fake.PINNED).write_bytes(b"nonsense")
        out = self.series("setup", DEBIAN_MIRROR=self.mirror(self.root / "mirror"), status=1)
        self.assertIn("package mirror, pool", out)
        self.assertFalse((self.top / "build/cache" / fake.PINNED).exists())


if __name__ == "__main__":
    fake.main()
