# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run of the tests has left behind: processes, temporary files, changes in the repository."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from ..system import paths, polling
from . import reaper

PATIENCE = 10               # seconds that a process may need to end after the one that started it


def _parents():
    """{process id: (id of its parent, state)} of all processes."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The name of the program, in parentheses, may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            found[int(folder.name)] = (int(fields[1]), fields[0])
    return found


def descendants():
    """The ids of the processes that this one has started, directly or not, and that still run."""
    parents = _parents()
    mine, more = set(), {os.getpid()}
    while more:
        more = {pid for pid, (parent, _) in parents.items() if parent in more} - mine
        mine |= more
    return sorted(pid for pid in mine if parents[pid][1] not in "ZX")


def _command(pid):
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return " ".join(word.decode(errors="replace") for word in words).strip()[:200]
    return "?"


def _changes(top):
    """What git says of the repository's files; empty where this is no repository."""
    done = subprocess.run(["git", "-C", str(top), "status", "--porcelain"], capture_output=True,
                          text=True, check=False)
    return done.stdout.splitlines()


class Watch:
    """Around a run, in a with statement; then found lists what is left, each as a text.

    env is for the environment of the run. Processes that are left are ended, files removed.
    """

    def __init__(self, top=paths.TOP, patience=PATIENCE):
        self.found = []
        self.env = {}
        self._top = top
        self._patience = patience

    def __enter__(self):
        # Those whose parent has ended then become children of this process and are not lost.
        reaper.adopt()
        self._before = descendants()
        self._changes = _changes(self._top)
        # Short, for paths of sockets; libvirt's user looks for its folder in it.
        self._folder = Path(tempfile.mkdtemp(prefix="vh-"))
        self._folder.chmod(0o755)
        self.env["TMPDIR"] = str(self._folder)
        return self

    def __exit__(self, *_):
        def left():
            return [pid for pid in descendants() if pid not in self._before]

        polling.until(lambda: not left(), self._patience, 0.1)
        # Named before the first is killed: others may end with it.
        for pid, command in [(pid, _command(pid)) for pid in left()]:
            self.found.append(f"process {pid} still runs: {command}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.found += [f"temporary file {path.name}" for path in sorted(self._folder.iterdir())]
        shutil.rmtree(self._folder, ignore_errors=True)
        self.found += [f"change in the repository: {line}" for line in _changes(self._top)
                       if line not in self._changes]
        reaper.adopt(False)
