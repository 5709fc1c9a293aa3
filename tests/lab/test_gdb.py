#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 suite=kvm parallel
"""CPUs come and go while a debugger is attached to a guest with KVM."""

import socket

import labcase
from gdbcases import DebuggerCases
from guestcase import long_only
from sharedcase import SharedCase
from workbench.guest.qemu import FACTOR
from workbench.lab.lab import HERE


class Debugger(DebuggerCases, SharedCase):
    """The cases of gdbcases.py, on one guest."""

    options = {"smp": "2,maxcpus=8"}

    test_list_ends_at_cpu_that_goes = long_only(DebuggerCases.test_list_ends_at_cpu_that_goes)

    def boot_with_gdbstub(self):
        return *self.shared(), None

    def connect(self, guest, where):
        """Have QEMU connect to this program, as it does for the console."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(20 * FACTOR)
            self.disconnect(guest)
            guest.qmp("chardev-add", {"id": "gdb", "backend": {"type": "socket", "data": {
                "addr": {"type": "inet", "data": {
                    "host": "127.0.0.1" if labcase.native() else HERE,
                    "port": str(listener.getsockname()[1])}},
                "server": False, "nodelay": True}}})
            self.addCleanup(self.disconnect, guest)
            self.assertEqual(guest.hmp("gdbserver chardev:gdb").replace("\r", ""),
                             "Waiting for gdb connection on device 'chardev:gdb'\n")
            return listener.accept()[0]

    def disconnect(self, guest):
        """Take the gdbstub away, if there is one."""
        guest.hmp("gdbserver none")
        if any(device["label"] == "gdb" for device in guest.qmp("query-chardev")):
            guest.qmp("chardev-remove", {"id": "gdb"})


if __name__ == "__main__":
    labcase.main()
