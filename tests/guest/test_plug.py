#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel sanitizers=asan,tsan
"""CPUs come and go in a running Linux guest."""

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from guestcase import DEVICE_CHECK, EJECT_REQUEST  # noqa: E402


class Plug(guestcase.GuestCase):

    def test_demo_steps(self):
        """Eight CPUs one by one, work on all, and back; each step seen by QEMU and the guest."""
        guest, cpus = self.boot()
        self.assertEqual(len(cpus.slots()), 8)
        self.assert_cpus(cpus, range(2))
        threads = guest.process.threads()
        for number in range(2, 8):
            cpus.plug(number)
            self.assert_cpus(cpus, range(number + 1))
            self.wait_status(guest, "CPU", number, DEVICE_CHECK)
        running = guest.qmp("query-cpus-fast")
        self.assertEqual(len({cpu["thread-id"] for cpu in running}), 8)
        self.assertEqual([cpu["qom-path"] for cpu in running if cpu["cpu-index"] == 5],
                         ["/machine/peripheral/cpu5"])
        cpus.work(range(8))
        for number in range(7, 1, -1):
            cpus.unplug(number)
            self.assert_cpus(cpus, range(number))
            self.wait_status(guest, "CPU", number, EJECT_REQUEST)
        guest.wait_threads(range(threads + 1))
        self.assertEqual(guest.run("dmesg | grep -E 'Oops|BUG|WARNING|rcu.*stall'")[1], "")

    def test_any_order(self):
        """Slots are filled and freed in any order, more often than there are slots."""
        guest, cpus = self.boot()
        order = random.Random(1)
        there = {0, 1}
        for _ in range(24):
            number = order.randrange(2, 8)
            if number in there:
                cpus.unplug(number)
                there.remove(number)
            else:
                cpus.plug(number, f"name-{order.randrange(10**6)}")
                there.add(number)
            self.assert_cpus(cpus, there)
        cpus.work(there)

    def test_cpus_of_smp(self):
        """Those of -smp go and come too, all but the boot CPU."""
        guest, cpus = self.boot(self.config(smp="4,maxcpus=6"))
        self.assert_cpus(cpus, range(4))
        self.assert_refused("boot", cpus.delete, 0)
        for number in (2, 1, 3):
            cpus.unplug(number)
        self.assert_cpus(cpus, {0})
        for number in (3, 1, 5, 2, 4):
            cpus.plug(number)
        self.assert_cpus(cpus, range(6))
        cpus.work(range(6))
        cpus.unplug(1)
        self.assert_cpus(cpus, {0, 2, 3, 4, 5})

    def test_before_boot(self):
        """A CPU added with -S is online at boot, and its first removal works."""
        guest, cpus = self.start(paused=True)
        cpus.add(2)
        cpus.add(5)
        guest.qmp("cont")
        guest.wait_ready()
        self.assert_cpus(cpus, {0, 1, 2, 5})
        cpus.unplug(2)
        cpus.unplug(5)
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))

    def test_added_and_removed_before_boot(self):
        """What was removed again before the guest started is not there."""
        guest, cpus = self.start(paused=True)
        cpus.add(3)
        cpus.add(4)
        self.start_without(guest, cpus, 3)
        cpus.wait_view("CPU 3 gone", enabled={0, 1, 4}, online={0, 1, 4})

    def test_device_option(self):
        """-device does what device_add does, before the guest starts."""
        guest, cpus = self.start(paused=True)
        options = ["-device", cpus.option(3), "-device", cpus.option(6)]
        guest.close()
        guest, cpus = self.boot(self.config(extra=options))
        self.assert_cpus(cpus, {0, 1, 3, 6})
        cpus.unplug(3)
        cpus.plug(2)
        self.assert_cpus(cpus, {0, 1, 2, 6})
        self.reset(guest)
        self.assert_cpus(cpus, {0, 1, 2, 6})

    def test_plugin(self):
        """With a TCG plugin loaded, more threads come and go than there are slots."""
        guest, cpus = self.boot(self.config(smp="1,maxcpus=2", extra=self.plugin()))
        for _ in range(6):
            cpus.plug(1)
            cpus.work({0, 1}, 200)
            cpus.unplug(1)
        self.assert_cpus(cpus, {0})


if __name__ == "__main__":
    guestcase.main()
