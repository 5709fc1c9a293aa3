#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: parallel
"""What the AML of hotpluggable CPUs answers, executed by ACPICA's acpiexec."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from workbench.compare import acpitables, snapshots
from workbench.compare.instance import empty_firmware

# acpiexec takes every bit of the registers for this, the one that says "has a CPU" among them.
TAKEN, FREE = "1", "0"


class HotpluggableCpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="aml-")
        cls.addClassCleanup(cls.folder.cleanup)
        _, patched = common.binaries("aarch64")
        firmware = empty_firmware(cls.folder.name)
        snapshot = snapshots.snapshot(patched, [
            "-machine", "virt", "-cpu", "cortex-a57", "-m", "256M", "-smp", "2,maxcpus=300",
            "-bios", str(firmware)])
        cls.dsdt = Path(cls.folder.name, "dsdt.aml")
        dsdt = bytearray(acpitables.find(snapshot.tables, "DSDT").data)
        # Firmware would fill in the checksum, as the table loader tells it to.
        dsdt[9] = -(sum(dsdt) - dsdt[9]) & 0xff
        cls.dsdt.write_bytes(dsdt)

    def execute(self, command, registers):
        """The output of acpiexec for COMMAND with all REGISTERS reading as that value."""
        done = subprocess.run(["acpiexec", "-di", "-fv", registers, "-b", command, self.dsdt],
                              cwd=self.folder.name, capture_output=True, text=True, check=False,
                              timeout=60)
        self.assertNotRegex(done.stdout + done.stderr, r"ACPI (Error|Exception)")
        return done.stdout

    def status(self, number, registers):
        """What _STA of CPU NUMBER returns."""
        path = rf"\_SB.CPUS.P{number:03X}.C{number:03X}._STA"
        found = re.findall(r"\[Integer\] = ([0-9A-F]+)",
                           self.execute(f"evaluate {path}", registers))
        self.assertEqual(len(found), 1)
        return int(found[0], 16)

    def test_status(self):
        """_STA: present in any case, enabled with a CPU in the slot."""
        for number in (0, 1, 2, 299):
            self.assertEqual(self.status(number, FREE), 0xd)
            self.assertEqual(self.status(number, TAKEN), 0xf)

    def test_eject(self):
        """Each CPU but the boot CPU has _EJ0."""
        found = set(re.findall(r"\.C([0-9A-F]{3})\._EJ0", self.execute("find _EJ0", FREE)))
        self.assertEqual(found, {f"{number:03X}" for number in range(1, 300)})

    def test_containers(self):
        """Each CPU has a container to itself, and none has _MAT."""
        text = self.execute("find _MAT", FREE)
        self.assertNotRegex(text, r"\.C[0-9A-F]{3}\._MAT")
        found = re.findall(r"\\_SB\.CPUS\.P([0-9A-F]{3})\.C([0-9A-F]{3})\._STA",
                           self.execute("find _STA", FREE))
        self.assertEqual(sorted(found), sorted((f"{n:03X}", f"{n:03X}") for n in range(300)))

    def test_notify(self):
        """The bisection ends at the CPU that is asked for."""
        for number in (0, 1, 149, 150, 299):
            text = self.execute(rf"execute \_SB.CPUS.CTFY {number} 1", FREE)
            self.assertIn(f"System Notify on [C{number:03X}]", text)


if __name__ == "__main__":
    common.main()
