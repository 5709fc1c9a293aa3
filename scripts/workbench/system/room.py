# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs in a private root (debroot.py), together in namespaces of their own.

What they write goes to a layer over the root, which ends with the room, as do all programs in it.
"""

import json
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

from ..ui.report import WorkbenchError
from . import namespaces, roominit, tools
from .process import Process

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
START = 60          # seconds that the mounts may take on a machine that is busy
# Namespaces, as nsenter calls them, and their files. A process that unshares that of processes
# stays in its own; only its children are in the new one.
KINDS = {"user": "user", "mount": "mnt", "uts": "uts", "ipc": "ipc", "net": "net",
         "pid": "pid_for_children"}


def _user():
    """The kind of namespace that rooms have unless their maker is root."""
    return () if os.geteuid() == 0 else ("user",)


class Room:
    """Where programs run that see the folder ROOT as "/". Use it in a with statement, or close().

    FOLDERS are paths of this machine, files too, that are there under the same path; or pairs (path
    of this machine, path there). WRITES is a folder for what is written, which then outlives the
    room; by default it is kept in memory. NAME is the host's name in the room. Its network has
    nothing but a loopback interface; NETWORK True is that of this machine, and another Room shares
    its own.

    Must be made from the main thread. Raises WorkbenchError when this machine does not allow it.
    """

    def __init__(self, root, folders=(), writes=None, name="room", network=False):
        self.root = Path(root)
        self.name = name
        own = ("--mount", "--pid", "--uts", "--ipc")
        if isinstance(network, Room):
            # The network belongs to the user namespace of the other room, if that has one.
            prefix = ["nsenter", *network.enter(*_user(), "net"), "unshare", *own]
        else:
            prefix = namespaces.prefix(*own, *(() if network else ("--net",)))
        mine, other = socket.socketpair()
        self._life = mine
        settings = {"root": str(self.root), "name": name, "writes": writes and str(writes),
                    "folders": [[str(path) for path in (pair if isinstance(pair, tuple)
                                                        else (pair, pair))] for pair in folders],
                    "loopback": not network, "resolver": network is True}
        with other:
            self.process = Process(
                [*prefix, "--fork", "--kill-child", "--propagation", "private", tools.PYTHON, "-I",
                 roominit.__file__, str(other.fileno()), json.dumps(settings)],
                pass_fds=(other.fileno(),))
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    def _wait_ready(self):
        said = b""
        while select.select([self._life], [], [], START)[0]:
            data = self._life.recv(4096)
            said += data
            if said == roominit.READY:
                return
            if not data:
                break
        self.process.wait(1)
        raise WorkbenchError(f"The root {self.root} cannot be entered: "
                             f"{said.decode(errors='replace')}{self.process.errors()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End all that runs there; harmless if it was done."""
        # The first process ends with this, and the kernel ends the others.
        self._life.close()
        if self.process.wait(10) is None:
            self.process.kill()

    # --- running programs -----------------------------------------------------------------------

    def enter(self, *kinds):
        """Options of nsenter for the namespaces KINDS of the room."""
        return [f"--{kind}=/proc/{self.process.pid}/ns/{KINDS[kind]}" for kind in kinds]

    def command(self, words, environment=None):
        """WORDS, a program and its arguments, as a command of this machine that runs it there.

        ENVIRONMENT adds to ENVIRONMENT of this module; nothing else is inherited.
        """
        kinds = [kind for kind in KINDS if kind != "user"]
        variables = {**ENVIRONMENT, **(environment or {})}
        return ["nsenter", *self.enter(*_user(), *kinds), "/usr/sbin/chroot", str(self.root),
                "/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items()),
                *(str(word) for word in words)]

    def run(self, words, seconds=60, environment=None, text=""):
        """Run a program there with TEXT as its input; returns (exit status, output and errors).

        It is ended after SECONDS; the status is then None.
        """
        with subprocess.Popen(self.command(words, environment), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", start_new_session=True) as child:
            try:
                output, _ = child.communicate(text, seconds)
                status = child.returncode
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                output, _ = child.communicate()
                status = None
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                raise
        return status, output.strip()

    def check(self, words, seconds=60, environment=None, text=""):
        """As run(); returns the output. Raises WorkbenchError if the exit status is not 0."""
        status, output = self.run(words, seconds, environment, text)
        if status != 0:
            how = f"exit status {status}" if status is not None else f"no end after {seconds} s"
            raise WorkbenchError(f"{' '.join(map(str, words))} in {self.root.name}: {how}\n"
                                 + output)
        return output

    def start(self, words, environment=None):
        """Start a program there, for instance a daemon that stays in the foreground.

        Returns a Process. Its kill() may leave what the program has started; close() does not.
        """
        return Process(self.command(words, environment))

    def path(self, inside):
        """The path by which this program can open the file INSIDE, a path in the room."""
        return Path(f"/proc/{self.process.pid}/root{self.root}") / str(inside).lstrip("/")
