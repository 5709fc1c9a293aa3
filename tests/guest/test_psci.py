#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""PSCI calls and register accesses by a guest that was written for that."""

import socket
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import pscicases  # noqa: E402
from pscimonitor import SUCCESS  # noqa: E402


class Calls(pscicases.CallCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


class Debug(pscicases.DebugCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG, which keeps such points in lists of QEMU."""


class Semihosting(pscicases.PsciCase, guestcase.GuestCase):

    def sleeps(self, guest, number):
        """True if the thread of CPU NUMBER, which otherwise never rests, is not seen to run."""
        thread, = [cpu["thread-id"] for cpu in guest.qmp("query-cpus-fast")
                   if cpu["cpu-index"] == number]
        stat = Path(f"/proc/{thread}/stat")
        return all(stat.read_text(encoding="utf-8").rpartition(") ")[2][0] == "S"
                   for _ in range(50))

    def test_input(self):
        """A CPU that waits for input of the console is ejected before there is any."""
        path = self.folder() / "console"
        guest, cpus, monitor = self.monitor(
            "-chardev", f"socket,id=semihosting,path={path},server=on,wait=off",
            "-semihosting-config", "enable=on,target=native,chardev=semihosting")
        self.assertEqual(monitor.start(1), SUCCESS)
        guest.wait_for(lambda: monitor.entries(1), "CPU 1 runs")
        monitor.on(1, "key")
        guest.wait_for(lambda: self.sleeps(guest, 1), "CPU 1 waits")
        self.remove(guest, cpus, monitor, 1)
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(str(path))
            console.sendall(b"a")
            self.assertEqual(monitor.ask("key"), ord("a"))
            # Nor does another CPU in its slot wait.
            cpus.add(1)
            self.assertEqual(monitor.start(1), SUCCESS)
            monitor.wait_runs(1)


class Off(pscicases.OffCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


class Hostile(pscicases.HostileCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


if __name__ == "__main__":
    guestcase.main()
