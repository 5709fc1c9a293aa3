#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""scripts/series package --into: the series in a distribution's source package, with a tiny one."""

import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402

VIRT = fake.FILES["hw/arm/virt.c"]
# The distribution's own patch, of a line next to one of the series.
OWN = """Description: lines as we like them
--- a/hw/arm/virt.c
+++ b/hw/arm/virt.c
@@ -12,4 +12,4 @@
 line 12
-line 13
+line thirteen
 line 14
 line 15
"""
DEBIAN = {
    "debian/control": "Source: qemu\nMaintainer: Nobody <nobody@localhost>\nBuild-Depends: x\n\n"
                      "Package: qemu\nArchitecture: any\nDescription: x\n x\n",
    "debian/changelog": "qemu (1:11.2.0+ds-1) unstable; urgency=medium\n\n  * Words.\n\n"
                        " -- Nobody <nobody@localhost>  Sun, 29 Nov 2026 20:30:00 +0000\n",
    "debian/rules": "#!/usr/bin/make -f\n",
    "debian/source/format": "3.0 (quilt)\n",
    "debian/patches/own.patch": OWN,
    "debian/patches/series": "own.patch\n",
}
# The command with this machine in place of a room.
HERE = """
import subprocess, sys
sys.path.insert(0, "scripts")
from unittest import mock
from workbench.packages import distribution
from workbench.ui import report


class Here:
    def __init__(self, *_, **__): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def check(self, words, seconds):
        subprocess.run([str(word) for word in words], check=True, timeout=seconds)


output = sys.argv[1] if sys.argv[1] != "-" else None
with mock.patch.object(distribution, "Room", Here), \\
        mock.patch.object(distribution.debroot, "have", lambda recipe: None), \\
        mock.patch.object(distribution, "need_space", lambda *_: None):
    report.main(lambda: distribution.main(sys.argv[2], sys.argv[3:] or None, output))
"""


