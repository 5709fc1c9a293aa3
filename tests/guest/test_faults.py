#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Plugs at which something goes wrong, or at a bad moment."""

import guestcase
from cyclecases import single_arena
from faultcases import FaultCases
from workcases import WorkCases

single_arena()


class Fault(FaultCases, guestcase.GuestCase):
    """device_add fails late; the guest goes on, and the next try works."""

    def test_thread(self):
        self.check_fault("pthread_create", 1, "^Cannot create the thread 'CPU 1/TCG': Resource "
                         "temporarily unavailable$")

    def test_mmap(self):
        """TCG maps nothing for a CPU."""
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
