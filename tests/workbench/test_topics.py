#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Topics: the list, the branches in build/qemu, what each of them needs, and how it is sent."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402

ME = ("--name", "Jürgen Tester", "--email", "jt@example.org")
BOARD = "/* SPDX-License-Identifier: GPL-2.0-or-later */\nint a;\n"
LINES = fake.FILES["hw/arm/virt.c"]


class TopicCase(fake.WorkbenchCase):
    """Three topics: words needs nothing, use needs board and only that."""

    def setUp(self):
        super().setUp()
        self.setup_series()
        self.topics({"board": (), "words": (), "use": ("board",)})
        self.commit("hw/arm: add a board", {"hw/arm/board.c": BOARD})
        self.commit("hw/arm: change line 5", {"hw/arm/virt.c": self.lines("5")})
        self.commit("docs: describe the board", {
            "docs/board/board.rst": ".. SPDX-License-Identifier: GPL-2.0-or-later\n\nBoard\n"},
            topic="words")
        self.commit("hw/arm: use the board", {"hw/arm/board.c": BOARD + "int used;\n"},
                    topic="use")
        self.series("export")

    @staticmethod
    def lines(*numbers):
        """virt.c with other words in these lines."""
        return re.sub(r"line (\d+)\n",
                      lambda m: f"other {m[1]}\n" if m[1] in numbers else m[0], LINES)

    def refused(self, *words, verb="export"):
        """The verb fails, and its output has the words."""
        out = self.series(verb, status=1)
        for word in words:
            self.assertIn(word, out)

    def ends(self, top=None):
        """{topic: subject of the last commit}."""
        out = self.git("for-each-ref", "--format=%(refname:lstrip=3) %(subject)",
                       "refs/heads/topic/", top=top)
        return dict(line.split(" ", 1) for line in out.splitlines())


class List(TopicCase):

    def rewrite(self, old, new):
        """Replace text in topics.toml; the check has to say something about it."""
        path = self.top / "patches/topics.toml"
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))
        out = self.series("check", status=1)
        path.write_text(text)
        return out

    def test_faults(self):
        """Each fault of the list is named."""
        for old, new, words in (
                ('needs = ["board"]', 'needs = ["use"]', "not an earlier topic"),
                ('needs = []', 'needs = ["words"]', "not an earlier topic"),
                ('state = "submission"', 'state = "maybe"', "submission, downstream"),
                ('state = "submission"', 'state = "downstream"', "which is downstream only"),
                ('state = "submission"', 'status = "x"', "unknown field \"status\""),
                ('name = "words"', 'name = "board"', "an earlier topic of that name"),
                ('name = "words"', 'name = "Words"', "lower-case letters"),
                ('name = "words"\n', '', "\"name\" is missing"),
                ('needs = []', 'needs = 5', "needs must be a list"),
                ('[[topic]]', '[topic]', "not valid TOML"),
                ('[[topic]]', 'odd = 1\n[[topic]]', "\"odd\"")):
            with self.subTest(new):
                self.assertIn(words, self.rewrite(old, new))

    def test_folders(self):
        """A missing letter, a folder without topic, an empty topic, an order of its own."""
        letter = self.top / "patches/words/cover-letter.md"
        letter.write_text("Fake\n\nText\n")
        self.refused("must have a heading", verb="check")
        letter.unlink()
        self.refused("patches/words/cover-letter.md cannot be read", verb="check")
        letter.write_text("# Fake\n\nText\n")
        (self.top / "patches/other").mkdir()
        self.refused("patches/other is the folder of no topic", verb="check")
        (self.top / "patches/other").rmdir()
        path = self.top / "patches/series"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[2:3] + lines[:2] + lines[3:]))
        self.refused("another order than topics.toml", verb="check")
        path.write_text("".join(lines[:2] + lines[3:]))
        self.refused("topic words: it has no patches", "is not listed", verb="check")

    def test_length(self):
        """More patches than can be sent at once."""
        for number in range(16):
            self.commit(f"hw/arm: number {number}", {"hw/arm/board.c": BOARD + f"int {number};\n"},
                        topic="use")
        self.series("export")
        self.refused("topic use: 17 patches are more than the 15", verb="check")


