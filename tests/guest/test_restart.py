#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel sanitizers=asan
"""Reset, reboot and kexec after CPUs came and went."""

import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import restartcases  # noqa: E402
from workbench.guest import assets  # noqa: E402

COMPLAINTS = "Oops|BUG|WARNING|Call trace"


def assert_quiet(case, guest):
    """No complaint in what the running kernel has logged."""
    case.assertEqual(guest.run(f"dmesg | grep -E -A 8 '{COMPLAINTS}'")[1], "")


class Reboot(restartcases.RebootCases, guestcase.GuestCase):
    """The cases of restartcases.py with TCG."""

    def test_power_button(self):
        """The power button reaches a guest whose CPUs came and went, and it powers off."""
        guest, cpus = self.boot()
        for number in (3, 5):
            cpus.plug(number)
        for number in (1, 5):
            cpus.unplug(number)
        restartcases.press_button(guest, lambda: guest.qmp("system_powerdown"))
        guest.event("POWERDOWN")
        self.assert_cpus(cpus, {0, 3})
        guest.console.send("poweroff -f")
        self.assertEqual(guest.wait_end(), 0)


class Kexec(guestcase.GuestCase):
    """A kexec starts the new kernel with the tables of the last reset.

    Linux' document on arm64 CPU hot-plug warns of that for CPUs that are Enabled there and gone.
    7.x has what came with that warning (June 2026), 6.12 has not.
    """

    def kexec(self, guest):
        # -i: the check sums of what is started take ten seconds under emulation.
        guest.check("kexec -l -i /boot/vmlinuz --initrd=/boot/initrd.gz --reuse-cmdline", 90)
        assert_quiet(self, guest)
        # Warnings of the kernel that ends go to the console, as nobody can ask it for its log.
        guest.check("dmesg -n 5")
        guest.console.send("kexec -e")
        guest.wait_ready()
        assert_quiet(self, guest)
        self.assertIsNone(re.search(COMPLAINTS, guest.log.read_text("utf-8", "replace")))

    def boot_for_kexec(self, kernel, **changes):
        return self.boot(self.config(kernel, initrd=assets.initrd_kexec(kernel), memory="768M",
                                     **changes))

    def check_added(self, kernel):
        guest, cpus = self.boot_for_kexec(kernel)
        cpus.plug(2)
        self.kexec(guest)
        # Linux 6.12 has CPU 2 online by now; later ones leave that to userspace.
        cpus.wait_enabled(2)
        cpus.bring_online(2)
        self.assert_cpus(cpus, range(3))
        cpus.work(range(3))
        cpus.unplug(2)
        cpus.plug(3)
        self.assert_cpus(cpus, {0, 1, 3})
        assert_quiet(self, guest)

    def check_removed(self, kernel):
        guest, cpus = self.boot_for_kexec(kernel, smp="3,maxcpus=4")
        cpus.unplug(1)
        self.kexec(guest)
        view = cpus.view()
        self.assertEqual(view.online, {0, 2}, f"the guest shows {view}")
        cpus.plug(1)
        self.assert_cpus(cpus, range(3))
        cpus.work(range(3))
        cpus.unplug(2)
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))
        assert_quiet(self, guest)

    def test_added_then_kexec(self):
        self.check_added(assets.DEFAULT_KERNEL)

    def test_removed_then_kexec(self):
        self.check_removed(assets.DEFAULT_KERNEL)

    def test_added_then_kexec_newest(self):
        self.check_added("7")

    def test_removed_then_kexec_newest(self):
        self.check_removed("7")


class Smt(guestcase.GuestCase):
    """All second threads off and on by the guest, with CPUs of -smp removed and others added."""

    CONTROL = "/sys/devices/system/cpu/smt/control"

    def check_control(self, kernel):
        """CPUs 2 and 3, 4 and 5, ... are two threads of a core each."""
        guest, cpus = self.boot(self.config(kernel, smp="6,maxcpus=8,sockets=1,cores=4,threads=2"))
        # One loses its first thread, another one its second.
        cpus.unplug(2)
        cpus.unplug(5)
        cpus.plug(7)
        self.assert_cpus(cpus, {0, 1, 3, 4, 7})
        able = guest.check(f"cat {self.CONTROL}") == "on"
        # Of the threads that are there, only CPU 1 is the second one of its core.
        for word, online in (("off", {0, 3, 4, 7}), ("on", {0, 1, 3, 4, 7})):
            status, text = guest.run(f"echo {word} > {self.CONTROL}", 60)
            self.assertEqual(status == 0, able, f"{word}: {text}; {cpus.describe()}")
            if able:
                self.assertEqual(cpus.view().online, online, f"{word}: {cpus.view()}")
        self.assert_cpus(cpus, {0, 1, 3, 4, 7})
        cpus.plug(2)
        cpus.plug(5)
        self.assert_cpus(cpus, {0, 1, 2, 3, 4, 5, 7})
        cpus.unplug(3)
        assert_quiet(self, guest)
        return able

    def test_control(self):
        """Before 6.15 Linux has no such thing on arm64, and says so."""
        self.check_control(assets.DEFAULT_KERNEL)

    def test_control_newest(self):
        self.assertTrue(self.check_control("7"), "smt/control does not work here")


if __name__ == "__main__":
    guestcase.main()
