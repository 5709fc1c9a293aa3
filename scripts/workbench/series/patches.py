# SPDX-License-Identifier: GPL-2.0-or-later
"""The stored patches: reading what they change, and writing them from a branch.

A patch's name is its path below patches/: TOPIC/NNNN-subject.patch, see topics.py.
"""

import contextlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ..system import paths
from ..ui.report import WorkbenchError, some
from . import git

NAME = r"[a-z0-9-]+/\d{4}-[^/\s]+\.patch"
AUTHOR = f"{git.NAME} <{git.EMAIL}>"
ZERO = "0" * 40

# Everything that could change a byte of the output is given here, because a user's configuration
# is ignored and defaults differ between versions of git.
FORMAT_CONFIG = {
    "core.quotePath": "true", "core.abbrev": "40",
    "diff.algorithm": "myers", "diff.indentHeuristic": "true", "diff.context": "3",
    "diff.interHunkContext": "0", "diff.noprefix": "false", "diff.mnemonicPrefix": "false",
    "diff.renames": "false", "diff.suppressBlankEmpty": "false",
    "format.encodeEmailHeaders": "true", "i18n.logOutputEncoding": "UTF-8",
}
FORMAT_OPTIONS = (
    "--no-numbered", "--zero-commit", "--no-signature", "--full-index", "--binary",
    "--no-renames", "--patch", "--stat=72", "--summary", "--unified=3", "--no-color",
    "--no-ext-diff", "--no-textconv", "--no-thread", "--no-attach", "--no-to", "--no-cc",
    "--no-from", "--no-base", "--no-notes", "--no-relative", "--subject-prefix=PATCH",
    "--suffix=.patch", "--start-number=1", "--filename-max-length=64",
    "--src-prefix=a/", "--dst-prefix=b/",
)


@dataclass
class Change:
    """One file in one patch. old and new are blob ids, ZERO where there is no file."""

    path: str
    old: str = ZERO
    new: str = ZERO
    mode: str = "100644"
    binary: bool = False
    text: str = ""


@dataclass
class Patch:
    """One stored patch. message is subject and body as mailed; changes in order."""

    name: str
    text: str
    subject: str = ""
    author: str = ""
    message: str = ""
    changes: list = field(default_factory=list)

    @property
    def topic(self):
        """Name of the topic that it belongs to."""
        return self.name.split("/", 1)[0]


def parse(name, text):
    """Read a patch as `git format-patch --full-index` writes it.

    name is for messages. Raises WorkbenchError when a file's blob ids are missing or shortened.
    """
    patch = Patch(name, text)
    start = re.search(r"^diff --git ", text, re.M)
    head = text[:start.start()] if start else text
    fields, _, body = head.partition("\n\n")
    author = re.search(r"^From: (.*)$", fields, re.M)
    subject = re.search(r"^Subject: (.*(?:\n[ \t].*)*)", fields, re.M)
    patch.author = author.group(1).strip() if author else ""
    patch.subject = re.sub(r"\s+", " ", subject.group(1)) if subject else ""
    patch.subject = re.sub(r"^\[PATCH[^]]*\] ", "", patch.subject)
    patch.message = patch.subject + "\n\n" + re.split(r"^---$", body, maxsplit=1, flags=re.M)[0]
    for section in _sections(text[start.start():] if start else ""):
        patch.changes.append(_change(name, section))
    return patch


def _sections(text):
    """The part of each file. A line of a hunk never starts with "diff --git "."""
    return [s for s in re.split(r"^(?=diff --git )", text, flags=re.M) if s]


