# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a guest's QEMU runs: on this machine, or on the emulated Arm host of lab/lab.py.

A place knows the files that a QEMU there can open, starts it, and connects its channels (console,
monitor) with this program. LOCAL is this machine. Another place has the same methods, and its
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

    process is a Process, folder holds its sockets, one for each of CHANNELS.
    """

    def __init__(self, command, channels, log, detached):
        # Socket paths are limited to 107 bytes, which a path below build/ may exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="virt-hotplug-"))
        self._connections = {}
        listeners = {}
        words = []
        try:
            for channel in channels:
                listeners[channel] = _listener(self.folder / channel)
                # Connected before QEMU starts, so that nothing is lost from its first moment on.
                self._connections[channel] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._connections[channel].connect(str(self.folder / channel))
                words += ["-chardev", f"socket,id={channel},fd={listeners[channel].fileno()},"
                          "server=on,wait=off" + _log(channel, log)]
            self.process = Process(command + words, detached=detached, pass_fds=[
                listener.fileno() for listener in listeners.values()])
        except BaseException:
            self.clean()
            raise
        finally:
            for listener in listeners.values():
                listener.close()

    def connection(self, channel, _seconds):
        """The socket of CHANNEL, which is then the caller's to close."""
        return self._connections.pop(channel)

    def clean(self):
        """Remove what is left when the process has ended."""
        for connection in self._connections.values():
            connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _log(channel, log):
    return ",logfile=" + str(log).replace(",", ",,") if log and channel == "console" else ""


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
    def start(command, channels, log=None, detached=False):
        """Start the QEMU COMMAND, which uses chardevs with the names CHANNELS; returns a Started.

        LOG is the path of the log of the one called "console".
        """
        return Started(command, channels, log, detached)

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
