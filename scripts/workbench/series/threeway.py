# SPDX-License-Identifier: GPL-2.0-or-later
"""Patches and three-way merges on trees of a git repository, without a work tree.

A tree is the id of a git tree. Nothing but objects is written to the repository.
"""

import contextlib
from dataclasses import dataclass, field

from . import git

# A file that a patch adds stays where the patch puts it, whatever upstream moved.
CONFIG = {"merge.directoryRenames": "false"}


@dataclass
class Merge:
    """Result of a merge. conflicts: {path: what kind}; tree is usable if there are none.

    stages: {path: {stage: (mode, blob)}} of the paths in conflict, as in git's index.
    """

    tree: str
    conflicts: dict = field(default_factory=dict)
    stages: dict = field(default_factory=dict)


class Trees:
    """Operations on trees. Make one with opened()."""

    def __init__(self, folder, repo=None):
        self._folder = folder
        self._repo = repo
        self._index = None      # the tree that the index holds
        self._env = {"GIT_INDEX_FILE": str(folder / "index")}

    def apply(self, tree, text, reverse=False):
        """The tree after a patch (its text), or None if it does not apply as it is, without
        fuzz and without a merge. reverse: take the patch back."""
        self._read(tree)
        done = self._git("apply", "--cached", "--whitespace=nowarn",
                         *(["--reverse"] if reverse else []), "-", env=self._env, data=text,
                         check=False)
        if done is None:
            return None
        return self._written()

    def merge(self, base, ours, theirs):
        """Bring what changed from base to theirs into ours; returns Merge."""
        if theirs == ours:
            return Merge(ours)
        # Until git 2.40, merge-tree finds the base by history alone, so it is given one.
        start = self._commit(base)
        out = self._git("merge-tree", "--write-tree", "-z", "--messages",
                        self._commit(ours, start), self._commit(theirs, start), config=CONFIG,
                        statuses=(0, 1))
        listing, _, messages = out.rstrip("\0").partition("\0\0")
        tree, *entries = listing.split("\0")
        merged = Merge(tree)
        for entry in entries:
            meta, path = entry.split("\t", 1)
            mode, blob, stage = meta.split()
            merged.stages.setdefault(path, {})[int(stage)] = (mode, blob)
        words = _kinds(messages)
        merged.conflicts = {path: words.get(path, "conflict") for path in merged.stages}
        return merged

    def settled(self, merged):
        """The tree of a merge in which theirs wins wherever there is a conflict."""
        self._read(merged.tree)
        lines = []
        for path, stages in merged.stages.items():
            lines.append(f"0 {'0' * 40}\t{path}")
            if 3 in stages:
                mode, blob = stages[3]
                lines.append(f"{mode} {self._content(stages) or blob}\t{path}")
        self._git("update-index", "-z", "--index-info", env=self._env,
                  data="".join(line + "\0" for line in lines))
        return self._written()

    def _content(self, stages):
        """Blob of a file whose conflicting parts are theirs, None if it has no such parts."""
        if set(stages) != {1, 2, 3}:
            return None
        files = []
        for stage in (2, 1, 3):
            file = self._folder / f"stage{stage}"
            file.write_bytes(self._git("cat-file", "blob", stages[stage][1], binary=True))
            files.append(file)
        out = self._git("merge-file", "-p", "--theirs", *files, binary=True, check=False)
        if out is None:         # binary files
            return None
        return self._git("hash-object", "-w", "--stdin", data=out).strip()

    def _git(self, *args, **kwargs):
        return git.run(*args, cwd=self._repo, **kwargs)

    def _commit(self, tree, *parents):
        words = [word for parent in parents for word in ("-p", parent)]
        return self._git("commit-tree", "-m", "x", *words, tree).strip()

    def _read(self, tree):
        """Have a tree in the index."""
        if tree != self._index:
            self._git("read-tree", tree, env=self._env)
            self._index = tree

    def _written(self):
        self._index = self._git("write-tree", env=self._env).strip()
        return self._index


@contextlib.contextmanager
def opened(repo=None):
    """Trees of a repository (default: build/qemu), for the length of a with statement."""
    with git.temporary("threeway") as folder:
        yield Trees(folder, repo)


def _kinds(messages):
    """{path: kind of conflict} of the messages of merge-tree -z: for each one the number of
    paths, the paths, a type and a text."""
    found = {}
    words = messages.split("\0")
    while len(words) > 3 and words[0].isdigit():
        count = int(words[0])
        affected, kind = words[1:count + 1], words[count + 1]
        words = words[count + 3:]
        if kind.startswith("CONFLICT"):
            for path in affected:
                found.setdefault(path, kind.partition("(")[2].rstrip(")") or "conflict")
    return found
