# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a guest's QEMU runs: on this machine, or on the emulated Arm host of lab/lab.py.

A place knows the files that a QEMU there can open, starts it, and connects its console and its
monitor with this program. LOCAL is this machine. Another place has the same methods, and its
start() returns an object with the same attributes as Started.
"""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from ..system.process import Process


class Started:
    """A QEMU that runs on this machine.

    process is a Process, folder holds its sockets, monitor is what QEMUMonitorProtocol connects
    to.
    """

    def __init__(self, command, log, detached):
        # Socket paths are limited to 107 bytes, which a path below build/ may exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="virt-hotplug-"))
        self.monitor = str(self.folder / "qmp")
        listeners = [_listener(self.folder / "console"), _listener(self.monitor)]
        # Connected before QEMU starts, so that it has the console from its first moment on.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(self.folder / "console"))
            console, qmp = (listener.fileno() for listener in listeners)
            log = str(log).replace(",", ",,")
            self.process = Process(command + [
                "-chardev", f"socket,id=console,fd={console},server=on,wait=off,logfile={log}",
                "-chardev", f"socket,id=qmp,fd={qmp},server=on,wait=off"],
                pass_fds=(console, qmp), detached=detached)
        except BaseException:
            self._socket.close()
            self.clean()
            raise
        finally:
            for listener in listeners:
                listener.close()

    def console(self, _seconds):
        """The socket of the console."""
        return self._socket

    def clean(self):
        """Remove what is left when the process has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Local:
    """This machine."""

    # QEMU writes the console's log itself.
    writes_log = True

    @staticmethod
    def file(path):
        """The path by which a QEMU there can read the file PATH of this machine."""
        return path

    @staticmethod
    def folder():
        """Make a temporary folder there and return its path. Short: sockets may be in it."""
        return Path(tempfile.mkdtemp(prefix="virt-hotplug-test-"))

    @staticmethod
    def remove(folder):
        """Remove what folder() made."""
        shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def run(words, seconds=60):
        """Run a program there; returns (exit status, output and errors)."""
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=seconds, check=False)
        return done.returncode, done.stdout.strip()

    @staticmethod
    def start(command, log, detached=False):
        """Start the QEMU COMMAND, which uses the chardevs "console" and "qmp"; returns Started.

        LOG is the path of the console's log.
        """
        return Started(command, log, detached)

    @staticmethod
    def describe():
        """What is to be said of the place in a message about a failure; may be empty."""
        return ""


def _listener(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    return listener


LOCAL = Local()
