# SPDX-License-Identifier: GPL-2.0-or-later
"""Being root as far as mounts and the files of a private root are concerned.

Root can do that. Others need a user namespace, in which they are root, with enough users that files
can belong to others than themselves.
"""

import functools
import os
import shutil
import subprocess

from ..ui.report import WorkbenchError

USER = ("--user", "--map-root-user", "--map-auto")


@functools.lru_cache(maxsize=None)
def _problem(*more):
    """What unshare says when it cannot make the namespaces; empty if it can."""
    if not shutil.which("unshare"):
        return "there is no unshare (package util-linux)"
    done = subprocess.run(["unshare", *_user(), *more, "true"], capture_output=True, text=True,
                          check=False)
    return done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else ""


def _user():
    return () if os.geteuid() == 0 else USER


def prefix(*more):
    """Words before a command that run it as root in a sense, in further namespaces MORE.

    MORE are options of unshare, such as --mount; empty for root without any. Raises WorkbenchError,
    with what would work, when this machine does not allow it.
    """
    problem = _problem("--mount", *more)
    if problem:
        raise WorkbenchError(
            f"A private root needs mounts of its own, which this user cannot make: {problem}. What "
            "works: run the same command as root; or give the user a range of further ids in "
            "/etc/subuid and /etc/subgid, install newuidmap (Debian: uidmap, Fedora: "
            "shadow-utils), and have kernel.unprivileged_userns_clone, where it exists, at 1. In a "
            "container: one with the right to mount (CAP_SYS_ADMIN).")
    words = (*_user(), *more)
    return ["unshare", *words] if words else []
