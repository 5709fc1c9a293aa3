#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""CPUs come under load, are used, and all go under load."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from burden import burden, relieve, wait_used  # noqa: E402

LAPS = 12 if guestcase.LONG else 2
ADDED = (2, 3, 4, 5)


class Load(guestcase.GuestCase):

    def test_all_go(self):
        """Each CPU that came computes, and writes to memory; then all are asked back at once."""
        guest, cpus = self.boot()
        # On the CPUs of the start, and on all as soon as they are there.
        burden(guest, (0, 1))
        for _ in range(LAPS):
            for number in ADDED:
                cpus.add(number)
            for number in ADDED:
                cpus.wait_enabled(number, 60)
                cpus.bring_online(number)
            self.assert_cpus(cpus, {0, 1, *ADDED})
            burden(guest, ADDED)
            wait_used(guest, ADDED, 60)
            for handle in [cpus.delete(number) for number in ADDED]:
                guest.event("DEVICE_DELETED", 60, device=handle)
            cpus.wait_view("all that came are gone", seconds=60, enabled={0, 1}, online={0, 1})
            # The programs go on, on the CPUs that are left.
            relieve(guest, ADDED)
            guest.events()
        relieve(guest, (0, 1))
        guest.check("wait", 60)
        cpus.plug(7)
        self.assert_cpus(cpus, {0, 1, 7})
        self.assert_sound(guest)


if __name__ == "__main__":
    guestcase.main()
