# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and folders that are there whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


@contextlib.contextmanager
def new_folder(folder):
    """Yield a temporary folder that becomes FOLDER at the end: half a folder never counts."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        yield new
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def holds(path, text):
    """True if the file PATH is there and has exactly TEXT, as a stamp of what was made of that."""
    return path.exists() and path.read_text(encoding="utf-8") == text


@contextlib.contextmanager
def new_file(path):
    """Yield the path of a file that becomes PATH at the end: half a file never counts.

    It is to be written meanwhile. Its folder is made if needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".new-{os.getpid()}-{path.name}")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_if_changed(path, data):
    """Have the bytes DATA in the file PATH, which is returned; never half of them."""
    if not path.exists() or path.read_bytes() != data:
        with new_file(path) as new:
            new.write_bytes(data)
    return path
