# SPDX-License-Identifier: GPL-2.0-or-later
"""Other releases of QEMU as commits of build/qemu, to merge the series with."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..ui.report import step
from . import git, source, tree

# One commit without parents for each release, so that it is unpacked once.
REFS = "refs/workbench/releases"


@dataclass
class Release:
    """A release in build/qemu. name, sha256: of its tarball, None if it was a tree."""

    version: str
    commit: str
    name: str | None
    sha256: str | None


def obtain(wanted, network=True):
    """Have a release as a commit. wanted: see source.release(). Returns Release.

    Needs build/qemu. Raises WorkbenchError.
    """
    known = list(_known())
    if source.is_version(wanted):
        found = [r for r in known if r.version == wanted]
    else:
        path = Path(wanted).expanduser()
        sha256 = source.sha256_of(path) if path.is_file() else None
        found = [r for r in known if sha256 and r.sha256 == sha256]
    if found:
        return found[0]
    with git.temporary("release") as folder:
        base = source.release(folder / "qemu", wanted, network)
        name = os.path.basename(base.origin) if base.sha256 else None
        step(f"Adding QEMU {base.version} to build/qemu")
        commit = tree.commit_tree(base.tree, f"QEMU {base.version}\n\n{name}\n{base.sha256}")
    git.run("update-ref", f"{REFS}/{base.version}", commit)
    return Release(base.version, commit, name, base.sha256)


def _known():
    """Every release that is in build/qemu."""
    out = git.run("for-each-ref", "--format=%(objectname)%09%(contents)%00", REFS)
    for entry in out.split("\0"):
        match = re.match(r"\s*(\w{40})\tQEMU (\S+)\n\n(\S+)\n(\S+)", entry)
        if match:
            commit, version, name, sha256 = match.groups()
            yield Release(version, commit, *(None if word == "None" else word
                                             for word in (name, sha256)))
