#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""Export and absorb: stable output, an exact mirror, nothing overwritten."""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402


class Export(fake.WorkbenchCase):

    def test_stable(self):
        """The same commits give the same bytes, with the project as author and no commit ids."""
        self.two_patches()
        before = self.patches()
        self.assertEqual(list(before), ["board/0001-hw-arm-add-a-board.patch",
                                        "board/0002-docs-describe-the-board.patch", "board/cover-letter.md", "series",
                                        "topics.toml"])
        self.git("commit", "-q", "--amend", "--no-edit", "--date", self.git(
            "log", "-1", "--format=%ad"))
        self.end()
        self.series("export")
        self.assertEqual(self.patches(), before)
        text = before["board/0001-hw-arm-add-a-board.patch"].decode()
        self.assertIn("From: qemu-virt-hotplug <noreply@qemu-virt-hotplug.invalid>\n", text)
        self.assertTrue(text.startswith("From " + 40 * "0"))

    def test_special_files(self):
        """Binary, empty, executable, deleted and later changed files, and odd text."""
        self.two_patches()
        blob = bytes(range(256))
        self.commit("tests: blobs", {
            "tests/data/acpi/X": blob, "tests/data/acpi/Y": "",
            "MAINTAINERS": "Fake\nF: hw/arm/board*.c\nF: docs/board/\nF: tests/\n"})
        (self.qemu / "tests/qtest").mkdir(parents=True)
        (self.qemu / "tests/qtest/run.sh").write_text("#!/bin/sh\n")
        (self.qemu / "tests/qtest/run.sh").chmod(0o755)
        self.commit("tests: script", {"tests/qtest/run.sh": "#!/bin/sh\ndiff --git a/x b/x\n",
                                      "hw/arm/board3.c": "int c; /* ü */\r\nno end"})
        self.commit("tests: more", {"tests/data/acpi/Y": b"\0\1", "hw/arm/board3.c": None,
                                    "hw/arm/meson.build": None})
        self.series("export")
        self.assertEqual((self.top / "tests/data/acpi/X").read_bytes(), blob)
        self.assertEqual((self.top / "tests/data/acpi/Y").read_bytes(), b"\0\1")
        self.assertTrue(os.access(self.top / "tests/qtest/run.sh", os.X_OK))
        self.assertFalse((self.top / "hw/arm/board3.c").exists())
        before = self.patches()
        other = self.make_top("other", patches_of=self.top)
        self.setup_series(top=other)
        self.assertEqual(self.git("rev-parse", "series^{tree}", top=other),
                         self.git("rev-parse", "series^{tree}"))
        self.series("export", top=other)
        self.assertEqual(self.patches(other), before)
        self.assertIn(" 0 errors", self.series("check", top=other))

    def test_mirror_follows(self):
        """What is no longer added leaves the mirror, and its empty folders go."""
        self.two_patches()
        self.assertTrue((self.top / "docs/board/board.rst").exists())
        self.git("reset", "-q", "--hard", "HEAD^")
        self.end()
        out = self.series("export")
        self.assertIn("removed patches/board/0002-docs-describe-the-board.patch", out)
        self.assertFalse((self.top / "docs").exists())
        self.assertEqual((self.top / "hw/arm/board.c").read_bytes(),
                         (self.qemu / "hw/arm/board.c").read_bytes())

    def test_edit_in_place_is_kept(self):
        """An edit of the mirror stops the export before anything is written."""
        self.two_patches()
        (self.top / "hw/arm/board.c").write_text("int edited;\n")
        self.commit("hw/arm: third", {"hw/arm/board2.c": "int b;\n"})
        before = self.patches()
        out = self.series("export", status=1)
        self.assertIn("hw/arm/board.c", out)
        self.assertIn("absorb", out)
        self.assertEqual(self.patches(), before)
        self.assertEqual((self.top / "hw/arm/board.c").read_text(), "int edited;\n")
        self.assertFalse((self.top / "hw/arm/board2.c").exists())

    def test_clash(self):
        """A file that needs the place of one of the project's own is refused."""
        self.setup_series()
        for path in ("scripts/new.py", "tests/guest/x.c", "README.md", "docs/page.md", ".ci/x"):
            self.commit("hw/arm: clash", {path: "x\n"})
            self.assertIn(path, self.series("export", status=1))
            self.git("reset", "-q", "--hard", "base")

    def test_pages_of_the_project(self):
        """A page in docs/ is no part of the mirror, whatever the series adds beside it."""
        self.two_patches()
        page = self.top / "docs/page.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text("# A page\n")
        self.series("check")
        self.commit("docs: describe another board", {"docs/system/other.rst": "Other\n=====\n"})
        self.series("export")
        self.assertIn("No mirrored file", self.series("absorb"))
        self.git("reset", "-q", "--hard", "HEAD^^")
        self.end()
        self.series("export")
        self.assertEqual([p.name for p in (self.top / "docs").rglob("*")], ["page.md"])
        self.assertEqual(page.read_text(), "# A page\n")
        # Anything else there that the series does not add is an error.
        for name in ("page.rst", "system/page.md"):
            stray = self.top / "docs" / name
            stray.parent.mkdir(exist_ok=True)
            stray.write_text("x\n")
            self.assertIn(f"docs/{name}: not in the series", self.series("check", status=1))
            stray.unlink()

    def test_refused_commits(self):
        """A merge, and an author who is a person, are refused with the way out."""
        self.two_patches()
        self.git("commit", "-q", "--amend", "--no-edit", "--author", "A Person <a@example.org>")
        self.assertIn("A Person", self.series("export", status=1))
        self.git("reset", "-q", "--hard", "HEAD^")
        self.git("checkout", "-q", "-b", "side", "base")
        self.commit("hw/arm: side", {"hw/arm/board2.c": "int b;\n"})
        self.git("checkout", "-q", "series")
        self.git("merge", "-q", "--no-edit", "side")
        self.assertIn("is a merge", self.series("export", status=1))

    def test_uncommitted_is_said(self):
        """Edits in build/qemu that are not committed are mentioned."""
        self.two_patches()
        (self.qemu / "VERSION").write_text("x\n")
        self.assertIn("not committed in build/qemu: VERSION", self.series("export"))


