#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=ports timeout=1500 parallel
"""PCIe root ports: as many as asked for, in guests that use what is behind them."""

import itertools
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import portcase  # noqa: E402
import wire  # noqa: E402
from workbench.guest import rootports  # noqa: E402
from workbench.system import paths  # noqa: E402

FIRMWARE = ("2022.11", "2025.02", None)
PORTS = (15, 16, 28, 64, 248)
# What is run by default: each value of each axis, and above all what did not work before.
SHORT = {("2022.11", 16, "low"), ("2025.02", 16, "low"), (None, 16, "low"), ("2025.02", 64, "low"),
         ("2022.11", 248, "low"), (None, 15, "high"), ("2022.11", 28, "high"),
         ("2025.02", 248, "high")}


def machine(*properties, ecam="high"):
    """The machine with PROPERTIES; ECAM "low" is without the large one in high memory."""
    low = ("highmem-ecam=off",) if ecam == "low" else ()
    # A GICv2 has fewer message signalled interrupts than there are ports.
    return ",".join(("virt", "gic-version=3", *low, *properties))


class Matrix(portcase.PortCase):
    """N ports with max-pcie-root-ports=N; each method of the matrix is a boot."""

    def check(self, count, machine_type, firmware="2025.02"):
        """A disk behind the last port is there, and one comes and goes behind the one before."""
        disks = portcase.Disks(self.folder(), 2)
        guest = self.boot(self.config(firmware=firmware, machine=machine_type, extra=[
            *disks.options, *rootports.options(count),
            *portcase.option(portcase.disk(0, f"rp{count - 1}"))]))
        self.assert_ports(guest, count, count)
        self.assert_disks(guest, disks, {"disk0"})
        self.check_plug(guest, disks, 1, f"rp{count - 2}", others={"disk0"})
        self.assertEqual(self.without_room(guest), [], "the guest's log")
        return guest, disks

    @classmethod
    def add(cls, firmware, count, ecam):
        """Make the test method of one cell."""
        def test(self):
            self.check(count, machine(f"max-pcie-root-ports={count}", ecam=ecam), firmware)

        name = firmware.replace(".", "_") if firmware else "without_firmware"
        test.__name__ = f"test_{name}_{count}_ports_{ecam}_ecam"
        if (firmware, count, ecam) not in SHORT:
            test = guestcase.long_only(test)
        setattr(cls, test.__name__, test)

    def test_reset(self):
        """All is there again after a reset."""
        guest, disks = self.check(64, machine("max-pcie-root-ports=64"))
        guest.qmp("system_reset")
        self.wait_ready(guest)
        self.assert_disks(guest, disks, {"disk0"})

    @guestcase.long_only
    def test_127_ports_without_high_memory(self):
        """The most that the 32-bit memory space alone has room for."""
        self.check(127, machine("highmem=off", "max-pcie-root-ports=127"))


for cell in itertools.product(FIRMWARE, PORTS, ("high", "low")):
    Matrix.add(*cell)


class TooMany(portcase.PortCase):
    """Sixteen ports and bus numbers for fifteen: what the tests above must be able to notice."""

    def start_16(self, qemu):
        disks = portcase.Disks(self.folder(), 2)
        guest = self.boot(self.config(qemu=qemu, machine=machine(ecam="low"), extra=[
            *disks.options, *rootports.options(16), *portcase.option(portcase.disk(0, "rp14")),
            *portcase.option(portcase.disk(1, "rp15"))]))
        self.assert_disks(guest, disks, {"disk0"})
        return guest

    def test_pristine(self):
        """Pristine QEMU loses the disk behind the last port without a word."""
        qemu = paths.PRISTINE / "qemu-system-aarch64"
        if not qemu.exists():
            self.skipTest(f"{qemu} does not exist: run scripts/build --pristine")
        guest = self.start_16(qemu)
        self.assertEqual(guest.process.errors(), "")

    def test_automatic_limit(self):
        """So does the patched one without a limit, but it says so."""
        guest = self.start_16(guestcase.QEMU)
        warning = "warning: .*16.*highmem-ecam=off"
        self.assertRegex(guest.process.errors(), warning)
        guest.expect(says=warning)
        self.assert_ports(guest, 16, 15)

    def test_without_room(self):
        """A guest without room for a BAR and for I/O windows does say so in its log."""
        extra = ["-device", "pci-testdev,membar=2G"]
        for number in range(18):
            extra += ["-device", f"pcie-root-port,id=rp{number},chassis={number + 1},io-reserve=4K"]
        guest = self.boot(self.config(machine="virt,gic-version=3,highmem=off", extra=extra, says=(
            "warning: .*(I/O|highmem)",)))
        for kind in ("io", "mem"):
            self.assertGreater(len(self.without_room(guest, kind)), 0, kind)


