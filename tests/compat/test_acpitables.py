#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: parallel
"""The reader of ACPI tables, against tables with known content and against broken ones."""

import struct
import unittest

import common
from workbench.compare import acpitables as acpi
from workbench.system import paths


def table(signature, body, revision=5, head=36):
    """A table with SIGNATURE whose body begins at offset HEAD."""
    data = bytearray(head) + body
    data[:9] = signature + struct.pack("<IB", len(data), revision)
    data[9] = -sum(data) & 0xff
    return acpi.Table(bytes(data))


def gicc(uid, flags, length=82):
    """A GICC entry as the specification lays it out."""
    return struct.pack("<BBHIIIIIQQQQIQQ", 11, length, 0, uid, uid, flags, 0, 23, 0, 1, 2, 3, 25,
                       4, uid << 8).ljust(length, b"\0")


class Reader(unittest.TestCase):
    def test_madt(self):
        """Flags, identities and length of the CPUs, and the redistributor region."""
        read = acpi.madt(table(b"APIC", gicc(0, 1) + gicc(1, 8) + gicc(2, 0, 76)
                               + struct.pack("<BBHQI", 14, 16, 0, 0x80a0000, 0x20000), head=44))
        self.assertEqual([(c.uid, c.mpidr, c.length, c.enabled, c.online_capable)
                          for c in read.giccs],
                         [(0, 0, 82, True, False), (1, 256, 82, False, True),
                          (2, 512, 76, False, False)])
        first = read.giccs[0]
        self.assertEqual((first.base, first.gicv, first.gich, first.redistributor), (1, 2, 3, 4))
        self.assertEqual((first.performance_interrupt, first.maintenance_interrupt), (23, 25))
        self.assertEqual(read.redistributors, ((0x80a0000, 0x20000),))

    def test_broken_lengths(self):
        """No endless loop on a length of 0, no reading past the end."""
        for body in (b"\x0b\x00", b"\x0b\xff", b"\x0b", gicc(0, 1, 82)[:1] + b"\x04\0\0"):
            with self.assertRaises(acpi.AcpiError):
                acpi.madt(table(b"APIC", body, head=44))
        with self.assertRaises(acpi.AcpiError):
            acpi.Table(b"APIC" + struct.pack("<I", 99) + bytes(40))
        with self.assertRaises(acpi.AcpiError):
            acpi.madt(table(b"PPTT", b""))

    def test_qemu_golden_tables(self):
        """The tables that QEMU ships as expected ones decode to what their options say."""
        folder = paths.QEMU_SRC / "tests/data/acpi/aarch64/virt"
        if not folder.exists():
            self.skipTest(f"{folder} is not there")

        def golden(name):
            return acpi.Table((folder / name).read_bytes())
        cpus = acpi.madt(golden("APIC.topology")).giccs
        self.assertEqual([(c.uid, c.enabled, c.online_capable) for c in cpus],
                         [(uid, True, False) for uid in range(len(cpus))])

    def test_difference(self):
        """Nothing for equal tables, something readable for others."""
        old, new = (table(b"APIC", gicc(0, flags), head=44) for flags in (1, 8))
        self.assertEqual(acpi.difference(old, old), "")
        self.assertIn("-", acpi.difference(old, new))


if __name__ == "__main__":
    common.main()
