#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Guests that write whatever they like to PCI bridges and to the registers of ACPI PCI hot-plug.

No CPU runs: the accesses come through qtest, which is faster. QEMU stays under control, and after
a reset the bridges are as they were.
"""

import os
import random
import unittest

import common
from workbench.compare import vmstate
from workbench.compare.instance import Instance, empty_firmware
from workbench.guest.qemu import Refused

ECAM = 0x3f000000
PCIHP = 0x090c0000
PCIHP_SIZE = 0x18
ROOT = 12                       # the number of the second root bus
LONG = os.environ.get("GUEST_LONG", "0") not in ("", "0")

# Offsets in the header of a bridge: command, bus numbers, I/O and memory windows, control, BARs.
HEADER = (0x04, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x38, 0x3c)
EVERY_BIT = 0xffffffff
BUSES = 0x18                    # bus numbers of a bridge

BRIDGES = (
    "pcie-root-port,id=rp0,chassis=1,addr=1.0,multifunction=on",
    "pcie-root-port,id=rp1,chassis=2,addr=1.1",
    "pcie-root-port,id=rp2,chassis=3,addr=2.0,io-reserve=4K",
    "x3130-upstream,id=up,bus=rp0",
    "xio3130-downstream,id=down0,bus=up,chassis=4",
    "xio3130-downstream,id=down1,bus=up,chassis=5",
    "pcie-pci-bridge,id=pci,bus=rp1",
    "pci-bridge,id=inner,bus=pci,chassis_nr=6,addr=1",
    "pxb-pcie,id=root,bus_nr=12",
    "pcie-root-port,id=rp3,chassis=7,bus=root",
    "virtio-rng-pci,bus=inner,addr=1",
    "pci-testdev,bus=down0,membar=1M",
)
# Where hot-plugged devices go, and may be refused after what the guest did.
PLACES = ("rp2", "down1", "rp3")


class Storm(unittest.TestCase):

    def start(self, acpi):
        """A machine with bridges of all kinds; ACPI says whether hot-plug goes by ACPI."""
        _, patched = common.binaries("aarch64")
        words = ["-S", "-machine", "virt,gic-version=3,highmem-ecam=off,pcie-hotplug-ports=2",
                 "-cpu", "cortex-a57", "-accel", "tcg", "-m", "128M", "-smp", "1,maxcpus=2",
                 "-bios", self.firmware, "-global", "acpi-ged.acpi-pci-hotplug-with-"
                 f"bridge-support={acpi}"]
        for bridge in BRIDGES:
            words += ["-device", bridge]
        return Instance(patched, words)

    def setUp(self):
        folder = common.folder(self)
        self.firmware = empty_firmware(folder)
        self.stream = folder / "stream"

    def number_buses(self, qemu):
        """Give each bridge bus numbers and open windows, as firmware does; returns functions.

        A function is (bus, devfn).
        """
        found, following = [], [1]

        def scan(bus):
            for devfn in range(256):
                at = ECAM + (bus << 20) + (devfn << 12)
                if qemu.readl(at) in (EVERY_BIT, 0):
                    continue
                found.append((bus, devfn))
                if qemu.readl(at + 0xc) >> 16 & 0x7f != 1:
                    continue
                secondary = following[0]
                following[0] += 1
                qemu.writel(at + BUSES, bus | secondary << 8 | 0xff << 16)
                if secondary < 16:
                    scan(secondary)
                qemu.writel(at + BUSES, bus | secondary << 8 | following[0] - 1 << 16)
                qemu.writel(at + 4, 7)

        scan(0)
        following[0] = ROOT + 1
        scan(ROOT)
        return found

    def headers(self, qemu):
        """{number: the registers of its header} of the functions on the root bus."""
        found = {devfn: [qemu.readl(ECAM + (devfn << 12) + offset) for offset in HEADER]
                 for devfn in range(256)}
        return {devfn: words for devfn, words in found.items() if set(words) != {EVERY_BIT}}

    def value(self, order):
        """A value that is random, or one of those at which arithmetic breaks."""
        return order.choice((order.randrange(1 << 32), 0, EVERY_BIT, 1 << order.randrange(32),
                             0xfff0fff0, 0x0000fff0, 0xfff00000))

    def accesses(self, qemu, order, functions, count):
        """COUNT writes and reads anywhere in the configuration space and in ACPI's registers."""
        for _ in range(count):
            if order.randrange(4):
                bus, devfn = order.choice(functions)
                # Mostly the header; the rest has capabilities: slots, MSI, power, errors.
                offset = order.choice(HEADER) if order.randrange(3) else order.randrange(0, 4096, 4)
                at = ECAM + (bus << 20) + (devfn << 12) + offset
            else:
                at = PCIHP + order.randrange(0, PCIHP_SIZE, 4)
            if order.randrange(5):
                qemu.qtest(f"write{order.choice('bwll')} {at:#x} {self.value(order):#x}")
            else:
                qemu.readl(at)

    def plug(self, qemu, order, there):
        """Plug or unplug something; a refusal is as good."""
        try:
            if there and order.randrange(2):
                qemu.qmp("device_del", {"id": order.choice(sorted(there))})
            else:
                bus = order.choice(PLACES)
                qemu.qmp("device_add", {"driver": "virtio-rng-pci", "id": f"on-{bus}",
                                        "bus": bus, "romfile": ""})
        except Refused:
            pass

    def devices(self, qemu):
        """The ids of hot-plugged devices that are there."""
        return {entry["name"] for entry in qemu.qmp("qom-list", {"path": "/machine/peripheral"})
                if entry["name"].startswith("on-")}

    def check_storm(self, acpi):
        order = random.Random(f"storm {acpi}")
        with self.start(acpi) as qemu:
            before = self.headers(qemu)
            functions = self.number_buses(qemu)
            # All but the second root bus itself, and the machine's own.
            self.assertGreater(len(functions), len(BRIDGES) + 2)
            for lap in range(40 if LONG else 8):
                self.accesses(qemu, order, functions, 4000)
                self.plug(qemu, order, self.devices(qemu))
                qemu.qmp("query-pci")
                qemu.hmp("info mtree -f")
                if lap % 4 == 3:
                    # The state that the guest has made can be sent.
                    vmstate.save(qemu, self.stream)
                    self.assertGreater(self.stream.stat().st_size, 10000)
                    qemu.qmp("cont")
                    qemu.qmp("stop")
                qemu.qmp("system_reset")
                for name in self.devices(qemu):
                    # With the guest's help or without: ports are off after a reset.
                    try:
                        qemu.qmp("device_del", {"id": name})
                    except Refused:
                        pass
            qemu.qmp("system_reset")
            after = self.headers(qemu)
            # A guest may give up any device that is in a slot; what it has left is as it was.
            self.assertIn(8, after, "the first root port")
            self.assertEqual(after, {devfn: before[devfn] for devfn in after})

    def test_native(self):
        """Hot-plug by PCI Express."""
        self.check_storm("off")

    def test_acpi(self):
        """Hot-plug by ACPI, whose registers are there then."""
        self.check_storm("on")


if __name__ == "__main__":
    common.main()