class Branches(TopicCase):

    def test_round_trip(self):
        """Another clone has the same branches and gives the same files."""
        before = self.patches()
        self.assertEqual((self.top / "patches/series").read_text().split(), [
            "board/0001-hw-arm-add-a-board.patch", "board/0002-hw-arm-change-line-5.patch",
            "words/0001-docs-describe-the-board.patch", "use/0001-hw-arm-use-the-board.patch"])
        other = self.make_top("other", patches_of=self.top)
        self.setup_series(top=other)
        self.assertEqual(self.ends(other), {
            "board": "hw/arm: change line 5", "words": "docs: describe the board",
            "use": "hw/arm: use the board"})
        self.assertEqual(self.ends(other), self.ends())
        self.series("export", top=other)
        self.assertEqual(self.patches(other), before)
        self.assertIn("4 patches in 3 topics, 0 errors", self.series("check", top=other))

    def test_git_am_of_everything(self):
        """The documented command applies all patches in order."""
        tree = self.root / "tree"
        self.git("worktree", "add", "-q", "--detach", str(tree), "base")
        folder = self.top / "patches"
        subprocess.run(["sh", "-c", "git -c user.name=a -c user.email=b am -q "
                        f"$(sed 's,^,{folder}/,' {folder}/series)"], cwd=tree, check=True,
                       env=self.environment())
        done = subprocess.run(["git", "rev-parse", "HEAD^{tree}"], cwd=tree, check=True,
                              capture_output=True, text=True, env=self.environment())
        self.assertEqual(done.stdout.strip(), self.git("rev-parse", "series^{tree}"))

    def test_flat_patches_are_replaced(self):
        """The export removes patches that are in no folder, as they were before topics."""
        (self.top / "patches/0001-old.patch").write_text("old\n")
        (self.top / "patches/series").write_text("0001-old.patch\n")
        self.series("export")
        self.assertFalse((self.top / "patches/0001-old.patch").exists())
        self.assertIn(" 0 errors", self.series("check"))

    def test_missing(self):
        """Without its branch a topic has no end; setup makes it where patches/ have the topic."""
        self.git("branch", "-D", "topic/words")
        self.refused("no branch topic/words", "scripts/series setup")
        self.series("setup")
        self.assertEqual(self.ends()["words"], "docs: describe the board")
        self.series("export")

    def test_wrong_places(self):
        """Empty, in another order, outside the series, not listed, commits after the last."""
        self.end("words", "topic/board")
        self.refused("The topic words has no patch")
        self.end("words", "topic/board^")
        self.refused("lists board before words")
        self.git("checkout", "-q", "--detach", "topic/board")
        self.commit("docs: describe the board", {"VERSION": "x\n"}, topic="words")
        self.git("checkout", "-q", "series")
        self.refused("topic/words points at", "not a commit of the branch series",
                     self.git("rev-parse", "--short=12", "series^"))
        self.end("words", "series^")
        self.end("other", "series")
        self.refused("has no such topic", "branch -D topic/other")
        self.git("branch", "-D", "topic/other")
        self.commit("hw/arm: more", {"hw/arm/board.c": BOARD + "int more;\n"}, topic=None)
        self.refused("come after topic/use", "hw/arm: more", "branch -f topic/use series")

    def test_moved_end(self):
        """An end that someone moved is not moved back without being asked."""
        self.end("board", "topic/board^")
        self.refused("topic/board", "--discard", verb="setup")
        self.series("setup", "--discard")
        self.assertEqual(self.ends()["board"], "hw/arm: change line 5")
        self.end("board", "topic/board^")
        out = self.series("check", status=1)
        self.assertIn("build/qemu and patches/ disagree", out)
        self.series("export")
        self.assertTrue((self.top / "patches/words/0001-hw-arm-change-line-5.patch").exists())

    def test_pulled(self):
        """Ends that moved in patches/, and topics that are gone, are taken up."""
        other = self.make_top("other", patches_of=self.top)
        self.setup_series(top=other)
        self.topics({"board": (), "use": ("board",)})
        self.git("branch", "-D", "topic/words")
        self.end("board", "series^")
        shutil.rmtree(self.top / "patches/words")
        self.series("export")
        shutil.rmtree(other / "patches")
        shutil.copytree(self.top / "patches", other / "patches")
        self.series("setup", top=other)
        self.assertEqual(self.ends(other), {"board": "docs: describe the board",
                                            "use": "hw/arm: use the board"})
        self.assertIn(" 0 errors", self.series("check", top=other))

    def test_rebase(self):
        """A fixup of a topic's last commit is in the topic after the rebase."""
        version = [int(n) for n in re.findall(r"\d+", self.git("--version"))[:2]]
        if version < [2, 38]:
            self.skipTest("git has rebase.updateRefs since 2.38")
        for fixup in ("topic/board", "topic/use"):
            target = self.git("rev-parse", fixup)
            file = self.qemu / "hw/arm/virt.c"
            file.write_text(file.read_text().replace(
                "line 20\n" if fixup == "topic/board" else "line 38\n", "fixed\n"))
            self.git("commit", "-q", "-a", f"--fixup={target}")
        self.git("-c", "sequence.editor=true", "rebase", "-q", "-i", "--autosquash", "base")
        self.assertEqual(self.git("rev-list", "--count", "base..series"), "4")
        self.series("export")
        self.assertIn("+fixed", self.patches()["board/0002-hw-arm-change-line-5.patch"].decode())
        self.assertIn("+fixed", self.patches()["use/0001-hw-arm-use-the-board.patch"].decode())
        self.assertIn(" 0 errors", self.series("check"))

    def test_absorb(self):
        """What is absorbed into a topic's last commit leaves all ends at their commits."""
        before = self.ends()
        file = self.top / "docs/board/board.rst"
        file.write_text(file.read_text() + "More\n")
        self.series("absorb")
        self.assertEqual(self.ends(), before)
        self.assertIn("+More", self.patches()["words/0001-docs-describe-the-board.patch"].decode())


