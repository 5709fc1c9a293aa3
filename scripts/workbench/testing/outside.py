# SPDX-License-Identifier: GPL-2.0-or-later
"""The sources of test suites that others wrote: looked for on this machine, and unpacked.

They are not downloaded: their projects publish no archive that stays the same. Git makes one:
git archive --prefix=NAME/ -o NAME.tar.xz HEAD
"""

import os
import re
from pathlib import Path

from ..series.source import sha256_of
from ..system import atomic, lock, paths
from ..system.programs import run
from ..ui.report import WorkbenchError, step

VARIABLE = "OUTSIDE_SOURCES"
# sha256 of the tarballs that docs/outside-tests.md has the results of. Others are taken as well.
KNOWN = {
    "kvm-unit-tests": "6615d20f94501597208aa72bc92430f62a127ae5dd77ee0edfcbbded2c293563",
    "ltp": "3eff29c42bd9a69e1ac1b5df992772eed69c17484203f33d48c0ee3da5b9fc95",
}
_NO_SOURCE = (".part", ".broken", ".asc", ".sig", ".sha256")


class Missing(WorkbenchError):
    """There is no tarball; the text says where it was looked for."""


def _places():
    """The folders in which tarballs are looked for, in this order."""
    if given := os.environ.get(VARIABLE):
        yield Path(given).expanduser().absolute()
    if given := os.environ.get("QEMU_BASE_SOURCE"):
        base = Path(given).expanduser().absolute()
        # A tarball, or a folder; a source tree of QEMU has none of others.
        yield base if base.is_dir() else base.parent
    yield paths.CACHE
    yield paths.USER_CACHE


def tarball(name):
    """The path of the tarball of NAME, one of KNOWN; the first place that has one decides.

    Its file is called NAME.tar.xz or the like, or NAME-VERSION.tar.xz. Raises Missing.
    """
    pattern = re.compile(re.escape(name) + r"([-_].*)?\.tar\.\w+")
    looked = list(dict.fromkeys(_places()))
    for folder in looked:
        found = sorted(path for path in folder.glob(f"{name}*") if path.is_file()
                       and pattern.fullmatch(path.name) and path.suffix not in _NO_SOURCE)
        if found:
            return found[-1]
    raise Missing(f"there is no tarball of {name} ({name}.tar.xz or {name}-VERSION.tar.xz). Looked "
                  f"for in: {', '.join(map(str, looked))}. Give the folder that has it with "
                  f"{VARIABLE}=PATH.")


def complete():
    """True when there are tarballs of all that is known."""
    try:
        return all([tarball(name) for name in KNOWN])
    except Missing:
        return False


def stamp(name):
    """What tells the source of NAME from others, as a line of text. Raises Missing."""
    path = tarball(name)
    return f"{path.name} {sha256_of(path)}\n"


def note(name):
    """What is to be said of the source of NAME; empty when it is the known one. Raises Missing."""
    file, digest = stamp(name).split()
    if digest == KNOWN[name]:
        return ""
    return (f"{file} (sha256 {digest[:12]}…) is not the {name} that docs/outside-tests.md has the "
            "results of")


def source(name):
    """Have the source of NAME below build/outside; returns its folder.

    It is unpacked once for each tarball. Raises Missing, or WorkbenchError for one that is broken.
    """
    folder = paths.OUTSIDE / name / "source"
    known = folder / ".workbench-stamp"
    wanted = stamp(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock.held(folder.parent / "lock", f"waiting for another run to unpack {name}"):
        if atomic.holds(known, wanted):
            return folder
        path = tarball(name)
        step(f"Unpacking {path}")
        with atomic.new_folder(folder) as new:
            run(["tar", "--no-same-owner", "--no-same-permissions", "--strip-components=1", "-C",
                 new, "-xf", path], what=f"Unpacking {path.name}",
                log=paths.LOGS / f"unpack-{name}.log",
                remedy=f"If {path} is broken, replace it.")
            (new / known.name).write_text(wanted, encoding="utf-8")
    return folder