@unittest.skipUnless(shutil.which("dpkg-source"), "dpkg-source is missing (package dpkg-dev)")
class Into(fake.WorkbenchCase):

    def setUp(self):
        super().setUp()
        self.two_topics()

    def package(self, changes=None, **debian):
        """A source package of 11.2.0 whose release has CHANGES; returns the path of its .dsc."""
        files = {"VERSION": "11.2.0\n", **(changes or {})}
        work = self.root / "package"
        work.mkdir()
        # dpkg-source wants the folder of the tarball to have any name at all.
        fake.tarball(work / "qemu_11.2.0+ds.orig.tar.xz", files)
        subprocess.run(["tar", "-xf", work / "qemu_11.2.0+ds.orig.tar.xz", "-C", work], check=True)
        for name, text in {**DEBIAN, **debian}.items():
            path = work / "qemu-11.2.0" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (work / "qemu-11.2.0/debian/rules").chmod(0o755)
        subprocess.run(["dpkg-source", "-b", "qemu-11.2.0"], cwd=work, check=True,
                       capture_output=True)
        shutil.rmtree(work / "qemu-11.2.0")
        return work / "qemu_11.2.0+ds-1.dsc"

    def into(self, *words, status=0, output="-"):
        """Run the command; returns all its output."""
        done = subprocess.run([sys.executable, "-c", HERE, output, *map(str, words)],
                              cwd=self.top, env=self.environment(SOURCE_DATE_EPOCH="1795984200"),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=100, check=False)
        self.assertEqual(done.returncode, status, done.stdout)
        self.assertNotIn("Traceback", done.stdout)
        return done.stdout

    def unpacked(self):
        """The tree of the new source package, with all of its patches."""
        dsc = (self.top / "build/source-package/11.2.0+ds-1"
               / "qemu_11.2.0+ds-1+hotplug20261129.2030.dsc")
        subprocess.run(["dpkg-source", "--no-check", "-x", dsc, self.root / "new"], check=True,
                       capture_output=True)
        return self.root / "new"

    def test_appended(self):
        """After the package's own patches, made for the lines that are there.

        The lines beside those that the series changes are others than it knows.
        """
        there = "moved\n" * 7 + VIRT.replace("line 3\n", "line III\n")
        out = self.into(self.package({"hw/arm/virt.c": there}))
        self.assertIn("2 patches of the topics board, words in ", out)
        new = self.unpacked()
        self.assertEqual((new / "hw/arm/virt.c").read_text(), there.replace(
            "line 5\n", "line five\n").replace("line 13\n", "line thirteen\n").replace(
            "line 30\n", "line thirty\n"))
        lines = (new / "debian/patches/series").read_text().splitlines()
        self.assertEqual(lines[0], "own.patch")
        self.assertEqual([line.split("/")[:2] for line in lines[1:]],
                         [["virt-hotplug", "board"], ["virt-hotplug", "words"]])
        text = (new / "debian/patches" / lines[1]).read_text()
        self.assertIn("\nForwarded: no\n", text)
        self.assertTrue((new / "debian/changelog").read_text().startswith(
            "qemu (1:11.2.0+ds-1+hotplug20261129.2030) unstable; urgency=medium\n\n"
            "  * Add patches of qemu-virt-hotplug: board, words.\n"))

    def test_conflict(self):
        """A topic that does not fit is left out, with those that need it, and said."""
        self.topics({"board": (), "words": ("board",), "other": ()})
        self.commit("hw/arm: other", {"hw/arm/meson.build": "files('virt.c', 'other.c')\n"},
                    topic="other")
        self.series("export")
        dsc = self.package({"hw/arm/virt.c": VIRT.replace("line 5\n", "line V\n")})
        out = self.into(dsc)
        self.assertIn("1 patches of the topics other in ", out)
        self.assertIn("not in it: board: 1 of 1 patches conflict", out)
        self.assertIn("not in it: words: needs board", out)
        self.assertIn("words: needs board", self.into(dsc, "words", status=1))

    def test_needed(self):
        """What a topic needs comes with it."""
        self.assertIn("2 patches of the topics board, words", self.into(self.package(), "words"))

    def test_nothing_fits(self):
        """Nothing is written, and each topic has its reason."""
        out = self.into(self.package({"hw/arm/virt.c": VIRT.replace("line 5\n", "line V\n")}),
                        status=1)
        self.assertRegex(out, "board: 1 of 1 patches conflict\n *words: needs board\n")
        self.assertFalse((self.top / "build/source-package").exists())

    def test_already_there(self):
        """A patch that the release has is not made again."""
        board = (self.qemu / "hw/arm/board.c").read_text()
        out = self.into(self.package({"hw/arm/virt.c": VIRT.replace("line 5\n", "line five\n"),
                                      "hw/arm/board.c": board}))
        self.assertIn("1 patches of the topics board, words", out)

    def test_already_there_elsewhere(self):
        """The same in lines that the release has moved, where a merge would see a conflict."""
        lines = VIRT.replace("line 5\n", "line five\n").splitlines(keepends=True)
        board = (self.qemu / "hw/arm/board.c").read_text()
        out = self.into(self.package({"hw/arm/virt.c": "".join(lines[10:] + lines[:10]),
                                      "hw/arm/board.c": board}))
        self.assertIn("1 patches of the topics board, words", out)

    def test_output(self):
        """What an earlier run has made is replaced; a folder with anything else is left alone."""
        dsc = self.package()
        made = self.root / "made"
        self.into(dsc, output=made)
        # As scripts/series package --build leaves it.
        built = made / "qemu-utils_11.2.0+ds-1+hotplug20261129.2030_amd64.deb"
        built.touch()
        self.into(dsc, output=made)
        self.assertFalse(built.exists())
        (made / "notes").touch()
        for folder, other in ((made, "notes"), (dsc.parent, dsc.name)):
            before = sorted(folder.iterdir())
            said = self.into(dsc, output=folder, status=1)
            self.assertRegex(said, f"other files, for instance (qemu_11.*|{other})")
            self.assertEqual(sorted(folder.iterdir()), before)

    def test_refusals(self):
        """Neither version nor .dsc; a .dsc whose files are elsewhere."""
        self.assertIn("neither a version like", self.into("nothing", status=1))
        dsc = self.package()
        (dsc.parent / "qemu_11.2.0+ds.orig.tar.xz").unlink()
        self.assertIn("these of its files are missing: qemu_11.2.0+ds.orig.tar.xz",
                      self.into(dsc, status=1))


if __name__ == "__main__":
    fake.main()
