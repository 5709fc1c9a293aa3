# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the series applies as it is to an unpacked tree that is no git repository yet."""

import shutil
from pathlib import Path

from . import git, threeway


def differing(tree, series):
    """Paths below the folder tree that are not as in the release that the series starts from."""
    found = []
    for path, blob in series.preimages().items():
        file = Path(tree) / path
        if not file.is_file() or git.blob_id(file.read_bytes()) != blob:
            found.append(path)
    return tuple(found + sorted(p for p in series.absent() if (Path(tree) / p).exists()))


def problem(tree, series):
    """Why the patches do not apply to the folder tree, without fuzz and without a merge; None
    if all of them do."""
    differs = differing(tree, series)
    with git.temporary("fit") as repo:
        for path in series.touched():
            if (Path(tree) / path).is_file():
                (repo / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(tree) / path, repo / path)
        git.run("init", "-q", cwd=repo)
        git.run("add", "-Af", cwd=repo)
        with threeway.opened(repo) as trees:
            current = git.run("write-tree", cwd=repo).strip()
            for patch in series.patches:
                current = trees.apply(current, patch.text)
                if current is None:
                    odd = [c.path for c in patch.changes if c.path in differs]
                    return (f"the patch {patch.name} does not apply; "
                            + ", ".join(_how(Path(tree), path, series) for path in odd))
    return None


def _how(tree, path, series):
    if path in series.absent():
        return f"{path} exists"
    return f"{path} differs" if (tree / path).is_file() else f"{path} is missing"
