# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user sees: steps, progress, warnings and errors."""

import contextlib
import errno
import os
import shutil
import signal
import sys
import time

HEARTBEAT = 30.0        # seconds: a long step says at least this often that it is alive


class WorkbenchError(Exception):
    """A failure whose text is complete for the user; shown without a traceback, exit status 1."""


def _write(text, end="\n"):
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(text + end)
        sys.stderr.flush()


def step(text):
    """Announce a step of the work. One line, on standard error."""
    Progress.clear()
    _write(f"==> {text}")


def info(text):
    """One line of detail below a step."""
    Progress.clear()
    _write(f"    {text}")


def warn(text):
    """Something is not as it should be, but the work goes on."""
    Progress.clear()
    _write(f"warning: {text}")


class Progress:
    """A status line: overwritten in place on a terminal, a line each HEARTBEAT seconds elsewhere.

    By hand because the one library for it (rich) is missing on most machines, and a status line
    is all that is needed. Use as a context manager; update() may be called as often as one likes.
    """

    _shown = False

    def __init__(self, label):
        self.label = label
        self.start = time.monotonic()
        self.last = self.start
        self.tty = sys.stderr.isatty()

    @classmethod
    def clear(cls):
        """Remove the status line, if one is shown."""
        if cls._shown:
            _write("\r\033[K", end="")
            cls._shown = False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.clear()

    def update(self, detail=""):
        """Show the label with detail; cheap when it is not time yet."""
        now = time.monotonic()
        if now - self.last < (0.1 if self.tty else HEARTBEAT):
            return
        self.last = now
        text = f"{self.label} {detail}".rstrip() + f" ({duration(now - self.start)})"
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            _write("\r\033[K" + f"    {text}"[:width], end="")
            Progress._shown = True
        else:
            _write(f"    {text}")


def some(names, most=10):
    """The list NAMES as text for people: at most MOST of them, and how many there are more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def duration(seconds):
    """Seconds as text for people: 12 s, 3 min 05 s."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min {seconds % 60:02} s"


def main(function):
    """Run a command's function; turn expected failures into messages and an exit status.

    Never returns. Status: what function returned (None is 0), 1 for WorkbenchError and for a
    full disk, 130 for an interrupt.
    """
    # A terminated command must clean up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(function() or 0)
    except WorkbenchError as e:
        Progress.clear()
        _write(f"error: {e}")
        sys.exit(1)
    except KeyboardInterrupt:
        Progress.clear()
        _write("interrupted; the next run goes on where this one stopped")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the output went away (| head): not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        Progress.clear()
        _write(f"error: The disk is full ({e}). Free some space and run the same command again; "
               "it goes on where it stopped.")
        sys.exit(1)
