#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Reset, reboot and kexec after CPUs came and went."""

import guestcase
import restartcases
from workbench import assets


class Reboot(restartcases.RebootCases, guestcase.GuestCase):
    """The cases of restartcases.py with TCG."""


class Kexec(guestcase.GuestCase):
    """A kexec starts the new kernel with the tables of the last reset."""

    def kexec(self, guest):
        # -i: the check sums of what is started take ten seconds under emulation.
        guest.check("kexec -l -i /boot/vmlinuz --initrd=/boot/initrd.gz --reuse-cmdline", 90)
        guest.console.send("kexec -e")
        guest.wait_ready()

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

    def test_added_then_kexec(self):
        self.check_added(assets.DEFAULT_KERNEL)

    def test_removed_then_kexec(self):
        self.check_removed(assets.DEFAULT_KERNEL)

    def test_added_then_kexec_newest(self):
        self.check_added("7")

    def test_removed_then_kexec_newest(self):
        self.check_removed("7")


if __name__ == "__main__":
    guestcase.main()
