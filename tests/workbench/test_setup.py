#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""build/qemu: made the same everywhere, gone on with after interruption, nothing lost."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.system import polling  # noqa: E402


class Setup(fake.WorkbenchCase):

    def ids(self, top=None):
        """Ids of all commits."""
        return self.git("rev-list", "series", top=top).split()

    def test_same_ids_everywhere(self):
        """A user's and a machine's git configuration change nothing."""
        self.two_patches()
        other = self.make_top("other", patches_of=self.top)
        hooks = self.home / "hooks"
        hooks.mkdir()
        for name in ("pre-commit", "commit-msg", "applypatch-msg", "post-checkout"):
            (hooks / name).write_text("#!/bin/sh\nexit 1\n")
            (hooks / name).chmod(0o755)
        (self.home / ".gitconfig").write_text(
            "[user]\nname = Someone\nemail = some@example.org\n"
            "[core]\nautocrlf = true\nabbrev = 5\nhooksPath = " + str(hooks) + "\n"
            "[commit]\ngpgSign = true\n[am]\nthreeWay = true\nkeepcr = false\n"
            "[diff]\nnoprefix = true\nalgorithm = patience\ncontext = 9\nrenames = copies\n"
            "[format]\nsignOff = true\nsubjectPrefix = X\nnumbered = true\nattach = true\n"
            "[init]\ndefaultBranch = other\n")
        hostile = {"GIT_AUTHOR_NAME": "Else", "GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z",
                   "GIT_DIR": "/nonexistent", "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"),
                   "TZ": "Asia/Tokyo", "COLUMNS": "200"}
        self.setup_series(top=other, **hostile)
        first = self.make_top("first", patches_of=self.top)
        self.setup_series(top=first)
        self.assertEqual(self.ids(other), self.ids(first))
        before = self.patches(other)
        self.series("export", top=other, **hostile)
        self.assertEqual(self.patches(other), before)
        self.assertEqual(before, self.patches())

    def test_twice(self):
        """A second run does nothing, and needs no source."""
        self.two_patches()
        ids = self.ids()
        stamp = (self.qemu / "hw/arm/virt.c").stat().st_mtime_ns
        shutil.rmtree(self.source)
        self.series("setup")
        self.assertEqual((self.ids(), (self.qemu / "hw/arm/virt.c").stat().st_mtime_ns),
                         (ids, stamp))

    def test_left_overs_of_an_interrupted_run(self):
        """Half an unpacked tree, and a base without patches, are no obstacle."""
        self.two_patches()
        top = self.make_top("other", patches_of=self.top)
        for name in ("qemu.new", "qemu.new.partial"):
            (top / "build" / name / "half").mkdir(parents=True)
        self.setup_series(top=top)
        self.assertEqual(len(self.ids(top)), 3)
        # Interrupted after the base was made.
        self.git("reset", "-q", "--hard", "base", top=top)
        self.git("update-ref", "refs/workbench/synced", "base", top=top)
        self.series("setup", top=top)
        self.assertEqual(len(self.ids(top)), 3)
        self.assertEqual(sorted(p.name for p in (top / "build").glob("qemu*")), ["qemu"])

    def test_killed_at_any_time(self):
        """Killed again and again, at another moment each time, setup still completes."""
        self.two_patches()
        top = self.make_top("other", patches_of=self.top)
        command = [str(top / "scripts/series"), "setup", "--source", str(self.source)]
        for number in range(12):
            with subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, start_new_session=True) as child:
                time.sleep(0.04 * (number + 1))
                child.send_signal(signal.SIGKILL)
            # What it has started ends by itself.
            self.assertTrue(polling.until(lambda: not running(child.pid), 20))
        self.setup_series(top=top)
        self.assertEqual(len(self.ids(top)), 3)
        self.assertIn(" 0 errors", self.series("check", top=top))

    def test_takes_up_changed_patches(self):
        """Patches that changed (a pull) are applied when the branch has no work of its own."""
        self.two_patches()
        top = self.make_top("other", patches_of=self.top)
        self.setup_series(top=top)
        same = top / "build/qemu/VERSION"
        stamp = same.stat().st_mtime_ns
        self.commit("hw/arm: third", {"hw/arm/board2.c": "int b;\n"})
        self.series("export")
        shutil.rmtree(top / "patches")
        shutil.copytree(self.top / "patches", top / "patches")
        self.series("setup", top=top)
        self.assertEqual(len(self.ids(top)), 4)
        self.assertEqual(same.stat().st_mtime_ns, stamp, "files that are the same stay untouched")

    def test_work_is_not_lost(self):
        """Commits and edits that are nowhere else are refused to be thrown away, until asked."""
        self.two_patches()
        self.commit("hw/arm: mine", {"hw/arm/board2.c": "int mine;\n"})
        patch = next((self.top / "patches").glob("board/0002*"))
        patch.unlink()
        (self.top / "patches/series").write_text(
            "".join(f"board/{p.name}\n"
                    for p in sorted((self.top / "patches/board").glob("*.patch"))))
        out = self.series("setup", status=1)
        for words in ("not in patches/", "scripts/series export", "--discard"):
            self.assertIn(words, out)
        self.assertEqual(len(self.ids()), 4)
        self.series("setup", "--discard")
        self.assertEqual(len(self.ids()), 2)
        (self.qemu / "VERSION").write_text("edited\n")
        (self.top / "patches/series").write_text("")
        for left in (self.top / "patches/board").glob("*.patch"):
            left.unlink()
        self.assertIn("not committed: VERSION", self.series("setup", status=1))
        self.series("setup", "--discard")
        self.assertEqual(len(self.ids()), 1)
        self.assertEqual((self.qemu / "VERSION").read_text(), "11.1.1\n")

    def test_patch_that_does_not_apply(self):
        """It is named; no 3-way merge, no fuzz; build/qemu stays as it was."""
        self.two_patches()
        ids = self.ids()
        patch = next((self.top / "patches").glob("board/0002*"))
        patch.write_text(patch.read_text().replace(" line 29\n", " line twenty-nine\n"))
        out = self.series("setup", status=1)
        self.assertIn(f"The patch board/{patch.name} does not apply on the 1 before it", out)
        self.assertEqual(self.ids(), ids)
        self.assertEqual(self.git("worktree", "list").count("\n"), 0)

    def test_foreign_folder(self):
        """A build/qemu of unknown origin is left alone."""
        self.qemu.mkdir(parents=True)
        (self.qemu / "precious").touch()
        self.assertIn("Move it away", self.series("setup", status=1))
        self.assertTrue((self.qemu / "precious").exists())

    def test_half_done_rebase(self):
        """A rebase that was left half done is named, with the way out."""
        self.two_patches()
        (self.qemu / ".git/rebase-merge").mkdir()
        self.assertIn("rebase --abort", self.series("setup", status=1))
        self.assertIn("half done", self.series("export", status=1))


def running(session):
    """Whether a process of the SESSION has not ended yet."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Behind the name, which may hold blanks: state, parent, group, session.
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] not in "ZX" and int(fields[3]) == session:
                return True
    return False


if __name__ == "__main__":
    fake.main()
