#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""Debian boots from its disk by its own boot loader; what it does with CPUs that come and go."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import distributioncase  # noqa: E402
from workbench.distribution import image  # noqa: E402


class Boot(distributioncase.SharedCase):

    def test_own_loader(self):
        """Firmware starts GRUB, GRUB the installed kernel and initramfs, and all services run."""
        guest, cpus = self.shared()
        self.assertNotIn("-kernel", guest.process.command)
        release = guest.check("uname -r")
        self.assertIn(f"linux-image-{release}", image.versions())
        line = guest.check("cat /proc/cmdline")
        self.assertRegex(line, rf"^BOOT_IMAGE=/boot/vmlinuz-{release.replace('+', '.')} "
                         "root=UUID=")
        guest.check(f"test -d /sys/firmware/efi && test -e /boot/initrd.img-{release}")
        self.assertEqual(guest.check("cat /proc/1/comm"), "systemd")
        self.assertRegex(guest.check("cat /etc/debian_version"), r"^13\.")
        self.assertEqual(guest.run("systemctl is-system-running")[1], "running",
                         guest.run("systemctl --failed")[1])
        self.assert_cpus(cpus, range(2))

    def test_left_offline(self):
        """Debian registers a CPU that comes, and leaves it offline. It can go again like that."""
        guest, cpus = self.shared()
        cpus.add(2)
        cpus.wait_enabled(2)
        guest.check("udevadm settle")
        cpus.wait_view("CPU 2 enabled and offline", enabled=range(3), online=range(2))
        # Nobody has put it online a while later, either.
        guest.check("sleep 3; udevadm settle")
        cpus.wait_view("CPU 2 enabled and offline", seconds=0, enabled=range(3), online=range(2))
        self.assertEqual(self.lscpu(guest, "online"), {0, 1})
        self.assertIn(2, self.lscpu(guest, "offline"))
        handle = cpus.delete(2)
        cpus.wait_deleted(handle)
        cpus.wait_view("CPU 2 gone", enabled=range(2), online=range(2))

    def test_udev_rule(self):
        """With the rule of examples/, CPUs go online by themselves, are used, and go again."""
        guest, cpus = self.shared()
        self.add_rule(guest)
        for number in (2, 5):
            cpus.add(number)
        self.wait_online(cpus, {0, 1, 2, 5})
        self.assertEqual(self.lscpu(guest, "online"), {0, 1, 2, 5})
        self.assertEqual(guest.check("lscpu | grep 'On-line CPU'").split()[-1], "0-2,5")
        cpus.work({0, 1, 2, 5}, 200)
        for number in (2, 5):
            cpus.unplug(number)
        self.assert_cpus(cpus, range(2))
        self.assertEqual(self.lscpu(guest, "online"), {0, 1})
        self.assert_sound(guest)

    def lscpu(self, guest, state):
        """The CPUs that lscpu lists as STATE: "online" or "offline"."""
        lines = guest.check(f"lscpu --{state} --parse=CPU").splitlines()
        return {int(line) for line in lines if not line.startswith("#")}


if __name__ == "__main__":
    distributioncase.main()
