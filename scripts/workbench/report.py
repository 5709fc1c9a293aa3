# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user sees: steps, progress, warnings and errors, and the running of other programs."""

import contextlib
import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import paths

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


def duration(seconds):
    """Seconds as text for people: 12 s, 3 min 05 s."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min {seconds % 60:02} s"


def tail(path, lines=25):
    """The last lines of a text file, as one string; empty when there is no file."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\r", "\n").splitlines()[-lines:])


def run(command, *, what, log=None, cwd=None, env=None, parse=None, check=True, remedy=""):
    """Run a long command with its output in a log file and progress on the terminal.

    command: list of arguments.  what: the step in words ("Building QEMU").
    log: path of the log (default: LOGS/<first word of command>.log), overwritten.
    parse: function from an output line to a progress detail, or None to ignore the line.
    remedy: what the user can do, added to the message of a failure.
    Returns the exit status. Raises WorkbenchError with the last lines of the log when the status
    is not 0 and check is true, and when the command does not exist. The command and its children
    are ended when this process is interrupted.
    """
    command = [str(c) for c in command]
    log = Path(log) if log else paths.LOGS / (Path(command[0]).name + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out, Progress(what) as progress:
        out.write(f"$ {shlex.join(command)}\n".encode())
        out.flush()
        try:
            child = subprocess.Popen(command, cwd=cwd, env=env, stdout=out,
                                     stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                     start_new_session=True)
        except FileNotFoundError as e:
            raise WorkbenchError(f"{what}: the command {e.filename} does not exist.") from e
        try:
            status = _follow(child, log, progress, parse)
        except BaseException:
            _end(child)
            raise
    if status and check:
        hint = full_disk_hint(log)
        raise WorkbenchError(
            f"{what} failed (exit status {status}). The last lines of {log}:\n\n{tail(log)}\n"
            + (f"\n{hint}" if hint else "") + (f"\n{remedy}" if remedy else ""))
    return status


def _follow(child, log, progress, parse):
    """Wait for child; feed complete new log lines to parse and show the newest detail."""
    detail = ""
    with open(log, "rb") as reader:
        rest = b""
        while True:
            status = child.poll()
            chunk = reader.read()
            if chunk and parse:
                *lines, rest = re.split(rb"[\r\n]", rest + chunk)
                for line in lines:
                    detail = parse(line.decode(errors="replace")) or detail
            if status is not None:
                return status
            progress.update(detail)
            time.sleep(0.05)


def _end(child):
    """End child and everything it started: it leads a session of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        try:
            child.wait(10)
            return
        except subprocess.TimeoutExpired:
            continue


def full_disk_hint(log):
    """A sentence about a full disk when the log's end speaks of one, otherwise ''."""
    if "No space left on device" in tail(log, 200):
        return ("The disk is full. Free some space (build/ may be deleted as a whole, and the "
                "next run goes on where this one stopped).")
    return ""


def need_space(folder, gib, purpose):
    """Raise WorkbenchError unless `gib` GiB are free where folder is (or will be)."""
    folder = Path(folder)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < gib:
        raise WorkbenchError(
            f"{purpose} needs about {gib:g} GiB, but only {free:.1f} GiB are free in {folder}. "
            "Free some space and run the same command again.")


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
