#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""scripts/series check: each fault turns it red, with words that name it."""

import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402


class Check(fake.WorkbenchCase):

    def setUp(self):
        super().setUp()
        self.two_patches()
        self.first, self.second = sorted((self.top / "patches/board").glob("*.patch"))

    def red(self, *words):
        """The check fails and its output has the words."""
        out = self.series("check", status=1)
        for word in words:
            self.assertIn(word, out)

    def edit(self, path, old, new):
        """Replace text in a file; it must be there."""
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new))

    def test_green(self):
        """Nothing is wrong with a fresh export."""
        self.assertIn("2 patches in 1 topics, 0 errors", self.series("check"))

    def test_list(self):
        """A file that is not listed, and a listed file that is not there."""
        (self.top / "patches/series").write_text(f"board/{self.first.name}\n")
        self.red(f"patches/board/{self.second.name} is not listed")
        (self.top / "patches/series").write_text(
            f"board/{self.first.name}\nboard/0002-gone.patch\n")
        self.red("0002-gone.patch, which does not exist")

    def test_headers(self):
        """Author, trailers of persons, subject and body."""
        self.edit(self.first, "From: qemu-virt-hotplug <", "From: Someone <")
        self.red("author is")
        self.edit(self.first, "From: Someone <", "From: qemu-virt-hotplug <")
        self.edit(self.first, fake.MESSAGE, fake.MESSAGE + "\nSigned-off-by: A <a@b.org>\n")
        self.red("Signed-off-by: A")
        self.edit(self.first, fake.MESSAGE + "\nSigned-off-by: A <a@b.org>\n", "")
        self.red("no body")
        self.edit(self.second, "docs: describe the board", "describe the board.")
        self.red("is not \"subsystem: summary\"")

    def test_mirror(self):
        """Edited, missing, left over and not executable as it should be."""
        file = self.top / "hw/arm/board.c"
        text = file.read_text()
        file.write_text("int x;\n")
        self.red("hw/arm/board.c: differs")
        file.unlink()
        self.red("hw/arm/board.c: missing")
        file.write_text(text)
        file.chmod(0o755)
        self.red("hw/arm/board.c: mode differs")
        file.chmod(0o644)
        (self.top / "hw/arm/other.c").touch()
        self.red("hw/arm/other.c: not in the series")

    def test_working_branch(self):
        """Commits that were not exported, edits that were not committed, a half-done rebase."""
        (self.qemu / "VERSION").write_text("x\n")
        self.red("not committed: VERSION")
        self.git("commit", "-qam", "hw/arm: more")
        self.red("build/qemu and patches/ disagree")
        self.git("reset", "-q", "--hard", "HEAD^")
        (self.qemu / ".git/rebase-merge").mkdir()
        self.red("rebase was left half done")

    def test_patch_changed_by_hand(self):
        """A patch that no longer is what an export gives."""
        self.edit(self.second, "+line thirty\n", "+line 30 it is\n")
        self.red("these patches differ: board/" + self.second.name)

    def test_order(self):
        """Patches that do not follow each other."""
        text = self.second.read_text()
        old = text.split("index ")[-1][:40]
        self.edit(self.second, f"index {old}", "index " + "a" * 40)
        self.red("but the patches before leave")

    def test_base(self):
        """A base that has other files than the series starts from."""
        start = self.first.read_text().split("\nindex ")[2][:40]
        self.edit(self.first, f"index {start}", "index " + "b" * 40)
        self.red("base: hw/arm/virt.c is")

    def test_maintainers(self):
        """A new file without an entry of its own; the catch-all does not count."""
        self.commit("hw/misc: new", {"hw/misc/thing.c": "int t;\n"})
        self.series("export")
        self.red("hw/misc/thing.c has no entry in MAINTAINERS")
        self.commit("MAINTAINERS: thing", {"MAINTAINERS": fake.FILES["MAINTAINERS"].replace(
            "F: docs/board/\n", "F: docs/board/\nF: hw/misc/\n")})
        self.series("export")
        self.assertIn(" 0 errors", self.series("check"))

    def test_checkpatch(self):
        """Errors of the tree's own checkpatch count, warnings are listed."""
        script = ('my $t = join("", <STDIN>);\n'
                  'print "ERROR: bad code\\n#1: FILE: hw/arm/board2.c:1:\\n\\n"'
                  ' if $t =~ /BAD/;\n'
                  'print "WARNING: odd code\\n#1: FILE: hw/arm/board2.c:1:\\n\\n"'
                  ' if $t =~ /ODD/;\n')
        self.commit("scripts: a checker", {"scripts/checkpatch.pl": script})
        # The checker is part of the base in real life.
        self.git("tag", "-f", "base")
        self.git("update-ref", "refs/workbench/synced", "HEAD")
        for patch in (self.first, self.second):
            patch.unlink()
        shutil.rmtree(self.top / "hw")
        shutil.rmtree(self.top / "docs")
        self.commit("hw/arm: odd", {"hw/arm/board2.c": "ODD\n"})
        self.series("export")
        self.assertIn("WARNING: checkpatch: board/0001-hw-arm-odd.patch: odd code "
                      "(hw/arm/board2.c:1)", self.series("check"))
        self.commit("hw/arm: bad", {"hw/arm/board3.c": "BAD\n"})
        self.series("export")
        self.red("ERROR: checkpatch: board/0002-hw-arm-bad.patch: bad code")

    def test_without_source(self):
        """Without the base, patches and mirror are still checked, and the rest is named."""
        other = self.make_top("other", patches_of=self.top)
        out = self.series("check", top=other)
        self.assertIn("NOT CHECKED", out)
        (other / "hw/arm/board.c").write_text("x")
        self.assertIn("differs", self.series("check", top=other, status=1))
        self.assertIn("2 patches in 1 topics, 0 errors", self.series("check", top=self.top))

    def test_sets_up_from_a_source_at_hand(self):
        """With a source on this machine, the check sets up build/qemu itself."""
        other = self.make_top("other", patches_of=self.top)
        out = self.series("check", top=other, QEMU_BASE_SOURCE=str(self.source))
        self.assertNotIn("NOT CHECKED", out)
        self.assertIn("2 patches in 1 topics, 0 errors", out)


if __name__ == "__main__":
    fake.main()
