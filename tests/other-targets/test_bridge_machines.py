#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120
"""Machines whose PCI bridges have windows that no register moves, or that are set up by hardware:
boston of MIPS and sun4u of SPARC. The series closes windows of bridges when a machine is reset.
"""

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

from guestcase import long_only  # noqa: E402
from workbench.guest import assets  # noqa: E402
from workbench.guest.qemu import FACTOR  # noqa: E402
from workbench.system import paths, tools  # noqa: E402
from workbench.testing.tap import main  # noqa: E402

tools.activate()
import pexpect  # noqa: E402

QTEST = paths.PATCHED / "tests/qtest/pci-bridge-windows-test"


@long_only
class Reset(unittest.TestCase):
    """What the guest had before the reset, and what it has after it."""

    def qemu(self, target):
        """The emulator of TARGET, which the suite has built."""
        return paths.TARGETS / f"qemu-system-{target}"

    def check_windows(self, target, machine):
        """QEMU's own test of the series, which Meson runs for these targets in a build of all."""
        test = f"/{target}/pci-bridge-windows/{machine}/reset"
        done = subprocess.run([QTEST, "--tap", "-p", test], text=True, check=False,
                              env=dict(os.environ, QTEST_QEMU_BINARY=str(self.qemu(target))),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * FACTOR)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, f"(?m)^ok 1 {re.escape(test)}$")

    def test_boston(self):
        """The window of the bridge of boston is part of the host bridge."""
        self.check_windows("mips64el", "boston")

    def test_sun4u(self):
        """The bridges of sun4u have windows at address 0, which are open before any is written."""
        self.check_windows("sparc64", "sun4u")

    def test_sun4u_boots(self):
        """OpenBIOS finds the devices behind the bridges, also after a reset by the guest."""
        command = [str(self.qemu("sparc64")), "-machine", "sun4u", "-nographic", "-nic", "none",
                   "-vga", "none", "-bios", str(assets.firmware_sparc64())]
        with pexpect.spawn(command[0], command[1:], timeout=60 * FACTOR, encoding="utf-8",
                           codec_errors="replace") as console:
            console.expect_exact("Welcome to OpenBIOS")
            console.expect_exact("0 > ")
            console.sendline("reset-all")
            console.expect_exact("Welcome to OpenBIOS")
            console.expect_exact("0 > ")
            console.sendline("show-devs")
            console.expect_exact("ebus")
            console.sendcontrol("a")
            console.send("x")
            console.expect(pexpect.EOF)
            console.close()
            self.assertEqual((console.exitstatus, console.signalstatus), (0, None))


if __name__ == "__main__":
    main()