class HotplugPorts(portcase.PortCase):
    """Ports that the machine makes itself, with pcie-hotplug-ports."""

    def fill(self, count):
        """Plug a disk into each of COUNT ports without a pause, read all of them, remove all."""
        disks = portcase.Disks(self.folder(), count)
        guest = self.boot(self.config(extra=disks.options, machine=machine(
            f"max-pcie-root-ports={count}", f"pcie-hotplug-ports={count}")))
        self.assert_ports(guest, count, count)
        before = self.functions(guest)
        for number in range(count):
            guest.qmp("device_add", portcase.disk(number, f"hotplug{number}"))
        self.assert_disks(guest, disks, disks.sums)
        self.assertEqual(self.without_room(guest), [], "the guest's log")
        self.remove(guest, *disks.sums)
        self.assert_disks(guest, disks, ())
        self.assertEqual(self.functions(guest), before)

    def test_fill_32(self):
        self.fill(32)

    @guestcase.long_only
    def test_fill_64(self):
        self.fill(64)

    @guestcase.long_only
    def test_fill_248(self):
        self.fill(248)

    def test_snapshot(self):
        """A snapshot with a disk in a port is loaded in a new QEMU, and plugging goes on there."""
        disks = portcase.Disks(self.folder(), 2)
        fields = {"machine": machine("pcie-hotplug-ports=4"), "memory": "256M"}
        extra = [*self.disk(), *disks.options]
        guest = self.boot(self.config(extra=extra, **fields))
        guest.qmp("device_add", portcase.disk(0, "hotplug2"))
        self.assert_disks(guest, disks, {"disk0"})
        self.assertEqual(guest.hmp("savevm one"), "")
        guest.close()
        guest, _ = self.start(self.config(extra=[
            *extra, *portcase.option(portcase.disk(0, "hotplug2")), "-loadvm", "one"], **fields),
            suffix=".loaded")
        self.assert_disks(guest, disks, {"disk0"})
        self.check_plug(guest, disks, 1, "hotplug3", others={"disk0"})
        self.remove(guest, "disk0")
        self.assert_disks(guest, disks, ())


class Interrupts(portcase.PortCase):
    """Ports and the interrupts by which they tell of what is plugged."""

    def start_ports(self, machine_type, firmware="2025.02", append=""):
        """Boot a guest; returns it and a disk for it."""
        disks = portcase.Disks(self.folder(), 1)
        guest = self.boot(self.config(machine=machine_type, extra=disks.options,
                                      firmware=firmware, append=f"quiet harness {append}"))
        return guest, disks

    def test_intx(self):
        """Ports without MSI have to share the four interrupt lines of the root bus."""
        # Not with ACPI: without MSI, Linux then leaves hot-plug to the firmware.
        guest, disks = self.start_ports(machine("pcie-hotplug-ports=2"), None, "pci=nomsi")
        guest.qmp("device_add", portcase.disk(0, "hotplug1"))
        self.assert_disks(guest, disks, {"disk0"})
        # Not removed: Linux would wait for the end of the interrupt thread in which it does that.

    def test_without_msi(self):
        """QEMU says what does not work without MSI; what is behind a port from the start does."""
        disks = portcase.Disks(self.folder(), 2)
        guest = self.boot(self.config(machine=machine("msi=off"), extra=[
            *disks.options, *rootports.options(2), *portcase.option(portcase.disk(0, "rp0"))]))
        guest.expect(says="warning: This machine can serve 0 PCIe root ports because of a lack of "
                     "message signalled interrupts, and there are 2: hotplug behind the surplus "
                     "ones may not work")
        self.assert_disks(guest, disks, {"disk0"})
        self.assert_ports(guest, 2, 0)
        # Not removed, see test_intx.
        guest.qmp("device_add", portcase.disk(1, "rp1"))
        self.assert_disks(guest, disks, {"disk0", "disk1"})

    def test_gicv2(self):
        """As many ports as a GICv2 has message signalled interrupts for."""
        guest, disks = self.start_ports(
            "virt,gic-version=2,max-pcie-root-ports=32,pcie-hotplug-ports=32")
        self.check_plug(guest, disks, 0, "hotplug31")

    def test_gic_is_chosen(self):
        """With more ports, it is not a GICv2 that is chosen."""
        guest, disks = self.start_ports("virt,max-pcie-root-ports=64,pcie-hotplug-ports=64")
        self.check_plug(guest, disks, 0, "hotplug63")


