# SPDX-License-Identifier: GPL-2.0-or-later
"""Running git so that only its arguments matter: no configuration of user or machine, no
environment, fixed identity."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ..system import paths
from ..ui.report import WorkbenchError

NAME = "qemu-virt-hotplug"
EMAIL = "noreply@qemu-virt-hotplug.invalid"
STALE = 24 * 3600       # seconds


def environment(**extra):
    """os.environ without any GIT_ variable, with git's configuration files switched off."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null",
               GIT_CONFIG_NOSYSTEM="1", GIT_ATTR_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0",
               GIT_EDITOR="true", GIT_SEQUENCE_EDITOR="true", GIT_PAGER="cat",
               GIT_AUTHOR_NAME=NAME, GIT_AUTHOR_EMAIL=EMAIL,
               GIT_COMMITTER_NAME=NAME, GIT_COMMITTER_EMAIL=EMAIL,
               LC_ALL="C.UTF-8", TZ="UTC")
    env.update(extra)
    return env


def run(*args, cwd=None, config=None, env=None, data=None, binary=False, check=True,
        statuses=(0,)):
    """Run git; returns its output (text, or bytes if binary), or None if it failed and check
    is false. cwd: default the QEMU repository. config: settings for this run. statuses: exit
    statuses that are no failure.
    Raises WorkbenchError with git's own words.
    """
    # The folder may belong to the user while root runs a test; attributes of a user could
    # convert files; hooks and background work have no business here.
    settings = {"safe.directory": "*", "core.attributesFile": "/dev/null",
                "core.autocrlf": "false", "core.hooksPath": "/dev/null", "gc.auto": "0",
                "maintenance.auto": "false", "advice.detachedHead": "false",
                "commit.gpgSign": "false", "am.threeWay": "false", **(config or {})}
    command = ["git"] + [w for k, v in settings.items() for w in ("-c", f"{k}={v}")]
    command += [str(a) for a in args]
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    cwd = cwd or paths.QEMU_SRC
    try:
        done = subprocess.run(command, cwd=cwd, env=environment(**(env or {})), input=data,
                              stdin=None if data is not None else subprocess.DEVNULL,
                              capture_output=True, check=False)
    except FileNotFoundError as e:
        if e.filename == "git":
            raise WorkbenchError("git is not installed. Install the package git.") from e
        raise WorkbenchError(f"{cwd} does not exist. Run: scripts/series setup") from e
    if done.returncode not in statuses:
        if not check:
            return None
        words = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise WorkbenchError(f"git {args[0]} failed in {cwd}:\n{words}")
    return done.stdout if binary else done.stdout.decode("utf-8", "surrogateescape")


def line(*args, **kwargs):
    """Like run(), for one line of output; None if git failed."""
    out = run(*args, check=False, **kwargs)
    return None if out is None else out.strip()


def blob_id(data):
    """git's id of a file content (bytes), without asking git."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextlib.contextmanager
def temporary(name):
    """A temporary folder below build/tmp, removed at the end."""
    paths.TMP.mkdir(parents=True, exist_ok=True)
    for left in paths.TMP.glob(f"{name}-*"):
        # Of a run that was killed.
        if time.time() - left.lstat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=paths.TMP))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