class Apart(TopicCase):

    def test_one(self):
        """One topic is checked on just what it needs, and it is said on what."""
        out = self.series("check", "--topic", "use")
        self.assertIn("topic use, 1 patches on the base with board (2), 0 errors", out)
        self.assertIn("on the base alone, 0 errors", self.series("check", "--topic", "words"))
        self.assertIn("board, words, use", self.series("check", "--topic", "none", status=1))

    def test_needs_more(self):
        """A topic that does not apply with what it says it needs; who may be missing is named."""
        self.topics({"board": (), "words": (), "use": ()})
        for args in ((), ("--topic", "use")):
            out = self.series("check", *args, status=1)
            self.assertIn("topic use does not apply on the base alone: The patch "
                          "use/0001-hw-arm-use-the-board.patch", out)
            self.assertIn("change the same files: board.", out)
            self.assertNotIn("git am --continue", out)
        self.assertIn(" 0 errors", self.series("check", "--topic", "words"))

    def test_as_sent(self):
        """A topic that applies here, but not in the form in which it is sent."""
        self.topics({"board": (), "words": (), "use": ("board",), "more": ("use",)})
        self.commit("hw/arm: ours\n\nUpstream-Status: Inappropriate [of this tree]",
                    {"hw/arm/board.c": BOARD + "int ours;\n"}, topic="use")
        self.commit("hw/arm: on ours", {"hw/arm/board.c": BOARD + "int on_ours;\n"}, topic="more")
        self.series("export")
        out = self.series("check", status=1)
        self.assertIn("topic more, as it is sent, does not apply", out)
        self.assertEqual(out.count("ERROR"), 1, out)

    def test_status_line(self):
        """A line that is none of the known ones."""
        self.commit("hw/arm: new\n\nUpstream-Status: Pending", {"hw/arm/board.c": BOARD},
                    topic="use")
        self.series("export")
        self.refused("is not Submitted [URL]", verb="check")


