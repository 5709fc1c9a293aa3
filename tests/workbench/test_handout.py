#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""Handing out: mails for qemu-devel, patches for distribution packages."""

import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402

ME = ("--topic", "board", "--name", "Jürgen Tester", "--email", "jt@example.org")
BLOB = bytes(range(256)) * 4


class Submit(fake.WorkbenchCase):

    def test_mails(self):
        """Name, sign-off, numbers and threading; the stored patches stay without."""
        self.two_patches()
        before = self.patches()
        commit = "0123456789abcdef" * 2 + "01234567"
        self.series("submit", *ME, "--version", 2, "--rfc", "--base-commit", commit)
        mails = sorted((self.top / "build/submit/board").iterdir())
        self.assertEqual([m.name[:8] for m in mails], ["v2-0000-", "v2-0001-", "v2-0002-"])
        cover = mails[0].read_text()
        self.assertIn("[RFC PATCH v2 0/2] Fake board\n", cover)
        self.assertIn("\nA letter.\n", cover)
        self.assertTrue(cover.endswith(f"base-commit: {commit}\n"))
        for mail in mails[1:]:
            self.assertIn("Signed-off-by: Jürgen Tester <jt@example.org>\n", mail.read_text())
            self.assertIn("In-Reply-To: ", mail.read_text())
            self.assertNotIn(".invalid", mail.read_text())
        self.assertEqual(self.patches(), before)
        out = self.git("log", "--format=%an", "series")
        self.assertNotIn("Tester", out)
        # They apply on the base as mails do, and give the same tree.
        tree = self.root / "applied"
        self.git("worktree", "add", "-q", "--detach", str(tree), "base")
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", "am", "-q",
                        *map(str, mails[1:])], cwd=tree, check=True, env=self.environment())
        done = subprocess.run(["git", "log", "-1", "--format=%an %T"], cwd=tree, check=True,
                              capture_output=True, text=True, env=self.environment())
        self.assertEqual(done.stdout.strip(),
                         "Jürgen Tester " + self.git("rev-parse", "series^{tree}"))

    def test_not_for_upstream(self):
        """A patch is left out, or replaced, when its message says so."""
        self.two_patches()
        for why in ("of this tree", "replaced by new.patch on submission"):
            self.commit(f"hw: ours {len(why)}\n\nUpstream-Status: Inappropriate [{why}]",
                        {f"hw/arm/ours{len(why)}.c": "int ours;\n"})
        self.commit("hw: for all", {"hw/arm/all.c": "int all;\n"})
        self.series("export")
        self.assertIn("new.patch, which does not exist", self.series("submit", *ME, status=1))
        folder = self.top / "scripts/workbench/series/replacements"
        folder.mkdir(exist_ok=True)
        (folder / "new.patch").write_text(
            "From: a <b@c.invalid>\nSubject: [PATCH] hw: theirs\n\nWhy.\n---\n"
            "diff --git a/hw/arm/theirs.c b/hw/arm/theirs.c\nnew file mode 100644\n"
            "--- /dev/null\n+++ b/hw/arm/theirs.c\n@@ -0,0 +1 @@\n+int theirs;\n",
            encoding="utf-8")
        self.series("submit", *ME)
        mails = sorted((self.top / "build/submit/board").iterdir())
        self.assertEqual(len(mails), 1 + 4)
        text = "".join(mail.read_text() for mail in mails)
        self.assertNotIn("hw: ours", text)
        self.assertNotIn("Upstream-Status", text)
        self.assertRegex(mails[3].read_text(), r"Subject: \[PATCH 3/4\] hw: theirs\n")
        self.assertIn("Signed-off-by: Jürgen Tester", mails[3].read_text())
        self.assertNotIn(".invalid", mails[3].read_text())

    def test_refusals(self):
        """No identity, no person, an incomplete base, a folder with other things."""
        self.two_patches()
        self.assertIn("--name and --email", self.series("submit", "--topic", "board", status=1))
        self.assertIn("not the name of a person", self.series(
            "submit", "--topic", "board", "--name", "qemu-virt-hotplug", "--email", "a@b.org",
            status=1))
        self.assertIn("not a mail address", self.series(
            "submit", "--topic", "board", "--name", "A B", "--email", "noreply@x.invalid",
            status=1))
        self.assertIn("full commit id", self.series(
            "submit", *ME, "--base-commit", "v11.1.1", status=1))
        self.assertIn("other files", self.series(
            "submit", *ME, "--output", self.source, status=1))
        self.assertTrue((self.source / fake.PINNED).exists())


class Package(fake.WorkbenchCase):

    def make(self):
        """A series with text, binary-only and mixed patches."""
        self.two_patches()
        self.commit("tests: blobs", {"tests/data/acpi/X": BLOB})
        self.commit("tests: mixed", {"tests/data/acpi/X": BLOB[::-1],
                                     "hw/arm/meson.build": "files('virt.c', 'board.c')\n"})
        self.series("export")

    @unittest.skipUnless(shutil.which("patch"), "patch is not installed")
    def test_apply_with_patch(self):
        """In quilt's order, with patch(1), all but the binary files come out right."""
        self.make()
        out = self.series("package")
        self.assertIn("1 patches have only binary parts", out)
        folder = self.top / "build/package"
        shutil.unpack_archive(self.source / fake.PINNED, self.root / "plain")
        tree = self.root / "plain/qemu-11.1.1"
        for line in (folder / "debian/patches/series").read_text().splitlines():
            subprocess.run(["patch", "-p1", "-F0", "-s", "-i", folder / "debian/patches" / line],
                           cwd=tree, check=True)
        self.assertFalse((tree / "tests").exists())
        shutil.copytree(folder / "files", tree, dirs_exist_ok=True)
        for path in self.git("ls-files").splitlines():
            self.assertEqual((tree / path).read_bytes(), (self.qemu / path).read_bytes(), path)

    def test_rpm(self):
        """PatchN lines from the number that was asked for, each for a file that is there."""
        self.make()
        self.series("package", "--first", 100)
        rpm = self.top / "build/package/rpm"
        lines = (rpm / "patches.inc").read_text().splitlines()[1:]
        self.assertEqual([line.split(":")[0] for line in lines],
                         ["Patch100", "Patch101", "Patch102"])
        for line in lines:
            self.assertTrue((rpm / line.split(": ")[1]).is_file())

    def test_twice_and_elsewhere(self):
        """A second run replaces the first; a folder with other things is left alone."""
        self.make()
        self.series("package")
        self.series("package")
        self.assertIn("other files", self.series("package", "--output", self.source, status=1))
        # A source package with a quilt series of its own.
        other = self.root / "unpacked"
        for name in ("debian/control", "debian/patches/series", "debian/patches/own.patch"):
            (other / name).parent.mkdir(parents=True, exist_ok=True)
            (other / name).touch()
        self.assertIn("unpacked/debian holds other files, for instance control",
                      self.series("package", "--output", other, status=1))
        (other / "debian/control").unlink()
        self.assertIn("for instance own.patch",
                      self.series("package", "--output", other, status=1))
        self.assertTrue((other / "debian/patches/own.patch").exists())


if __name__ == "__main__":
    fake.main()
