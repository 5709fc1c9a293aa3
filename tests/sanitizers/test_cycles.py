#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=asan timeout=900 sanitizers=tsan parallel
"""CPUs come and go 300 times in one guest while a sanitizer looks on.

Memory is no measure here: AddressSanitizer keeps what was freed for a while. What is not freed at
all, it reports when QEMU ends.
"""

import itertools
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from cyclecases import CycleCases  # noqa: E402

CYCLES = 300
WARM_UP = 10


class Cycles(CycleCases, guestcase.GuestCase):

    def test_300(self):
        """Threads and file descriptors do not grow."""
        guest, cpus = self.boot(self.config(smp="1,maxcpus=4", memory="256M"))
        devices = {number: cpus.arguments(number) for number in (1, 2, 3)}
        threads = guest.process.threads()
        before = None
        for lap, number in enumerate(itertools.islice(itertools.cycle(devices), CYCLES)):
            if lap == WARM_UP:
                before = self.usage(guest, threads)
            self.cycle(guest, cpus, (number, devices[number]))
        _, threads, descriptors = self.usage(guest, threads)
        self.assertEqual(threads, before[1], f"threads of QEMU after {WARM_UP} and {CYCLES} cycles")
        # With its first report QEMU opens a log, and pipes to a program that finds the names.
        self.assertLess(descriptors, before[2] + 10, "file descriptors of QEMU after "
                        f"{WARM_UP} and {CYCLES} cycles")
        cpus.wait_view("all CPUs gone", enabled={0}, online={0})
        self.assert_cpus(cpus, {0})
        self.assert_sound(guest)


if __name__ == "__main__":
    guestcase.main()
