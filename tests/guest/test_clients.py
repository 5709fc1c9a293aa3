#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""A client of the monitor is gone before its request is done: it is done or not, and never half."""

import collections
import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import monitor  # noqa: E402
import portcase  # noqa: E402
from slotcases import EMPTY, OFF, ON, slot_state  # noqa: E402
from workbench.guest import modules  # noqa: E402

NAME = "second"
LAPS = 100 if guestcase.LONG else 16
# More than the monitor takes before it has answered.
MANY = 40


def leave(client, command, arguments):
    """Send and go."""
    client.send(command, arguments)


def read(client, command, arguments):
    """Send, read the answer, and go; returns True if QEMU has done it."""
    client.send(command, arguments)
    return client.answer() is None


def half(client, command, arguments):
    """Send the first half of the request and go; returns False: it cannot have been done."""
    client.send_half(command, arguments)
    return False


def behind_others(client, command, arguments):
    """Send it behind many other requests, read none of the answers, and go."""
    for _ in range(MANY):
        client.send("query-hotpluggable-cpus")
    client.send(command, arguments)


WAYS = (leave, read, half, behind_others)


class Gone(guestcase.GuestCase):

    def setUp(self):
        super().setUp()
        self.order = random.Random(11)
        self.socket = self.folder() / NAME
        self.outcomes = collections.Counter()

    def boot_with_second(self, **changes):
        """A guest with a second monitor."""
        extra = [*changes.pop("extra", ()), *monitor.options(NAME, self.socket.parent)]
        return self.boot(self.config(extra=extra, **changes))

    def request(self, guest, lap, command, arguments):
        """A client sends the request and is gone; returns when QEMU has noticed.

        Returns True if it was done, False if not, and None if nobody knows.
        """
        way = WAYS[lap % len(WAYS)]
        with monitor.Monitor(self.socket) as client:
            done = way(client, command, arguments)
            time.sleep(self.order.random() * 0.005)
        # Then what it asked for is done, or dropped.
        guest.wait_for(lambda: self.gone(guest), "QEMU to notice that the client is gone")
        return done

    def gone(self, guest):
        """Whether the second monitor has no client."""
        return any(chardev["label"] == NAME and chardev["filename"].startswith("disconnected")
                   for chardev in guest.qmp("query-chardev"))

    def count(self, what, done, expected):
        """Note that WHAT was done or not; EXPECTED is what is known of that, or None."""
        if expected is not None:
            self.assertEqual(done, expected, f"{what} was done")
        self.outcomes[f"{what} {'done' if done else 'not done'}"] += 1

    def show(self):
        """Print how it went."""
        print(", ".join(f"{what}: {count}" for what, count in sorted(self.outcomes.items())))

    def test_cpu(self):
        """A CPU is to come, and to go."""
        guest, cpus = self.boot_with_second()
        device = cpus.arguments(2)
        before = guest.process.threads()
        for lap in range(LAPS):
            expected = self.request(guest, lap, "device_add", device)
            came = 2 in cpus.taken()
            self.count("device_add", came, expected)
            if not came:
                self.assertEqual(slot_state(cpus, 2), EMPTY)
                guest.wait_threads({before})
                self.assert_cpus(cpus, {0, 1})
                # Neither slot nor id are taken.
                guest.qmp("device_add", device)
            cpus.wait_enabled(2)
            self.assertEqual(slot_state(cpus, 2), OFF)
            cpus.bring_online(2)
            self.assert_cpus(cpus, range(3))

            # Another way than before, so that all pairs take turns.
            expected = self.request(guest, lap + lap // len(WAYS), "device_del",
                                    {"id": device["id"]})
            asked = slot_state(cpus, 2) != ON
            self.count("device_del", asked, expected)
            if not asked:
                self.assert_cpus(cpus, range(3))
                cpus.delete(2)
            cpus.wait_deleted(device["id"])
            cpus.wait_view("CPU 2 gone", enabled={0, 1}, online={0, 1})
            guest.events()
        self.show()
        cpus.plug(3)
        self.assert_cpus(cpus, {0, 1, 3})
        self.assert_sound(guest)

    def test_device(self):
        """A disk is to come into a root port."""
        guest, _ = self.boot_with_second(
            machine="virt,pcie-hotplug-ports=1", initrd=modules.initrd("virtio_blk"),
            extra=[*portcase.null_disk(1 << 20),
                   # Linux takes five seconds for a removal that PCI Express asks for.
                   *portcase.ACPI])
        guest.check("modprobe virtio_blk")
        device = portcase.disk(0, "hotplug0")
        for lap in range(LAPS // 4):
            expected = self.request(guest, lap, "device_add", device)
            came = any(entry["name"] == device["id"] for entry in
                       guest.qmp("qom-list", {"path": "/machine/peripheral"}))
            self.count("device_add", came, expected)
            if not came:
                guest.qmp("device_add", device)
            guest.wait_for(lambda: guest.run("[ -e /sys/block/vda ]")[0] == 0,
                           "a disk in the guest")
            guest.qmp("device_del", {"id": device["id"]})
            guest.event("DEVICE_DELETED", device=device["id"])
            guest.check("[ ! -e /sys/block/vda ]")
            guest.events()
        self.show()
        self.assert_sound(guest)


if __name__ == "__main__":
    guestcase.main()
