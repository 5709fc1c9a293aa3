#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Requests at odd moments: the guest refuses, stops, restarts, is saved, or is asked twice."""

import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import mixcases  # noqa: E402
import monitor  # noqa: E402
import slotcases  # noqa: E402
from workbench.guest.cpus import SYSFS  # noqa: E402
from workbench.guest.qemu import FACTOR  # noqa: E402


class Refusal(guestcase.GuestCase):

    def test_guest_refuses(self):
        """Linux keeps its last online CPU, and QEMU says so at once; later removal works."""
        guest, cpus = self.boot()
        guest.check(f"echo 0 > {SYSFS}/cpu0/online")
        cpus.plug(2)
        guest.check(f"echo 0 > {SYSFS}/cpu1/online")
        guest.events()
        start = time.monotonic()
        handle = cpus.delete(2)
        event = guest.event(("DEVICE_UNPLUG_GUEST_ERROR", "DEVICE_DELETED"))
        self.assertEqual(event["event"], "DEVICE_UNPLUG_GUEST_ERROR")
        self.assertEqual(event["data"]["device"], handle)
        # libvirt gives up after five seconds.
        self.assertLess(time.monotonic() - start, 5 * FACTOR)
        self.assertEqual(cpus.taken(), {0, 1, 2})
        self.assertEqual(slotcases.slot_state(cpus, 2), slotcases.ON)
        cpus.wait_view("CPU 2 still works", online={2})
        guest.check(f"echo 1 > {SYSFS}/cpu1/online")
        guest.check(f"echo 1 > {SYSFS}/cpu0/online")
        cpus.unplug(2)
        self.assert_cpus(cpus, {0, 1})

    def test_guest_refuses_cpu_of_smp(self):
        """The same for a CPU that has no id, which is named by its path."""
        guest, cpus = self.boot()
        guest.check(f"echo 0 > {SYSFS}/cpu0/online")
        handle = cpus.delete(1)
        event = guest.event(("DEVICE_UNPLUG_GUEST_ERROR", "DEVICE_DELETED"))
        self.assertEqual(event["event"], "DEVICE_UNPLUG_GUEST_ERROR")
        self.assertEqual(event["data"]["path"], handle)
        guest.check(f"echo 1 > {SYSFS}/cpu0/online")
        cpus.unplug(1)
        self.assert_cpus(cpus, {0})

    def test_guest_probes_device(self):
        """While a driver probes a PCI device, Linux neither takes a CPU offline nor brings one
        online; asked again, it does.
        """
        guest, cpus = self.boot(self.config(machine="virt,pcie-hotplug-ports=1"))
        guest.check("cd /sys/bus/pci/drivers/pcieport && port=$(echo 0000:*) && touch /tmp/probe && "
                    "while [ -e /tmp/probe ]; do echo $port > unbind; echo $port > bind; done & "
                    "echo $! > /tmp/prober")
        ends = []
        for _ in range(50):
            if 2 not in cpus.taken():
                cpus.plug(2)
            handle = cpus.delete(2)
            ends.append(guest.event(("DEVICE_UNPLUG_GUEST_ERROR", "DEVICE_DELETED"),
                                    device=handle)["event"])
            if ends[-1] != "DEVICE_DELETED":
                break
        self.assertEqual(ends[-1], "DEVICE_UNPLUG_GUEST_ERROR", ends)
        self.assertEqual(slotcases.slot_state(cpus, 2), slotcases.ON)
        guest.check("rm /tmp/probe; wait $(cat /tmp/prober)")
        cpus.delete_again(handle)
        cpus.wait_deleted(handle)
        self.assert_cpus(cpus, {0, 1})
        self.assert_sound(guest)

    def test_taken_and_unknown(self):
        """A taken slot and the boot CPU's removal are refused, and nothing has changed."""
        guest, cpus = self.boot()
        cpus.plug(2)
        self.assert_refused("cpu3|exist|taken|already", cpus.add, 2, "cpu3")
        self.assert_refused("Duplicate|duplicate|exist", cpus.add, 3, "cpu2")
        self.assert_refused("not found", guest.qmp, "device_del", {"id": "cpu7"})
        self.assert_refused("boot", cpus.delete, 0)
        self.assert_cpus(cpus, range(3))
        cpus.unplug(2)


class Slots(guestcase.GuestCase):

    def test_states(self):
        """query-hotpluggable-cpus tells what the guest does with a slot."""
        slotcases.assert_slot_states(self, *self.boot(self.config(smp="2,maxcpus=3")))


