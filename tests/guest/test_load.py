#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""CPUs come under load, are used, and all go under load."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402

LAPS = 12 if guestcase.LONG else 2
ADDED = (2, 3, 4, 5)


class Load(guestcase.GuestCase):

    def test_all_go(self):
        """Each CPU that came computes, and writes to memory; then all are asked back at once."""
        guest, cpus = self.boot()
        # On the CPUs of the start, and on all as soon as they are there.
        self.burden(guest, (0, 1))
        for _ in range(LAPS):
            for number in ADDED:
                cpus.add(number)
            for number in ADDED:
                cpus.wait_enabled(number, 60)
                cpus.bring_online(number)
            self.assert_cpus(cpus, {0, 1, *ADDED})
            before = self.used(guest)
            self.burden(guest, ADDED)
            guest.wait_for(lambda: all(ticks > before[number] + 10 for number, ticks
                                       in self.used(guest).items() if number in ADDED),
                           lambda: f"each of {ADDED} to be used; before: {before}, now: "
                           f"{self.used(guest)}", 60)
            for handle in [cpus.delete(number) for number in ADDED]:
                guest.event("DEVICE_DELETED", 60, device=handle)
            cpus.wait_view("all that came are gone", seconds=60, enabled={0, 1}, online={0, 1})
            # The programs go on, on the CPUs that are left.
            self.relieve(guest, ADDED)
            guest.events()
        self.relieve(guest, (0, 1))
        guest.check("wait", 60)
        cpus.plug(7)
        self.assert_cpus(cpus, {0, 1, 7})
        self.assert_sound(guest)

    def burden(self, guest, numbers):
        """Start two programs on each of the CPUs NUMBERS, and bind them to it."""
        for number in numbers:
            guest.check(
                f"taskset -c {number} sh -c 'while :; do :; done' & echo $! > /tmp/busy{number}\n"
                f"taskset -c {number} sh -c 'while :; do dd if=/dev/zero of=/tmp/written{number} "
                "bs=64k count=64 2> /dev/null; done' & "
                f"echo $! > /tmp/writer{number}")

    def relieve(self, guest, numbers):
        """End these programs, all of which must still be there."""
        for number in numbers:
            guest.check(f"kill $(cat /tmp/busy{number}) && kill $(cat /tmp/writer{number})")

    def used(self, guest):
        """{CPU: ticks that it has spent in programs} of all that are online."""
        return {int(line.split()[0][3:]): int(line.split()[1]) + int(line.split()[3])
                for line in guest.check("grep '^cpu[0-9]' /proc/stat").splitlines()}


if __name__ == "__main__":
    guestcase.main()
