#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""The project's pages name only files, headings, tests and commands that exist."""

import functools
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402

TOP = fake.TOP
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), *(TOP / "examples").glob("*.md"),
                *(TOP / "tests").glob("*.md")])
# Commands whose first word is a verb with options of its own.
VERBS = ("scripts/series", "scripts/lab", "scripts/package", "scripts/sanitize")


def text_without_blocks(text):
    """TEXT without what is printed as it is."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)


def anchors(path):
    """What may follow # in links to PATH, as GitHub makes it of headings."""
    text = text_without_blocks(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def bad_links(page, text):
    """Links of TEXT, of the file PAGE, that lead to nothing, or to a test that is not there."""
    bad = []
    for words, target in re.findall(r"\[([^]]+)\]\(([^)\s]+)\)", text_without_blocks(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or anchor and anchor not in anchors(file):
            bad.append(target)
        elif file.suffix in (".py", ".c") and words.startswith("`"):
            content = file.read_text(encoding="utf-8")
            # Cases that several files share are in a file of their own.
            content += "".join(f.read_text(encoding="utf-8") for f in
                               [*TOP.glob("tests/*/*cases.py")] if file.suffix == ".py")
            bad += [f"{words} in {target}" for word in words.strip("`").split(".")
                    if word not in content]
    return bad


@functools.lru_cache(maxsize=None)
def usage(*words):
    """What a command says of itself, or None when it does not know WORDS."""
    done = subprocess.run([TOP / words[0], *words[1:], "--help"], capture_output=True, text=True,
                          check=False)
    return done.stdout if done.returncode == 0 else None


def bad_commands(text):
    """Commands scripts/NAME in code of TEXT that do not exist, or lack a verb or an option."""
    bad = []
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^ *(?:\$ )?(scripts/.*)$", text, re.M)
    for line in code:
        match = re.match(r"(scripts/[\w-]+)((?: [^\s|&;`]+)*)", line)
        if not match or line.startswith("scripts/workbench"):
            continue
        # What comes after "--" is for another command.
        name, words = match[1], match[2].partition(" -- ")[0].split()
        if not (TOP / name).is_file():
            bad.append(line)
            continue
        verb = words[:1] if name in VERBS and words and re.fullmatch(
            "[a-z]+", words[0]) else []
        said = usage(name, *verb)
        if said is None:
            bad.append(line)
            continue
        bad += [f"{line}: {word}" for word in words
                if word.startswith("--") and word.split("=")[0] not in said]
    return bad


def bad_paths(text):
    """Paths of the project in code of TEXT that do not exist. Capitals stand for something."""
    found = re.findall(r"`((?:tests|scripts|examples|patches|bench)/[\w./*-]+)`", text)
    return [path for path in found if not re.search("[A-Z]", path)
            and not any(TOP.glob(path.rstrip("/")))]


class Pages(unittest.TestCase):

    def check_pages(self, function):
        self.assertIn(TOP / "README.md", PAGES)
        self.assertEqual({str(page.relative_to(TOP)): bad for page in PAGES
                          if (bad := function(page, page.read_text(encoding="utf-8")))}, {})

    def test_links(self):
        """Files, headings, and tests that are named."""
        self.check_pages(bad_links)

    def test_commands(self):
        """Commands with their verbs and options."""
        self.check_pages(lambda _, text: bad_commands(text))

    def test_paths(self):
        """Files and folders that are named without a link."""
        self.check_pages(lambda _, text: bad_paths(text))

    def test_first_screen(self):
        """The README says what it is, and both commands, within forty lines."""
        screen = "".join((TOP / "README.md").read_text(encoding="utf-8").splitlines(True)[:40])
        for word in ("scripts/demo", "scripts/test", "\n## "):
            self.assertIn(word, screen)


class Rules(unittest.TestCase):
    """What must be noticed is."""

    def test_broken(self):
        page = TOP / "README.md"
        for link in ("[x](none.md)", "[x](README.md#none)",
                     "[`test_none`](tests/guest/test_plug.py)"):
            self.assertEqual(len(bad_links(page, link)), 1, link)
        self.assertEqual(bad_links(page, "[`test_any_order`](tests/guest/test_plug.py)"), [])
        for line in ("`scripts/none`", "`scripts/series none`", "`scripts/test --none`",
                     "$ scripts/series check --none\n"):
            self.assertEqual(len(bad_commands(line)), 1, line)
        self.assertEqual(bad_commands("`scripts/test --suite NAME`"), [])
        self.assertEqual(bad_paths("`tests/none/`, `patches/series`, `tests/guest/NAME`"),
                         ["tests/none/"])


if __name__ == "__main__":
    fake.main()
