#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""Debian is switched off, or sleeps and wakes up, with CPUs that were plugged."""

import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import distributioncase  # noqa: E402
from workbench.guest.qemu import FACTOR  # noqa: E402

# systemd runs what is there before and after it sleeps, with "pre" or "post" and what it does.
HOOK = "/usr/lib/systemd/system-sleep/say"
SAY = """#!/bin/sh
echo "guest-sleep $1 $2" > /dev/ttyAMA0
"""
SECONDS = distributioncase.BOOT_SECONDS


class Power(distributioncase.DistributionCase):

    def test_power_button(self):
        """The power button shuts Debian down in order, with CPUs that came and went."""
        guest, cpus = self.boot()
        self.add_rule(guest)
        cpus.add(3)
        self.wait_online(cpus, {0, 1, 3})
        cpus.unplug(1)
        guest.qmp("system_powerdown")
        self.assertEqual(guest.wait_end(SECONDS), 0)

    def prepare(self, guest):
        """Have the guest say when it is awake, and hold something in memory."""
        self.add_rule(guest)
        self.put(guest, HOOK, SAY, "755")
        guest.check("echo remembered > /run/memory; "
                    "cat /proc/sys/kernel/random/boot_id > /run/boot")

    def assert_same_boot(self, guest):
        """It is the system that prepare() was for, not one that has been booted since."""
        self.assertEqual(guest.check("cat /run/memory"), "remembered")
        self.assertEqual(guest.check("cat /run/boot"),
                         guest.check("cat /proc/sys/kernel/random/boot_id"))

    def wait_said(self, guest, when, how):
        """Wait until systemd says that it is about to do HOW (WHEN is "pre"), or has ("post")."""
        guest.console.wait_text(rf"guest-sleep {when} {how}\r?\n", SECONDS * FACTOR,
                                f"sign of a guest {when} {how}")

    @distributioncase.long_only
    def test_hibernate(self):
        """CPUs that were plugged are there after hibernation, and go and come as before."""
        folder = self.folder()
        guest, cpus = self.boot(self.installed(folder))
        self.prepare(guest)
        for number in (2, 5):
            cpus.add(number)
        self.wait_online(cpus, {0, 1, 2, 5})
        options = [word for number in (2, 5) for word in ("-device", cpus.option(number))]
        guest.check("systemctl hibernate --no-block")
        self.assertEqual(guest.wait_end(SECONDS), 0)
        guest.close()
        # Whoever starts QEMU again gives it the CPUs that it had, as libvirt does.
        guest, cpus = self.start(self.installed(folder, extra=options), suffix=".resumed")
        self.wait_said(guest, "post", "hibernate")
        self.assert_same_boot(guest)
        self.assert_cpus(cpus, {0, 1, 2, 5})
        cpus.work({0, 1, 2, 5}, 200)
        cpus.unplug(5)
        cpus.add(3)
        self.wait_online(cpus, {0, 1, 2, 3})
        cpus.unplug(2)
        self.assert_cpus(cpus, {0, 1, 3})
        self.assert_sound(guest)

    @distributioncase.long_only
    def test_suspend_to_idle(self):
        """A guest that sleeps learns of CPUs that come and go as soon as it is awake."""
        guest, cpus = self.boot()
        self.prepare(guest)
        cpus.add(2)
        self.wait_online(cpus, range(3))
        # A key on the console wakes it up.
        guest.check("echo enabled > /sys/class/tty/ttyAMA0/power/wakeup; "
                    "grep -q 's2idle' /sys/power/mem_sleep")
        for lap, (comes, goes) in enumerate(((4, 2), (6, 4))):
            guest.check("dmesg --clear; echo s2idle > /sys/power/mem_sleep; "
                        "systemctl suspend --no-block")
            self.wait_said(guest, "pre", "suspend")
            self.wait_asleep(guest)
            cpus.add(comes)
            handle = cpus.delete(goes)
            self.assertEqual(guest.events("DEVICE_DELETED"), [], "while the guest sleeps")
            guest.console.type("\n")
            self.wait_said(guest, "post", "suspend")
            # Linux learns of the request while it still wakes up, when no CPU may go offline.
            if guest.event(("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"), 60,
                           device=handle)["event"] != "DEVICE_DELETED":
                cpus.delete_again(handle)
                cpus.wait_deleted(handle, 60)
            self.wait_online(cpus, {0, 1, comes})
            self.assertIn("suspend exit", guest.check("dmesg"), f"lap {lap}")
            self.assert_same_boot(guest)
        cpus.work({0, 1, 6}, 200)
        self.assert_sound(guest)

    def wait_asleep(self, guest):
        """Wait until QEMU does next to nothing for a second."""
        def idle():
            before = self.processor_time(guest)
            time.sleep(1)
            return self.processor_time(guest) - before < 0.1

        guest.wait_for(idle, "the guest to sleep", 60)

    def processor_time(self, guest):
        """Seconds of processor time that QEMU has taken."""
        stat = Path(f"/proc/{guest.process.pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    distributioncase.main()