class Moments(guestcase.GuestCase):

    def test_stopped(self):
        """Suspend, device_del, resume ends in a removal, every time; device_add likewise."""
        guest, cpus = self.boot()
        for _ in range(3):
            guest.qmp("stop")
            cpus.add(2)
            guest.qmp("cont")
            cpus.wait_enabled(2)
            cpus.bring_online(2)
            self.assert_cpus(cpus, range(3))
            guest.qmp("stop")
            handle = cpus.delete(2)
            time.sleep(0.1)
            self.assertIn(2, cpus.taken())
            guest.qmp("cont")
            cpus.wait_deleted(handle)
            cpus.wait_view("CPU 2 gone", enabled={0, 1}, online={0, 1})

    def test_twice(self):
        """A second device_del while the first is not answered does no harm."""
        guest, cpus = self.boot()
        cpus.plug(2)
        guest.qmp("stop")
        handle = cpus.delete(2)
        try:
            cpus.delete(2)
        except guestcase.Refused as error:
            self.assertRegex(str(error), "already|unplug")
        guest.qmp("cont")
        cpus.wait_deleted(handle)
        cpus.wait_view("CPU 2 gone", enabled={0, 1}, online={0, 1})
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))

    def test_reset_before_answer(self):
        """device_del, then a reset before the guest could answer, which carries it out."""
        guest, cpus = self.boot()
        cpus.plug(2)
        guest.qmp("stop")
        handle = cpus.delete(2)
        guest.events()
        guest.qmp("system_reset")
        # The guest does not run, so it is not the one that answers.
        cpus.wait_deleted(handle)
        self.assertEqual(cpus.taken(), {0, 1})
        guest.qmp("cont")
        guest.wait_ready()
        self.assert_cpus(cpus, range(2))
        left = [event for event in guest.events() if event["event"].startswith("DEVICE_")]
        self.assertEqual(left, [], "a second end of one request")
        cpus.plug(2)
        cpus.plug(3)
        self.assert_cpus(cpus, range(4))

    def test_add_and_remove_at_once(self):
        """Requests that come faster than the guest can answer: the last word counts."""
        guest, cpus = self.boot()
        for number in range(2, 8):
            cpus.add(number)
        handles = [cpus.delete(number) for number in range(2, 8, 2)]
        for handle in handles:
            cpus.wait_deleted(handle)
        for number in range(3, 8, 2):
            cpus.wait_enabled(number)
            cpus.bring_online(number)
        self.assert_cpus(cpus, {0, 1, 3, 5, 7})
        cpus.work({0, 1, 3, 5, 7})


class Mix(mixcases.MixCases, guestcase.GuestCase):
    """The cases of mixcases.py with TCG."""


class AtOnce(guestcase.GuestCase):
    """Two who do not know of each other ask for the same."""

    def assert_sound(self, guest):
        """The guest's kernel has complained of nothing."""
        self.assertEqual(guest.run("dmesg | grep -E 'Oops|BUG|WARNING|rcu.*stall'")[1], "")

    def boot_with_two(self):
        """A guest, its CPUs, and two monitors beside its own."""
        folder = self.folder()
        guest, cpus = self.boot(self.config(extra=[
            *monitor.options("second", folder), *monitor.options("third", folder)]))
        both = [monitor.Monitor(folder / name) for name in ("second", "third")]
        for one in both:
            self.addCleanup(one.__exit__)
        return guest, cpus, both

    def test_two_monitors(self):
        """Of two requests for one slot one is refused; an end is reported to both, once."""
        guest, cpus, both = self.boot_with_two()
        free = cpus.slots()
        for lap in range(5):
            names = [f"mine{lap}", f"yours{lap}"]
            for one, name in zip(both, names):
                one.send("device_add", {"driver": free[2]["type"], "id": name, **free[2]["props"]})
                # And one that is nobody else's.
                other = free[3 + both.index(one)]
                one.send("device_add", {"driver": other["type"], "id": f"own-{name}",
                                        **other["props"]})
            answers = [one.answer() for one in both]
            self.assertEqual([one.answer() for one in both], [None, None])
            refused, = filter(None, answers)
            self.assertRegex(refused, "is taken by /machine/peripheral/")
            winner = names[answers.index(None)]
            self.assertEqual(cpus.taken(), set(range(5)))
            for number in (2, 3, 4):
                cpus.wait_enabled(number)
                if lap % 2:
                    cpus.bring_online(number)
            for one in both:
                one.send("device_del", {"id": winner})
            for one, name in zip(both, names):
                one.send("device_del", {"id": f"own-{name}"})
            answers = [one.answer() for one in both]
            self.assertIn(None, answers)
            for refused in filter(None, answers):
                self.assertRegex(refused, "already|unplug|not found")
            self.assertEqual([one.answer() for one in both], [None, None])
            for one in both:
                for name in (winner, *(f"own-{name}" for name in names)):
                    one.wait_event("DEVICE_DELETED", device=name)
            cpus.wait_view("all gone", enabled={0, 1}, online={0, 1})
            for one in both:
                again = [event for event in one.events if event["event"].startswith("DEVICE_")]
                self.assertEqual(again, [], "an end that was reported before")
            guest.events()
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))
        cpus.work(range(3), 200)
        self.assert_sound(guest)

    def test_guest_turns_it_off(self):
        """The guest takes the CPU offline and online all the time while it is to be removed."""
        guest, cpus = self.boot()
        order = random.Random(3)
        for _ in range(8):
            cpus.plug(2)
            guest.check(f"(cd {SYSFS}/cpu2; while [ -e online ]; do echo 0 > online; "
                        "echo 1 > online; done) > /dev/null 2>&1 & echo $! > /tmp/turner")
            deadline = time.monotonic() + 60 * FACTOR
            while 2 in cpus.taken():
                self.assertLess(time.monotonic(), deadline, "CPU 2 cannot be removed")
                time.sleep(order.random() * 0.1)
                handle = cpus.delete(2)
                event = guest.event(("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"))
                self.assertEqual(event["data"]["device"], handle)
                if event["event"] == "DEVICE_DELETED":
                    self.assertNotIn(2, cpus.taken())
            guest.check("wait")
            cpus.wait_view("CPU 2 gone", enabled={0, 1}, online={0, 1})
            guest.events()
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))
        cpus.work(range(3), 200)
        self.assert_sound(guest)


if __name__ == "__main__":
    guestcase.main()
