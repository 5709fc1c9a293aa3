#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 suite=kvm parallel
"""The emulated Arm host and guests with KVM in it."""

import signal
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
from workbench.guest.guest import Config, Guest  # noqa: E402
from workbench.guest.qemu import FACTOR, GuestError  # noqa: E402
from workbench.lab import image  # noqa: E402
from workbench.lab.lab import Lab  # noqa: E402


class Host(unittest.TestCase):
    """What the emulated host offers. It is tested on Arm machines, too."""

    def setUp(self):
        self.addCleanup(labcase.judge_hosts)
        self.host = labcase.host()

    def test_kvm(self):
        """KVM with the host kernel at EL2, as on servers."""
        self.host.check("[ -c /dev/kvm ]")
        self.host.check("dmesg | grep -q 'kvm.*VHE mode initialized successfully'")

    def test_interrupts(self):
        """GICv3 with an ITS, which message signalled interrupts need."""
        self.host.check("dmesg | grep -q 'GICv3: '")
        self.host.check("dmesg | grep -q 'ITS.*allocated .* Devices'")

    def groups(self, *drivers):
        """The IOMMU groups of the PCI functions with one of DRIVERS, which is loaded."""
        for driver in drivers:
            self.host.check(f"modprobe {driver}")
        folders = " ".join(f"/sys/bus/pci/drivers/{driver}/0*" for driver in drivers)
        # A function is put into its group when a driver comes to it.
        return self.host.check(f"for function in {folders}; do "
                               "[ ! -e $function ] || readlink $function/iommu_group; done").split()

    def test_iommu(self):
        """The SMMU has each PCI function behind a root port in a group of its own."""
        self.host.check("dmesg | grep -q arm-smmu-v3")
        groups = self.groups("igb", "nvme")
        self.assertEqual(len(groups), 2)
        self.assertEqual(len(set(groups)), 2)

    def test_sriov(self):
        """The network card can be split into virtual functions, each in a group of its own."""
        own = self.groups("igb")
        card = self.host.check("dirname /sys/bus/pci/drivers/igb/0*/sriov_totalvfs")
        self.assertEqual(self.host.check(f"cat {card}/sriov_totalvfs"), "7")
        self.host.check(f"echo 2 > {card}/sriov_numvfs")
        self.assertEqual(len(set(own + self.groups("igbvf"))), 3)
        self.host.check(f"echo 0 > {card}/sriov_numvfs")

    def test_nvme(self):
        """The disk is there, and has its size."""
        self.host.check("modprobe nvme; until [ -b /dev/nvme0n1 ]; do sleep 0.05; done")
        self.assertEqual(int(self.host.check("cat /sys/block/nvme0n1/size")) * 512,
                         image.DISK_SIZE)

    def test_commands(self):
        """Exit status and output of a command and of a program come back, and files go in."""
        self.assertEqual(self.host.shell("echo one; echo two >&2; false"), (1, "one\ntwo"))
        self.assertEqual(self.host.run(["sh", "-c", "echo \"$1\"; exit 3", "x", "a  'b' $c"]),
                         (3, "a  'b' $c"))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "a file")
            file.write_bytes(bytes(range(256)) * 4096)
            copy = self.host.file(file)
            self.assertEqual(self.host.check(f"wc -c < '{copy}'"), str(256 * 4096))
            self.assertEqual(self.host.file(file), copy)

    def test_crash(self):
        """What the host says last is in the failures of its guests, at once."""
        with Lab("test_boot.crash") as host:
            # Without firmware it only waits.
            guest = Guest(Config(qemu=image.binary(), place=host), "test_boot.crash.guest")
            guest.expect(status=-signal.SIGKILL)    # with the host
            self.addCleanup(guest.close)
            host.guest.console.send("echo c > /proc/sysrq-trigger")
            start = time.monotonic()
            for _ in range(2):
                with self.assertRaisesRegex(GuestError, "sysrq triggered crash"):
                    guest.wait_for(lambda: guest.qmp("query-status") and False, "never", 5)
            self.assertFalse(host.alive())
            self.assertLess(time.monotonic() - start, 25 * FACTOR)


class Boot(labcase.LabCase):

    def test_guest(self):
        """Two vCPUs under UEFI and ACPI, to the shell."""
        guest, cpus = self.boot()
        self.assertEqual(guest.qmp("query-kvm"), {"enabled": True, "present": True})
        self.assertEqual(cpus.view().online, {0, 1})
        guest.check("[ -e /sys/firmware/acpi/tables/APIC ]")
        self.assertGreater(guest.process.threads(), 3)
        self.assertGreater(guest.process.resident(), 50000)
        guest.console.send("poweroff -f")
        self.assertEqual(guest.wait_end(), 0)

    def test_newest_kernel(self):
        guest, cpus = self.boot(self.config(kernel="7"))
        self.assertEqual(cpus.view().online, {0, 1})
        self.assertRegex(guest.check("uname -r"), "^7")

    def test_snapshot(self):
        """A disk image is made where the guest runs, and holds a snapshot."""
        guest, _ = self.boot(self.config(extra=self.disk()))
        self.assertEqual(guest.hmp("savevm one"), "")
        self.assertEqual(guest.hmp("loadvm one"), "")
        guest.check("true")

    def test_start_failure(self):
        """QEMU's own words come back when it does not start."""
        with self.assertRaisesRegex(labcase.GuestError, "status 1(.|\n)*no-such-machine"):
            self.start(self.config(machine="no-such-machine"))


if __name__ == "__main__":
    labcase.main()
