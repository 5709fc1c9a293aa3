#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Plugs at which something goes wrong, or at a bad moment."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from cyclecases import single_arena  # noqa: E402
from faultcases import FaultCases  # noqa: E402
from workcases import WorkCases  # noqa: E402

single_arena()


class Fault(FaultCases, guestcase.GuestCase):
    """device_add fails late; the guest goes on, and the next try works."""

    def test_thread(self):
        self.check_fault("pthread_create", 1, "^Cannot create the thread 'CPU 1/TCG': Resource "
                         "temporarily unavailable$")

    def test_mmap(self):
        """TCG maps nothing for a CPU, and it needs nothing else that can fail: a thread is all."""
        self.check_fault("mmap", 0, "")

    def test_leak(self):
        self.check_leak("pthread_create")


class Work(WorkCases, guestcase.GuestCase):
    """Work is queued for a CPU while it is removed."""

    def test_migration(self):
        """TCG has each CPU end what it is at when dirty pages have been collected."""
        self.check_migration("dirty-bitmap")


if __name__ == "__main__":
    guestcase.main()