class Absorb(fake.WorkbenchCase):

    def test_one_owner(self):
        """An edit goes into the patch that added the file."""
        self.two_patches()
        self.assertIn("No mirrored file", self.series("absorb"))
        (self.top / "hw/arm/board.c").write_text("/* new */\nint a;\nint b;\n")
        self.assertIn("Absorbed: hw/arm/board.c", self.series("absorb"))
        self.assertIn("+int b;", self.patches()["board/0001-hw-arm-add-a-board.patch"].decode())
        self.assertEqual(self.git("rev-list", "--count", "base..series"), "2")
        self.assertEqual(self.git("status", "--porcelain"), "")
        (self.top / "hw/arm/board.c").write_text("/* new */\nint a;\nint c;\n")
        self.assertIn("Absorbed: hw/arm/board.c", self.series("absorb"))
        self.assertIn("mirror", self.series("absorb"))

    def test_two_owners(self):
        """Edits of lines that two patches wrote are split between the two."""
        self.two_patches()
        lines = [f"int v{n};\n" for n in range(30)]
        self.commit("hw/arm: a list", {"hw/arm/board2.c": "".join(lines)})
        lines[25] = "int late;\n"
        self.commit("hw/arm: change the list", {"hw/arm/board2.c": "".join(lines)})
        self.series("export")
        lines[2] = "int early_edit;\n"
        lines[25] = "int late_edit;\n"
        lines.insert(10, "int between;\n")
        (self.top / "hw/arm/board2.c").write_text("".join(lines))
        self.series("absorb")
        texts = {name: data.decode() for name, data in self.patches().items()}
        third, fourth = texts["board/0003-hw-arm-a-list.patch"], texts[
            "board/0004-hw-arm-change-the-list.patch"]
        self.assertIn("+int early_edit;", third)
        self.assertIn("+int between;", third)
        self.assertIn("+int v25;", third)
        self.assertIn("+int late_edit;", fourth)
        self.assertEqual((self.qemu / "hw/arm/board2.c").read_text(), "".join(lines))

    def test_conflict(self):
        """An edit that a later patch contradicts changes nothing and says so."""
        self.two_patches()
        self.commit("hw/arm: a list", {"hw/arm/board2.c": "int a;\nint b;\nint c;\n"})
        self.commit("hw/arm: drop one", {"hw/arm/board2.c": "int a;\nint c;\n"})
        self.series("export")
        tip = self.git("rev-parse", "series")
        (self.top / "hw/arm/board2.c").write_text("int A;\nint C;\n")
        out = self.series("absorb", status=1)
        self.assertIn("Nothing was changed", out)
        self.assertEqual(self.git("rev-parse", "series"), tip)
        self.assertEqual((self.top / "hw/arm/board2.c").read_text(), "int A;\nint C;\n")
        self.assertEqual(self.git("worktree", "list").count("\n"), 0)

    def test_other_changes(self):
        """Files that are new or gone in the mirror belong to a commit in build/qemu."""
        self.two_patches()
        (self.top / "hw/arm/board.c").unlink()
        self.assertIn("hw/arm/board.c (missing)", self.series("absorb", status=1))


if __name__ == "__main__":
    fake.main()
