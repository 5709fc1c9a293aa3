#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Other releases: status and rebase, and another 11.1.z in place of the pinned one."""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402

VIRT = fake.FILES["hw/arm/virt.c"]


class Moved(fake.WorkbenchCase):
    """A series of two topics with one patch each."""

    def setUp(self):
        super().setUp()
        self.two_topics()

    def release(self, changes, version="11.2.0"):
        """A tarball of another release."""
        return fake.tarball(self.root / f"qemu-{version}.tar.xz",
                            {"VERSION": f"{version}\n", **changes})

    def status(self, changes, status=0):
        """scripts/series status against a release with changes."""
        return self.series("status", "--against", self.release(changes), status=status)

    def stop(self):
        """A rebase that stops at the second patch; returns the output."""
        return self.series("rebase", "--onto", self.release(
            {"hw/arm/virt.c": "new line\n" + VIRT.replace("line 30\n", "line XXX\n")}), status=1)


class Status(Moved):

    def test_applies(self):
        """Text that moved is no conflict."""
        out = self.status({"hw/arm/virt.c": "new\nlines\n" + VIRT})
        self.assertRegex(out, r"board +1 +applies\n")
        self.assertRegex(out, r"words +1 +applies\n")
        self.assertIn("11.1.1 to 11.2.0: 2 of 2 topics", out)

    def test_conflict(self):
        """The topic, the patch and the file are named; what needs the topic is judged, too."""
        out = self.status({"hw/arm/virt.c": VIRT.replace("line 5\n", "line V\n")}, status=1)
        self.assertRegex(out, r"board +1 +conflicts")
        self.assertIn("0001-hw-arm-add-a-board.patch: hw/arm/virt.c", out)
        self.assertRegex(out, r"words +1 +applies +needs topics in conflict: board")
        self.assertIn("1 of 2 topics", out)

    def test_removed_file(self):
        """A file that the release does not have is a conflict of its own kind."""
        out = self.status({"hw/arm/virt.c": None}, status=1)
        self.assertIn("hw/arm/virt.c (modify/delete)", out)

    def test_already_there(self):
        """A patch that the release has, also among lines that changed."""
        out = self.status({"hw/arm/virt.c": "new\n" + VIRT.replace("line 5\n", "line five\n"),
                           "hw/arm/board.c": (self.qemu / "hw/arm/board.c").read_text()})
        self.assertRegex(out, r"board +1 +already there\n")
        self.assertRegex(out, r"words +1 +applies\n")

    def test_already_there_elsewhere(self):
        """A patch that the release has in lines which it moved."""
        lines = VIRT.replace("line 5\n", "line five\n").splitlines(keepends=True)
        out = self.status({"hw/arm/virt.c": "".join(lines[12:] + lines[:12]),
                           "hw/arm/board.c": (self.qemu / "hw/arm/board.c").read_text()})
        self.assertRegex(out, r"board +1 +already there\n")

    def test_already_there_with_a_later_one(self):
        """Two patches of the same line: the release shows only what the second one made of it."""
        old = (self.qemu / "hw/arm/virt.c").read_text()
        new = old.replace("line thirty\n", "line 3 * 10\n")
        self.commit("docs: change the line", {"hw/arm/virt.c": new}, topic="words")
        self.series("export")
        out = self.status({"hw/arm/virt.c": new.replace("line five\n", "line 5\n"),
                           "docs/board/board.rst":
                           (self.qemu / "docs/board/board.rst").read_text()})
        self.assertRegex(out, r"words +2 +already there\n")

    def test_nothing_of_those(self):
        """Neither a version nor a file."""
        self.assertIn("neither a version like", self.series("status", "--against", "x", status=1))

    def test_version(self):
        """A version is found in the cache, and unpacked once."""
        cache = self.top / "build/cache"
        cache.mkdir()
        fake.tarball(cache / "qemu-11.2.0.tar.xz", {"VERSION": "11.2.0\n"})
        self.assertIn("Unpacking", self.series("status", "--against", "11.2.0"))
        self.assertNotIn("Unpacking", self.series("status", "--against", "11.2.0"))


