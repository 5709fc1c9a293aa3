#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""CPUs come and go while a debugger is attached."""

import socket
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from gdbcases import DebuggerCases  # noqa: E402


class Debugger(DebuggerCases, guestcase.GuestCase):
    """The cases of gdbcases.py with TCG."""

    def boot_with_gdbstub(self):
        path = self.folder() / "gdb"
        guest, cpus = self.boot(self.config(extra=["-gdb", f"unix:{path},server=on,wait=off"]))
        return guest, cpus, path

    def connect(self, guest, where):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(where))
        return connection


if __name__ == "__main__":
    guestcase.main()
