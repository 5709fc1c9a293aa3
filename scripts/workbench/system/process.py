# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU process that cannot outlive the program that started it."""

import atexit
import ctypes
import os
import signal
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_running = weakref.WeakSet()


def die_with_parent():
    """Have this process killed when the thread that started it ends; for preexec_fn."""
    # Python has no call for this; without it a killed test would leave its QEMU behind.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def running():
    """The processes that have not ended, and of which nobody knows how they will."""
    return [process for process in _running if process.status() is None]


@atexit.register
def _stop_all():
    for process in list(_running):
        process.kill()


def own_memory(rollup):
    """KiB of memory by the text ROLLUP of smaps_rollup.

    Without shared file pages, which come and go with the cache.
    """
    fields = {}
    for line in rollup.splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    return fields["Private_Dirty"] + fields.get("Swap", 0)


class Process:
    """A running program with its standard error kept.

    COMMAND is the argument list, PASS_FDS the file descriptors it inherits. With DETACHED the
    program goes on after Python ends. Must be started from the main thread: Linux counts the end
    of the starting thread as the parent's death. Raises OSError if it cannot be started.
    """

    def __init__(self, command, pass_fds=(), detached=False):
        if not detached and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{command[0]} must be started from the main thread")
        self.command = [str(word) for word in command]
        self._errors = tempfile.TemporaryFile(mode="w+", prefix="qemu-stderr-")
        self._popen = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self._errors, stderr=self._errors,
            pass_fds=pass_fds, start_new_session=True,
            preexec_fn=None if detached else die_with_parent)
        if not detached:
            _running.add(self)

    @property
    def pid(self):
        """Process id."""
        return self._popen.pid

    def status(self):
        """Exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait(self, seconds):
        """Wait for the end; return the exit status, None if it still runs after SECONDS."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def errors(self):
        """What it has written to standard output and standard error so far."""
        self._errors.flush()
        with open(f"/proc/self/fd/{self._errors.fileno()}", errors="replace") as copy:
            return copy.read().strip()

    def kill(self):
        """End it and whatever it started; harmless if it has ended."""
        if self._popen.poll() is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._popen.wait()
        _running.discard(self)

    def resident(self):
        """Resident memory in KiB that is its own."""
        return own_memory(Path(f"/proc/{self.pid}/smaps_rollup").read_text())

    def threads(self):
        """Number of threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def descriptors(self):
        """Number of open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))