class Sent(TopicCase):

    def mails(self, name):
        """Texts of the mails of a topic, cover letter first."""
        return [f.read_text() for f in sorted((self.top / "build/submit" / name).iterdir())]

    def test_submit(self):
        """One topic, numbered by itself, and what it is based on."""
        out = self.series("submit", status=1)
        self.assertRegex(out, r"use +1 +submission +board\n")
        out = self.series("submit", "--topic", "use", *ME, status=1)
        self.assertIn("based on 1 posting, of: board.", out)
        self.assertIn("--based-on MESSAGE-ID", out)
        self.assertIn("not a message id", self.series(
            "submit", "--topic", "use", *ME, "--based-on", "v1", status=1))
        self.series("submit", "--topic", "use", *ME, "--based-on", "1-2@example.org")
        cover, patch = self.mails("use")
        self.assertIn("[PATCH 0/1] Fake use\n", cover)
        self.assertIn("\nBased-on: <1-2@example.org>\n", cover)
        self.assertIn("hw/arm: use the board", patch)
        self.assertIn("is based on no posting", self.series(
            "submit", "--topic", "words", *ME, "--based-on", "1-2@example.org", status=1))

    def based(self, topic, *ids, status=0):
        """Submit the topic based on the postings with these ids; returns the output."""
        return self.series("submit", "--topic", topic, *ME,
                           *(word for i in ids for word in ("--based-on", i)), status=status)

    def test_based_on(self):
        """One message id for each topic that is needed directly, neither fewer nor more."""
        self.topics({"board": (), "words": (), "use": ("board", "words"), "more": ("use",)})
        self.commit("hw/arm: more", {"hw/arm/board.c": BOARD + "int used;\nint more;\n"},
                    topic="more")
        self.series("export")
        for ids, given in ((("1-2@e.org",), "1, <1-2@e.org>"), ((), "none"),
                           (("1-2@e.org", "<1-2@e.org>"), "2, <1-2@e.org>, <1-2@e.org>"),
                           (("1@e.org", "2@e.org", "3@e.org"), "3, <1@e.org>, <2@e.org>")):
            out = self.based("use", *ids, status=1)
            for words in ("topic use", "2 postings", "board, words", "--based-on",
                          f"Given was {given}"):
                self.assertIn(words, out)
        self.assertFalse((self.top / "build/submit").exists())
        self.based("use", "1-2@e.org", "<3-4@e.org>")
        self.assertIn("\nBased-on: <1-2@e.org>\nBased-on: <3-4@e.org>\n", self.mails("use")[0])
        # What is needed indirectly is named in the posting of the topic that needs it.
        self.assertIn("1 posting, of: use.", self.based("more", "1@e.org", "2@e.org", status=1))
        self.based("more", "5-6@e.org")
        self.assertEqual(self.mails("more")[0].count("Based-on: "), 1)

    def test_based_on_what_upstream_has(self):
        """A topic of which nothing is sent has no posting; those that it needs count instead."""
        self.topics({"board": (), "words": (), "use": ("board",), "there": ("board",),
                     "more": ("words", "there"), "gone": (), "last": ("gone",)})
        there = "\n\nUpstream-Status: Backport [abc123]"
        self.commit("hw/arm: there" + there, {"hw/arm/there.c": BOARD}, topic="there")
        self.commit("hw/arm: more", {"hw/arm/more.c": BOARD}, topic="more")
        self.commit("hw/arm: gone" + there, {"hw/arm/gone.c": BOARD}, topic="gone")
        self.commit("hw/arm: last", {"hw/arm/last.c": BOARD}, topic="last")
        self.series("export")
        self.assertIn("2 postings, of: board, words.", self.based("more", status=1))
        self.based("more", "1-2@e.org", "3-4@e.org")
        self.assertEqual(self.mails("more")[0].count("Based-on: "), 2)
        self.based("last")
        self.assertNotIn("Based-on: <", self.mails("last")[0])

    def test_downstream(self):
        """A topic that is not for upstream is refused, with the reason."""
        self.topics({"board": (), "words": (), "use": ("board",)}, use="downstream")
        self.assertIn("use is not for upstream", self.series(
            "submit", "--topic", "use", *ME, status=1))

    def test_status(self):
        """What upstream has is not sent again; where a patch was posted is not for the mail."""
        self.commit("hw/arm: posted\n\nWhy.\n\nUpstream-Status: Submitted [https://e.org/1]",
                    {"hw/arm/board.c": BOARD + "int posted;\n"}, topic="use")
        self.commit("hw/arm: there\n\nUpstream-Status: Backport [abc123]",
                    {"hw/arm/virt.c": self.lines("5", "30")}, topic="use")
        self.series("export")
        self.series("submit", "--topic", "use", *ME, "--based-on", "a@b.org")
        mails = self.mails("use")
        self.assertEqual(len(mails), 3)
        self.assertNotIn("Upstream-Status", "".join(mails))
        self.series("package")
        fields = {}
        for file in (self.top / "build/package/debian/patches").rglob("*.patch"):
            head = file.read_text().partition("\n\n")[0]
            fields[file.name[5:-6]] = dict(line.split(": ", 1) for line in head.splitlines()
                                           if re.match(r"[A-Z][\w-]+: ", line))
        self.assertEqual(fields["hw-arm-posted"]["Forwarded"], "https://e.org/1")
        self.assertEqual(fields["hw-arm-there"]["Applied-Upstream"], "abc123")
        self.assertEqual(fields["hw-arm-there"]["Origin"], "backport, abc123")
        board = fields["hw-arm-add-a-board"]
        self.assertEqual(board["Forwarded"], "no")
        self.assertIn("topic board", board["Origin"])
        self.assertRegex(board["Last-Update"], r"^\d{4}-\d\d-\d\d$")
        for name in ("From", "Subject"):
            self.assertIn(name, board)

    def test_package(self):
        """Only the topics that are asked for, with what they need; not for upstream is said."""
        self.topics({"board": (), "words": (), "use": ("board",)}, use="downstream")
        self.series("package", "--topic", "use")
        folder = self.top / "build/package"
        listed = (folder / "debian/patches/series").read_text().split()
        self.assertEqual([line.split("/")[1] for line in listed], ["board", "board", "use"])
        self.assertIn("\nForwarded: not-needed\n",
                      (folder / "debian/patches" / listed[-1]).read_text())
        self.assertNotIn("Forwarded", "".join(f.read_text() for f in (folder / "rpm").iterdir()))
        self.assertTrue((folder / "rpm/use-0001-hw-arm-use-the-board.patch").exists())
        self.series("package", "--topic", "use", "--topic", "words")
        listed = (folder / "debian/patches/series").read_text().split()
        self.assertEqual(len(listed), 4)
        self.assertIn("no topic \"none\"", self.series("package", "--topic", "none", status=1))


if __name__ == "__main__":
    fake.main()