def _change(name, section):
    header = re.split(r"^(?:@@ |GIT binary patch)", section, maxsplit=1, flags=re.M)[0]
    first = header.split("\n", 1)[0]
    match = re.match(r'diff --git "?a/(.*?)"? "?b/\1"?$', first)
    if not match:
        raise WorkbenchError(f"{name}: cannot read the line: {first}")
    if first.count('"'):
        raise WorkbenchError(f"{name}: {first}: file names beyond plain ASCII are not supported")
    change = Change(match.group(1), text=section, binary="\nGIT binary patch\n" in section)
    index = re.search(r"^index ([0-9a-f]+)\.\.([0-9a-f]+)", header, re.M)
    mode = re.search(r"^(?:new file mode|new mode|index \S+) (\d{6})$", header, re.M)
    change.mode = mode.group(1) if mode else change.mode
    if index:
        change.old, change.new = index.groups()
        if len(change.old) != 40 or len(change.new) != 40:
            raise WorkbenchError(f"{name}: {change.path}: shortened blob ids. Write the patch "
                                 "with scripts/series export (git format-patch --full-index).")
    elif "\nold mode " in header:
        # A change of mode alone leaves the content as it is; it says nothing about blobs.
        change.old = change.new = None
    elif "\nnew file mode " not in header and "\ndeleted file mode " not in header:
        raise WorkbenchError(f"{name}: {change.path}: no index line; is it a rename? "
                             "Write the patch with scripts/series export.")
    return change


class Series:
    """All stored patches, in order."""

    def __init__(self, patches):
        self.patches = patches

    def __len__(self):
        return len(self.patches)

    @classmethod
    def load(cls, folder=None):
        """Read patches/series and the files it names. Raises WorkbenchError if one is missing,
        or is not TOPIC/NNNN-subject.patch."""
        folder = Path(folder or paths.PATCHES)
        patches = []
        for name in names(folder):
            if not re.fullmatch(NAME, name):
                raise WorkbenchError(f"{folder / 'series'} lists {name}, which has not the form "
                                     "TOPIC/NNNN-subject.patch. Restore it (git checkout "
                                     "patches/), or write it: scripts/series export.")
            try:
                text = (folder / name).read_bytes().decode("utf-8", "surrogateescape")
            except FileNotFoundError as e:
                raise WorkbenchError(f"{folder / 'series'} lists {name}, which does not exist. "
                                     "Restore it (git checkout patches/).") from e
            patches.append(parse(name, text))
        return cls(patches)

    @classmethod
    def parse(cls, texts):
        """Read the patches of {file name: text}."""
        return cls([parse(name, text) for name, text in texts.items()])

    def of(self, *topics):
        """The patches of the topics of these names alone, as a Series."""
        return Series([p for p in self.patches if p.topic in topics])

    def topics(self):
        """{name: number of patches} of the topics, in the order of their first patches."""
        counts = {}
        for patch in self.patches:
            counts[patch.topic] = counts.get(patch.topic, 0) + 1
        return counts

    def texts(self):
        """{file name: text} in order."""
        return {p.name: p.text for p in self.patches}

    def preimages(self):
        """{path: blob id in the base} of every file that the series changes and did not add."""
        return {path: blob for path, blob in self._before().items() if blob != ZERO}

    def absent(self):
        """Paths that must not exist in the base, because the series adds them."""
        return {path for path, blob in self._before().items() if blob == ZERO}

    def _before(self):
        """{path: blob id in the base, or ZERO} of every file whose content the series changes."""
        first = {}
        for change in self._changes():
            if change.old is not None:
                first.setdefault(change.path, change.old)
        return first

    def added(self):
        """{path: (blob id, mode)} of the files that exist after the series and not before."""
        absent, last = self.absent(), {}
        for change in self._changes():
            if change.new is not None:
                last[change.path] = (change.new, change.mode)
        return {path: last[path] for path in sorted(absent) if last[path][0] != ZERO}

    def touched(self):
        """Every path that a patch changes."""
        return {change.path for change in self._changes()}

    def owners(self, path):
        """Indexes of the patches that touch path."""
        return [i for i, p in enumerate(self.patches) if any(c.path == path for c in p.changes)]

    def blobs(self):
        """{path: set of every blob id that the path has within the series}."""
        known = {}
        for change in self._changes():
            if change.new:
                known.setdefault(change.path, set()).add(change.new)
        return known

    def _changes(self):
        return (c for p in self.patches for c in p.changes)


