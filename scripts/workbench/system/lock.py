# SPDX-License-Identifier: GPL-2.0-or-later
"""One process at a time: a file that a process holds a lock on."""

import contextlib
import fcntl

from ..ui.report import info


@contextlib.contextmanager
def held(path, waiting):
    """Hold the lock of the file path, which is made if needed, but not its folder.

    waiting: shown when another process has the lock, before this one waits for it. The lock ends
    with the process, however that ends.
    """
    with open(path, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            info(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
