#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900
"""Debian's kdump writes a dump of a kernel that crashes after CPUs were plugged."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import distributioncase  # noqa: E402

DUMPS = "/var/crash"
MEMORY = "3G"                   # of less than 2 GiB, Debian sets nothing aside for the crash kernel


@distributioncase.long_only
class Crash(distributioncase.DistributionCase):

    def wait_loaded(self, guest):
        """Wait until the crash kernel is in its place."""
        guest.wait_for(lambda: guest.run("cat /sys/kernel/kexec_crash_loaded")[1] == "1",
                       lambda: "a crash kernel; " + guest.run("kdump-config status")[1], 120)

    def check_crash(self, guest, cpus, number):
        """The kernel crashes on CPU NUMBER, its dump is written, and the guest boots again."""
        there = cpus.taken()
        guest.console.send(f"sync; taskset -c {number} sh -c 'echo c > /proc/sysrq-trigger'")
        # The crash kernel boots, writes the dump and resets the machine.
        guest.attach(2 * distributioncase.BOOT_SECONDS)
        self.assert_cpus(cpus, there)
        dump = guest.check(f"ls {DUMPS}/*/dump.*")
        self.assertEqual(len(dump.split()), 1, dump)
        log = guest.check(f"makedumpfile --dump-dmesg {dump} /tmp/dmesg > /dev/null && "
                          "grep -A 3 'sysrq: Trigger a crash' /tmp/dmesg", 120)
        self.assertRegex(log, rf"CPU: {number} ")
        # A compressed dump begins with this.
        self.assertEqual(guest.check(f"head -c 7 {dump}"), "KDUMP")
        self.assertGreater(int(guest.check(f"stat -c %s {dump}")), 1 << 20)

    def test_loaded_before(self):
        """The crash kernel was loaded at boot, and CPUs came later; one of them crashes."""
        guest, cpus = self.boot(self.installed(memory=MEMORY))
        self.wait_loaded(guest)
        self.add_rule(guest)
        for number in (2, 5):
            cpus.add(number)
        self.wait_online(cpus, {0, 1, 2, 5})
        self.wait_loaded(guest)
        self.check_crash(guest, cpus, 5)

    def test_loaded_after(self):
        """The crash kernel is loaded when CPUs have come and gone."""
        guest, cpus = self.boot(self.installed(memory=MEMORY))
        self.add_rule(guest)
        for number in (2, 3, 5):
            cpus.add(number)
        self.wait_online(cpus, {0, 1, 2, 3, 5})
        cpus.unplug(2)
        guest.check("kdump-config unload; kdump-config load", 120)
        self.wait_loaded(guest)
        self.check_crash(guest, cpus, 3)

    def test_removed_after(self):
        """A CPU goes that was there when the crash kernel was loaded."""
        guest, cpus = self.boot(self.installed(memory=MEMORY, smp="3,maxcpus=8"))
        self.wait_loaded(guest)
        cpus.unplug(1)
        self.wait_loaded(guest)
        self.check_crash(guest, cpus, 2)


if __name__ == "__main__":
    distributioncase.main()