class Rebase(Moved):

    def unchanged(self):
        """What must stay as it is until the result is adopted."""
        return (self.git("rev-parse", "series", "base"), self.git("status", "--porcelain"),
                self.patches_below(), (self.top / "upstream.json").read_text())

    def patches_below(self):
        """{path: bytes} of patches/, folders included."""
        return {f: f.read_bytes() for f in (self.top / "patches").rglob("*") if f.is_file()}

    def test_conflict_and_continue(self):
        """The stop names topic, patch and file; markers are refused; then it goes on."""
        self.series("setup")
        before = self.unchanged()
        out = self.stop()
        for words in ("patch 2 of 2, in topic words", "0001-docs-describe-the-board.patch",
                      "hw/arm/virt.c", "--continue", "--skip", "--abort"):
            self.assertIn(words, out)
        self.assertIn("still have conflict markers: hw/arm/virt.c",
                      self.series("rebase", "--continue", status=1))
        self.assertIn("is under way", self.series("rebase", "--onto", "11.3.0", status=1))
        self.assertIn("not through yet", self.series("rebase", "--adopt", status=1))
        file = self.top / "build/rebase/qemu/hw/arm/virt.c"
        file.write_text("new line\n" + VIRT.replace("line 5\n", "line five\n").replace(
            "line 30\n", "line settled\n"))
        out = self.series("rebase", "--continue")
        self.assertRegex(out, r"board +1 +1 +0 +0\n")
        self.assertRegex(out, r"words +1 +0 +1 +0\n")
        self.assertEqual(self.unchanged(), before)

    def test_adopt(self):
        """The result becomes the series, upstream.json follows, the old state is kept."""
        self.test_conflict_and_continue()
        old = self.git("rev-parse", "series", "base^{commit}")
        out = self.series("rebase", "--adopt")
        self.assertIn("scripts/series export", out)
        self.assertEqual(self.git("rev-parse", "series-11.1.1", "base-11.1.1^{commit}"), old)
        self.assertEqual(self.git("show", "base:VERSION"), "11.2.0")
        self.assertIn("line settled", (self.qemu / "hw/arm/virt.c").read_text())
        pins = json.loads((self.top / "upstream.json").read_text())
        self.assertEqual((pins["version"], pins["tag"]), ("11.2.0", "v11.2.0"))
        self.assertEqual(pins["tarballs"]["qemu-11.2.0.tar.xz"],
                         fake.sha256(self.root / "qemu-11.2.0.tar.xz"))
        self.assertFalse((self.top / "build/rebase").exists())
        self.assertIn("not in patches/", self.series("setup", status=1))

    def test_abort(self):
        """All is as it was, and the release can be rebased to again."""
        self.series("setup")
        before, branches = self.unchanged(), self.git("branch", "--list")
        self.stop()
        self.assertIn("given up", self.series("rebase", "--abort"))
        self.assertEqual((self.unchanged(), self.git("branch", "--list")), (before, branches))
        self.assertEqual(self.git("worktree", "list").count("\n"), 0)
        self.assertIn("No rebase is under way", self.series("rebase", "--abort", status=1))
        self.stop()

    def test_skip_and_already_there(self):
        """A patch that the release has is left out by itself, another one when asked."""
        out = self.series("rebase", "--onto", self.release({
            "hw/arm/virt.c": VIRT.replace("line 5\n", "line five\n").replace("line 30\n", "x\n"),
            "hw/arm/board.c": (self.qemu / "hw/arm/board.c").read_text()}), status=1)
        self.assertIn("in topic words", out)
        out = self.series("rebase", "--skip")
        self.assertIn("left out, board: hw/arm: add a board", out)
        self.assertIn("left out, words: docs: describe the board", out)


class OtherPatchLevel(fake.WorkbenchCase):

    def test_taken_and_named(self):
        """11.1.z with other files will do if all patches apply; what needs the pinned one says
        so; the branch counts as unchanged."""
        self.two_patches()
        top = self.make_top("other", patches_of=self.top)
        file = fake.tarball(self.root / "qemu-11.1.9.tar.xz", {
            "VERSION": "11.1.9\n", "hw/arm/virt.c": "one\ntwo\n" + VIRT})
        out = self.series("setup", "--offline", "--source", file, top=top)
        self.assertIn("Taken: QEMU 11.1.9", out)
        self.assertIn("hw/arm/virt.c", out)
        self.assertIn("esults may differ", out)
        self.assertIn("line thirty", (top / "build/qemu/hw/arm/virt.c").read_text())
        again = self.series("setup", top=top)
        self.assertIn("The base is QEMU 11.1.9 instead of 11.1.1", again)
        self.assertNotIn("Applying", again)
        self.assertIn("needs QEMU 11.1.1 as the base", self.series("export", status=1, top=top))
        out = self.series("check", top=top)
        self.assertIn("NOT CHECKED, because the base is QEMU 11.1.9", out)
        self.assertIn(" 0 errors", out)

    def test_base_that_moved(self):
        """After a pull that names another release, setup replaces the base and keeps the old."""
        self.two_patches()
        old = self.git("rev-parse", "series")
        pins = json.loads((self.top / "upstream.json").read_text())
        file = fake.tarball(self.root / "qemu-11.2.0.tar.xz", {"VERSION": "11.2.0\n"})
        pins.update(version="11.2.0", tarballs={file.name: fake.sha256(file)}, trees={})
        (self.top / "upstream.json").write_text(json.dumps(pins))
        self.series("setup", "--offline", "--source", file)
        self.assertEqual(self.git("show", "base:VERSION"), "11.2.0")
        self.assertEqual(self.git("rev-parse", "series-11.1.1"), old)
        self.assertIn("line thirty", (self.qemu / "hw/arm/virt.c").read_text())


if __name__ == "__main__":
    fake.main()
