# SPDX-License-Identifier: GPL-2.0-or-later
"""What users do with network functions and disks of the host, by groups and by iommufd."""

from vfiocase import NIC, NVME, SYSFS
from workbench.guest.cpus import Cpus
from workbench.lab import image

DISK = "/dev/nvme0n1"
WAIT = f"until [ -b {DISK} ]; do sleep 0.05; done"


class NicCases:
    """Virtual functions of a network card in guests, the way a user goes. For a VfioCase."""

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
        guest = self.boot_guest(self.device(function))
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
            guest = self.boot_guest(self.device(function), suffix=f".{number}")
            guests.append((guest, self.network(guest, f"10.9.0.{10 + number}")))
        (first, _), (second, second_name) = guests
        before = self.received(second, second_name)
        self.ping(first, "10.9.0.12", 50)
        self.assertGreaterEqual(self.received(second, second_name) - before, 50)
        self.ping(second, "10.9.0.11")
        # One goes, the other keeps its function.
        first.close()
        self.ping(second, "10.9.0.1")


class Disk:
    """What is on the NVMe disk. For a VfioCase."""

    def write(self, where, text, block):
        """Write TEXT to 4 KiB block BLOCK of the disk; WHERE is the host or a guest."""
        where.check(f"{WAIT} && echo {text} | dd of={DISK} bs=4k seek={block} conv=sync,fsync",
                    60)

    def assert_read(self, where, text, block):
        """The block holds TEXT."""
        where.check(WAIT, 60)
        self.assertEqual(where.check(f"dd if={DISK} bs=4k skip={block} count=1 2> /dev/null | "
                                     "head -n 1"), text)


class NvmeCases(Disk):
    """An NVMe disk goes from the host to a guest and back, with what is on it. For a VfioCase."""

    def test_data(self):
        """What the host wrote is read in the guest, and the reverse."""
        self.write(self.place, "from-the-host", 5)
        self.bind(NVME)
        guest = self.boot_guest(self.device(NVME))
        self.assert_read(guest, "from-the-host", 5)
        self.assertEqual(int(guest.check("cat /sys/block/nvme0n1/size")) * 512, image.DISK_SIZE)
        self.write(guest, "from-the-guest", 7)
        self.detach(guest)
        self.release(NVME)
        self.assert_read(self.place, "from-the-guest", 7)
        self.assert_read(self.place, "from-the-host", 5)

    def test_plug_with_cpu(self):
        """Disk and network function come and go many times, a CPU at the same time."""
        function, = self.virtual_functions(1)
        self.bind(function)
        self.bind(NVME)
        guest = self.boot_guest(smp="1,maxcpus=2")
        cpus = Cpus(guest)
        for number in range(20):
            self.attach(guest, NVME, "hotplug0")
            cpus.add(1)
            self.attach(guest, function, "hotplug1")
            guest.wait_for(lambda: self.functions(guest) == 2, "both functions", 60)
            self.write(guest, f"round-{number}", number)
            self.assert_read(guest, f"round-{number}", number)
            cpus.wait_enabled(1, 60)
            cpus.bring_online(1, 60)
            for port in ("hotplug0", "hotplug1"):
                guest.delete_device(f"at-{port}")
            cpus.wait_deleted(cpus.delete(1))
            for port in ("hotplug0", "hotplug1"):
                guest.event("DEVICE_DELETED", 60, device=f"at-{port}")
            guest.wait_for(lambda: self.functions(guest) == 0, "no function", 60)
        self.assertEqual(guest.run("dmesg | grep -E 'Oops|BUG|WARNING'")[1], "")
        self.release(NVME)
        self.assert_read(self.place, "round-19", 19)