def names(folder=None):
    """File names that the file `series` lists; comments and empty lines are skipped."""
    path = Path(folder or paths.PATCHES) / "series"
    if not path.exists():
        return []
    lines = (line.split("#", 1)[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def refuse_commits(repo, base, tip):
    """Raise WorkbenchError when base..tip has a merge or a commit of another author than the
    project."""
    log = git.run("log", "--format=%H %P%x09%an <%ae>%x09%s", f"{base}..{tip}", cwd=repo)
    for line in log.splitlines():
        ids, author, subject = line.split("\t", 2)
        if len(ids.split()) != 2:
            raise WorkbenchError(f"The commit \"{subject}\" is a merge. The series must be a "
                                 f"straight line: git -C {repo} rebase base")
        if author != AUTHOR:
            raise WorkbenchError(
                f"The commit \"{subject}\" has the author {author}. Stored patches carry "
                f"{AUTHOR}; who submits them signs them. If the change is the project's to "
                f"give: git -C {repo} rebase base "
                f"--exec \"git commit --amend --no-edit --author='{AUTHOR}'\"")


def format_topics(repo, base, ends):
    """Write the commits from base on as patches; returns {file name: text} in order.

    ends: [(name of a topic, its last commit)] in order. The result depends on nothing but the
    commits. Raises WorkbenchError as refuse_commits() does.
    """
    texts = {}
    if ends:
        refuse_commits(repo, base, ends[-1][1])
    for topic, end in ends:
        with git.temporary("format") as folder:
            git.run("format-patch", *FORMAT_OPTIONS, "-o", folder, f"{base}..{end}", cwd=repo,
                    config=FORMAT_CONFIG)
            for file in sorted(folder.glob("*.patch")):
                texts[f"{topic}/{file.name}"] = file.read_bytes().decode("utf-8",
                                                                         "surrogateescape")
        base = end
    return texts


def write(texts, folder=None):
    """Replace the stored patches by texts ({file name: text}, in order) and write the list.

    Files that are right already are left alone. Returns (written, removed) file names.
    """
    folder = Path(folder or paths.PATCHES)
    written = []
    for name, text in texts.items():
        data = text.encode("utf-8", "surrogateescape")
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = folder / (name + ".tmp")
            partial.write_bytes(data)
            partial.replace(path)
            written.append(name)
    removed = [name for name in files(folder) if name not in texts]
    for name in removed:
        (folder / name).unlink()
        with contextlib.suppress(OSError):      # it holds other files, or is patches/ itself
            (folder / name).parent.rmdir()
    (folder / "series").write_text("".join(f"{name}\n" for name in texts), encoding="utf-8")
    return written, removed


def files(folder=None):
    """Names of the patch files that there are, listed or not; those in no topic's folder too."""
    folder = Path(folder or paths.PATCHES)
    found = [*folder.glob("*.patch"), *folder.glob("*/*.patch")]
    return sorted(str(file.relative_to(folder)) for file in found)


def same(left, right, other_base=False):
    """Compare two {name: text}: "" when equal, "hunk headers" when only the function names that
    git shows after @@ differ (they depend on git's version), otherwise what differs.

    other_base: one of them is on another base, so places and blob ids do not count; the answer
    for equal ones may then be "hunk headers".
    """
    if left == right:
        return ""
    if list(left) != list(right):
        odd = sorted(set(left) ^ set(right))
        return "the lists of patches differ: " + (some(odd, 4) if odd else "the order")

    def plain(text):
        if other_base:
            text = re.sub(r"^index [0-9a-f]+\.\.[0-9a-f]+", "index", text, flags=re.M)
            return re.sub(r"^@@ -\S+ \+\S+ @@.*$", "@@", text, flags=re.M)
        return re.sub(r"^(@@ -\S+ \+\S+ @@).*$", r"\1", text, flags=re.M)
    wrong = [name for name in left if plain(left[name]) != plain(right[name])]
    if wrong:
        return "these patches differ: " + some(wrong, 4)
    return "hunk headers"


def copy_to(folder, series):
    """Write the patches of a Series below folder; returns their paths in order."""
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    for patch in series.patches:
        (folder / patch.topic).mkdir(parents=True, exist_ok=True)
        (folder / patch.name).write_bytes(patch.text.encode("utf-8", "surrogateescape"))
    return [folder / patch.name for patch in series.patches]
