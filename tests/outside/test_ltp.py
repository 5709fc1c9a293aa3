#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1800
"""LTP's tests of CPU hotplug in a guest, also on CPUs that were plugged.

In these the guest turns its own CPUs off and on. cpuhotplug01 is left out, as LTP does itself.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import outsidecase  # noqa: E402
from workbench.testing import outsideltp, outsideprograms  # noqa: E402

SETUP = (f"mkdir -p /var/run; cd /tmp; export LTP_COLORIZE_OUTPUT=n "
         f"PATH=/{outsideltp.BIN}:/{outsideprograms.BIN}:$PATH")


class Ltp(outsidecase.OutsideCase, guestcase.GuestCase):
    """Each test has a guest of the pristine QEMU with four CPUs, and one of the patched QEMU."""

    suite = outsideltp.NAME

    def config(self, *arguments, **changes):
        """A Config of a guest with the tests."""
        return super().config(*arguments, **{"initrd": outsideltp.initrd(), **changes})

    def outcome(self, guest, command):
        """(exit status, results) of a test in the guest; the output is shown with a failure."""
        guest.check(SETUP)
        status, output = guest.run(command, 240)
        print(output)
        self.assert_sound(guest)
        return status, outsideltp.results(output)

    def pristine(self, **changes):
        """A guest of the pristine QEMU, with four CPUs."""
        config = self.config(qemu=outsidecase.pristine(), smp="4", **changes)
        return self.boot(config, suffix=".pristine")[0]

    def check_same(self, command, wanted=("TPASS",)):
        """The test COMMAND succeeds and reports WANTED in both guests.

        It is told to use CPU 3, which comes with the machine in one and was plugged in the other.
        """
        wanted = (0, wanted)
        self.assertEqual(self.outcome(self.pristine(), command), wanted, "the pristine QEMU")
        guest, cpus = self.boot()
        cpus.plug(2)
        cpus.plug(3)
        self.assertEqual(self.outcome(guest, command), wanted, "the patched QEMU, CPU 3 plugged")
        # Both were left as they were found, or at least can still be had.
        for number in (2, 3):
            guest.run(f"echo 1 > /sys/devices/system/cpu/cpu{number}/online")
        self.assert_cpus(cpus, range(4))
        cpus.unplug(3)
        self.assert_cpus(cpus, range(3))

    def test_cpuhotplug02(self):
        """A process whose CPU goes offline moves."""
        self.check_same("cpuhotplug02.sh -c 3 -l 1")

    def test_cpuhotplug03(self):
        """A CPU that comes online gets processes."""
        self.check_same("cpuhotplug03.sh -c 3 -l 1")

    def test_cpuhotplug04(self):
        """The last CPU cannot go offline, all others can."""
        self.check_same("cpuhotplug04.sh -l 1", ("TPASS", "TPASS"))

    def test_cpuhotplug05(self):
        """sar shows a CPU that comes online."""
        self.check_same("cpuhotplug05.sh -c 3 -l 1 -d /tmp")

    def test_cpuhotplug06(self):
        """top survives a CPU that goes offline."""
        self.check_same("cpuhotplug06.sh -c 3 -l 1")

    def test_cpuhotplug07(self):
        """A CPU goes offline under load."""
        self.check_same(f"cpuhotplug07.sh -c 3 -l 1 -d {outsideltp.LOAD}")

    def test_cpuset_hotplug(self):
        """Groups of CPUs follow when CPU 1 goes off and on.

        The test wants control groups of version 1, which Debian's later kernels lack. Linux 6.1
        does not know CPUs that come, but has a machine with free slots here.
        """
        wanted = (0, ("TPASS",) * 6)
        command = "cpuset_hotplug_test.sh"
        self.assertEqual(self.outcome(self.pristine(kernel="6.1"), command), wanted)
        guest, cpus = self.boot(self.config("6.1", smp="4,maxcpus=8"))
        self.assertEqual(self.outcome(guest, command), wanted)
        self.assert_cpus(cpus, range(4))


if __name__ == "__main__":
    guestcase.main()
