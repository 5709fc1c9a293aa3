# SPDX-License-Identifier: GPL-2.0-or-later
"""The inputs that are kept in the repository: few, small, and each of them there for a reason.

The targets read the same commands, so they share the inputs. A file is named for its SHA-1, as
libFuzzer does it.
"""

import hashlib

from ..system import paths
from ..system.atomic import write_if_changed
from ..ui.report import WorkbenchError

FOLDER = paths.TOP / "tests/fuzz/corpus"
MAX_INPUT = 2048        # bytes of one input, also for libFuzzer
MAX_FILES = 200
MAX_BYTES = 64 << 10    # of all inputs together


def read(folder):
    """The inputs in FOLDER, as a set of bytes. Raises WorkbenchError if there is no such folder."""
    if not folder.is_dir():
        raise WorkbenchError(f"{folder} is no folder. A corpus is a folder with one input in each "
                             f"file, for instance {FOLDER.relative_to(paths.TOP)}.")
    return {file.read_bytes() for file in folder.iterdir() if file.is_file()}


def choose(inputs):
    """Those of INPUTS, each bytes, that may be kept: the shortest, within the limits."""
    chosen, total = set(), 0
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        if len(data) > MAX_INPUT or total + len(data) > MAX_BYTES or len(chosen) == MAX_FILES:
            break
        chosen.add(data)
        total += len(data)
    return chosen


def write(folder, inputs):
    """Have the INPUTS in FOLDER and nothing else."""
    names = {hashlib.sha1(data, usedforsecurity=False).hexdigest(): data for data in inputs}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in names.items():
        write_if_changed(folder / name, data)
    for file in folder.iterdir():
        if file.is_file() and file.name not in names:
            file.unlink()
