#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=450 parallel
"""CPU and machine in other shapes: features that have state outside of the CPU, nodes, many CPUs."""

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import manycases  # noqa: E402
import nodecases  # noqa: E402
from workbench.guest import cpuprobe  # noqa: E402
from workbench.guest.cpus import SYSFS  # noqa: E402


class Features(guestcase.GuestCase):
    """A CPU that comes has what the boot CPU has, also when it comes again."""

    def test_all(self):
        """Vectors, signed pointers and tagged memory, in both directions."""
        guest, cpus = self.boot(self.config(
            machine="virt,gic-version=3,cpu-hotplug=on,mte=on", cpu="max,pauth-impdef=on",
            smp="1,maxcpus=4", memory="256M", initrd=cpuprobe.initrd()))
        length = guest.check("taskset -c 0 cpu-probe vectors")
        self.assertGreaterEqual(int(length), 16)
        for _ in range(2):
            cpus.plug(2)
            features = guest.check("grep ^Features /proc/cpuinfo | sort -u").split("\n")
            self.assertEqual(len(features), 1, features)
            self.assertLessEqual({"sve", "paca", "pacg", "mte"}, set(features[0].split()))
            self.assertEqual(guest.check("taskset -c 2 cpu-probe vectors"), length)
            self.assertEqual(guest.check("taskset -c 0 cpu-probe pointers 2"), "accepted")
            self.assertEqual(guest.check("taskset -c 0 cpu-probe tags 2"), "checked")
            cpus.unplug(2)


class Nodes(nodecases.NodeCases, guestcase.GuestCase):
    """NUMA, also after a reset."""

    def after_plugs(self, guest, cpus):
        self.reset(guest)
        self.assert_nodes(guest, cpus)


class Shape(guestcase.GuestCase):
    """Sockets, cores and threads."""

    LAPS = 40 if guestcase.LONG else 3

    def test_all(self):
        """All slots are filled, used, turned off and on, rebooted with, and emptied."""
        guest, cpus = self.boot(self.config(
            smp="1,maxcpus=8,sockets=2,clusters=1,cores=2,threads=2"))
        # Neither in the order of the slots nor one core after the other.
        added = (5, 2, 7, 1, 4, 6, 3)
        for number in added:
            cpus.plug(number)
        self.assert_cpus(cpus, range(8))
        self.assert_shape(guest)
        cpus.work(range(8), 200)
        words = " ".join(map(str, added))
        for _ in range(self.LAPS):
            guest.check(f"(cd {SYSFS}; for state in 0 1; do for cpu in {words}; do "
                        "echo $state > cpu$cpu/online || exit; done; done)", 60)
        self.assert_cpus(cpus, range(8))
        self.reboot(guest)
        self.assert_cpus(cpus, range(8))
        self.assert_shape(guest)
        # It has turned off some of those that are to go.
        guest.check(f"(cd {SYSFS}; for cpu in 2 4 5 7; do echo 0 > cpu$cpu/online || exit; done)")
        for handle in [cpus.delete(number) for number in added]:
            guest.event("DEVICE_DELETED", 60, device=handle)
        cpus.wait_view("all but the first gone", enabled={0}, online={0})
        cpus.plug(3)
        self.assert_cpus(cpus, {0, 3})
        self.assert_sound(guest)

    def assert_shape(self, guest):
        """What Linux knows of its CPUs, which are all online, is what -smp says."""
        found = guest.check(f"for cpu in 0 1 2 3 4 5 6 7; do echo $(cd {SYSFS}/cpu$cpu/topology; "
                            "cat thread_siblings_list core_siblings_list); done").splitlines()
        self.assertEqual(found, [f"{cpu & ~1}-{cpu | 1} {cpu & ~3}-{cpu | 3}" for cpu in range(8)])


# A machine for more CPUs than 64.
LARGE = {"machine": "virt,gic-version=3,cpu-hotplug=on", "cpu": "max,pauth-impdef=on",
         "memory": "2G"}


class Many(manycases.ManyCases, guestcase.GuestCase):

    @guestcase.long_only
    def test_all_64(self):
        """All slots are filled, and all but the first are emptied, in any order."""
        guest, cpus = self.boot(self.config(smp="4,maxcpus=64", memory="1G"), seconds=300)
        order = random.Random(64)
        self.fill(guest, cpus, order.sample(range(4, 64), 60), 120)
        for number in order.sample(range(1, 64), 63):
            cpus.wait_deleted(cpus.delete(number), 120)
        cpus.wait_view("all but the first gone", seconds=120, enabled={0}, online={0})
        for number in (63, 4):
            cpus.plug(number)
        self.assert_cpus(cpus, {0, 4, 63})
        self.assert_sound(guest)

    @guestcase.long_only
    def test_252_come_and_go(self):
        """252 CPUs are plugged after 4, and go again, in any order."""
        self.check_come_and_go(4, 256, **LARGE)

    @guestcase.long_only
    def test_508_come(self):
        """508 CPUs are plugged after 4, and some of them go again."""
        guest, cpus = self.boot(self.config(smp="4,maxcpus=512", **LARGE), seconds=300)
        self.fill(guest, cpus, range(4, 512), 600)
        for number in (300, 511, 4):
            cpus.wait_deleted(cpus.delete(number), 300)
        cpus.wait_view("three CPUs gone", seconds=120,
                       online=set(range(5, 511)) - {300} | {0, 1, 2, 3})
        self.assert_sound(guest)

    @guestcase.long_only
    def test_512(self):
        """All CPUs that a machine may have run, the last of them plugged."""
        guest, cpus = self.boot(self.config(smp="508,maxcpus=512", **LARGE), seconds=1200)
        for number in range(508, 512):
            cpus.plug(number)
        self.assert_cpus(cpus, range(512))
        for number in (0, 255, 507, 508, 511):
            guest.check(f"taskset -c {number} true", 120)
        for number in (300, 511):
            cpus.unplug(number)
        self.assert_cpus(cpus, set(range(511)) - {300})


if __name__ == "__main__":
    guestcase.main()