class Kinds(portcase.PortCase):
    """Devices of several kinds, each plugged, used and removed."""

    drivers = ("virtio_blk", "nvme", "xhci-pci", "usb-storage", "sd_mod", "virtio_net")
    # The service that Linux binds to a port for which it leaves hot-plug to PCI Express.
    pciehp = "ls /sys/bus/pci_express/drivers/pciehp | grep -c :pcie; true"

    def check_kinds(self, ports_of_pciehp, *options):
        folder = self.folder()
        disks = portcase.Disks(folder, 3)
        cable = wire.Wire(folder, "cable")
        self.addCleanup(cable.close)
        guest = self.boot(self.config(machine=machine("pcie-hotplug-ports=4"), extra=[
            *disks.options, *cable.options, *options]))
        # Its network card comes later.
        guest.expect(says="warning: netdev cable has no peer")
        self.assertEqual(guest.check(self.pciehp), str(ports_of_pciehp))
        before = self.functions(guest)

        guest.qmp("device_add", portcase.disk(0, "hotplug0"))
        self.assert_content(guest, "/dev/vda", disks.sums["disk0"])
        guest.qmp("device_add", portcase.disk(1, "hotplug1", "nvme"))
        self.assert_content(guest, "/dev/nvme0n1", disks.sums["disk1"])
        guest.qmp("device_add", {"driver": "qemu-xhci", "id": "usb", "bus": "hotplug2"})
        guest.qmp("device_add", portcase.disk(2, "usb.0", "usb-storage"))
        self.assert_content(guest, "/dev/sda", disks.sums["disk2"])
        guest.qmp("device_add", {"driver": "virtio-net-pci", "id": "net", "netdev": "cable",
                                 "bus": "hotplug3", "romfile": ""})
        guest.wait_for(lambda: guest.run("ip link set eth0 up")[0] == 0,
                       lambda: f"a network card in the guest; {self.messages(guest)}",
                       portcase.PLUG_SECONDS)
        guest.check("ip address add 10.0.0.2/24 dev eth0")
        guest.wait_for(lambda: cable.answers("10.0.0.2"), "the guest to answer on its network",
                       portcase.PLUG_SECONDS)

        self.remove(guest, "disk0", "disk1", "usb", "net")
        guest.wait_for(lambda: self.functions(guest) == before,
                       lambda: f"all gone in the guest; {self.messages(guest)}")
        self.assertNotEqual(guest.run("ls -d /dev/vda /dev/nvme0n1 /dev/sda | grep dev")[0], 0)

    def assert_content(self, guest, node, wanted):
        """A disk comes as the device NODE and its content has the checksum WANTED."""
        # Linux shows a disk a moment before it can be opened.
        guest.wait_for(lambda: guest.run(f"md5sum {node}")[0] == 0,
                       lambda: f"{node} in the guest; {self.messages(guest)}",
                       portcase.PLUG_SECONDS)
        self.assertEqual(guest.check(f"md5sum {node}").split()[0], wanted)

    def test_native(self):
        self.check_kinds(4)

    def test_acpi(self):
        """Hot-plug by ACPI leaves nothing of it to PCI Express."""
        self.check_kinds(0, *portcase.ACPI)


if __name__ == "__main__":
    guestcase.main()
