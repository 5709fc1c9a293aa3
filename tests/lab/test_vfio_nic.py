#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=vfio parallel
"""Virtual functions of a network card in guests, the way a user goes."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
from vfiocase import NIC, SYSFS  # noqa: E402


class Nic(vfiocase.VfioCase):

    drivers = ("igbvf",)

    def network_of_host(self):
        """Bring up the physical function on the host, at 10.9.0.1."""
        name = self.place.check(f"basename {SYSFS}/devices/{NIC}/net/*")
        self.place.check(f"ip addr flush dev {name}; ip addr add 10.9.0.1/24 dev {name}; "
                         f"ip link set {name} up")
        self.assert_host(f"cat /sys/class/net/{name}/carrier", "1")

    def network(self, guest, address):
        """Bring up the guest's virtual function at ADDRESS; returns its interface."""
        name = self.interface(guest, "igbvf")
        guest.check(f"ip addr add {address}/24 dev {name}; ip link set {name} up")
        guest.wait_for(lambda: guest.run(f"cat /sys/class/net/{name}/carrier")[1] == "1",
                       f"carrier of {name}", 60)
        return name

    def ping(self, guest, address, count=10):
        """Send COUNT packets to ADDRESS; all must come back."""
        # The first one asks for the address as well, and the other end may not be ready yet.
        guest.wait_for(lambda: guest.run(f"ping -c 1 -W 5 {address}", 30)[0] == 0,
                       f"an answer from {address}", 60)
        output = guest.check(f"ping -c {count} -i 0.1 -W 20 {address}", 60)
        self.assertIn(f"{count} packets transmitted, {count} packets received", output)

    def received(self, guest, name):
        """How many packets the guest's interface has received."""
        return int(guest.check(f"cat /sys/class/net/{name}/statistics/rx_packets"))

    def test_from_start(self):
        """Bound by driver_override, there when the guest starts, used, unplugged, given back."""
        self.network_of_host()
        function, = self.virtual_functions(1)
        self.bind(function)
        guest = self.boot_guest(f"vfio-pci,host={function},bus=hotplug0,id=at-hotplug0")
        self.network(guest, "10.9.0.2")
        self.ping(guest, "10.9.0.1")
        self.detach(guest)
        self.assertEqual(self.functions(guest), 0)
        self.release(function)
        self.assertEqual(self.driver(function), "igbvf")
        self.assert_host(f"ls {SYSFS}/devices/{function}/net | wc -l", "1")

    def test_two_guests(self):
        """Two guests have a virtual function each, and reach each other through the card."""
        self.network_of_host()
        guests = []
        for number, function in enumerate(self.virtual_functions(2), 1):
            self.bind(function)
            guest = self.boot_guest(f"vfio-pci,host={function},bus=hotplug0", suffix=f".{number}")
            guests.append((guest, self.network(guest, f"10.9.0.{10 + number}")))
        (first, _), (second, second_name) = guests
        before = self.received(second, second_name)
        self.ping(first, "10.9.0.12", 50)
        self.assertGreaterEqual(self.received(second, second_name) - before, 50)
        self.ping(second, "10.9.0.11")
        # One goes, the other keeps its function.
        first.close()
        self.ping(second, "10.9.0.1")


if __name__ == "__main__":
    vfiocase.labcase.main()
