# SPDX-License-Identifier: GPL-2.0-or-later
"""The folders that commands write to, and replace what an earlier run has left there."""

import os

from ..ui.report import WorkbenchError


def refuse_others(folder, mine):
    """Raise WorkbenchError if FOLDER, which is to be replaced, is a file, or holds names for which
    the function MINE does not return true."""
    if folder.exists() and not folder.is_dir():
        raise WorkbenchError(f"{folder} is a file; name a folder with --output.")
    names = os.listdir(folder) if folder.exists() else ()
    others = sorted(name for name in names if not mine(name))
    if others:
        raise WorkbenchError(f"{folder} holds other files, for instance {others[0]}; name another "
                             "folder with --output.")
