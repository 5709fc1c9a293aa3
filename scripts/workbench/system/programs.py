# SPDX-License-Identifier: GPL-2.0-or-later
"""Running other programs that take long: a log, progress, and what to say when one fails."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ..ui.report import Progress, WorkbenchError
from . import paths


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
