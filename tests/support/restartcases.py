# SPDX-License-Identifier: GPL-2.0-or-later
"""Reset, reboot and the end after CPUs came and went, whatever runs the guests."""

import contextlib

from workbench.guest.qemu import FACTOR, GuestError
from workbench.system import polling

# Seconds after the first sign of the firmware, at which it or the kernel is starting
DELAYS = (0.0, 0.6, 1.2)
# Linux counts here how often the power button was pressed. Programs read an input device instead,
# for which these guests have no driver.
BUTTON = "/sys/bus/acpi/devices/PNP0C0C:00/power/wakeup_active_count"


def press_button(guest, press):
    """Call PRESS, which presses the guest's power button, and wait until the guest has noticed."""
    before = int(guest.check(f"cat {BUTTON}"))
    press()
    guest.wait_for(lambda: int(guest.check(f"cat {BUTTON}")) > before,
                   "the guest to notice the power button")


class RebootCases:
    """For a GuestCase."""

    def test_added(self):
        """Added CPUs are online at once after a reset and after a reboot, and can be removed.

        A removal that the guest has not answered is carried out at the reset.
        """
        guest, cpus = self.boot()
        for number in (2, 4, 5):
            cpus.plug(number)
        guest.qmp("stop")
        handle = cpus.delete(5)
        guest.qmp("system_reset")
        cpus.wait_deleted(handle)
        guest.qmp("cont")
        guest.wait_ready()
        self.assert_cpus(cpus, {0, 1, 2, 4})
        cpus.unplug(2)
        self.reboot(guest)
        self.assert_cpus(cpus, {0, 1, 4})
        cpus.unplug(4)
        cpus.plug(2)
        self.assert_cpus(cpus, {0, 1, 2})

    def test_removed(self):
        """CPUs of -smp that were removed stay away after a reset, and can be added again."""
        guest, cpus = self.boot(self.config(smp="4,maxcpus=6"))
        cpus.unplug(1)
        cpus.unplug(3)
        self.reset(guest)
        self.assert_cpus(cpus, {0, 2})
        cpus.plug(1)
        self.assert_cpus(cpus, {0, 1, 2})
        self.reboot(guest)
        self.assert_cpus(cpus, {0, 1, 2})

    def test_shutdown(self):
        """A guest whose CPUs came and went powers off, and QEMU ends."""
        guest, cpus = self.boot()
        cpus.plug(3)
        cpus.unplug(1)
        guest.console.send("poweroff -f")
        self.assertEqual(guest.wait_end(), 0)

    def begin_boot(self, guest, delay):
        """Reset the machine; returns DELAY seconds after the first sign of the firmware."""
        guest.qmp("system_reset")
        guest.console.wait_text(".", 30 * FACTOR)
        guest.process.wait(delay)

    def test_added_during_boot(self):
        """A CPU that is added while firmware or kernel start is there in the end."""
        guest, cpus = self.boot()
        for delay in DELAYS:
            self.begin_boot(guest, delay)
            cpus.add(2)
            guest.wait_ready()
            cpus.wait_enabled(2)
            cpus.bring_online(2)
            self.assert_cpus(cpus, range(3))
            cpus.unplug(2)
            self.assert_cpus(cpus, range(2))

    def test_removed_during_boot(self):
        """A CPU that is to go while firmware or kernel start is gone in the end.

        A guest that does not handle the interrupt of such requests yet misses this one. It answers
        when it is asked again.
        """
        guest, cpus = self.boot()
        for delay in DELAYS:
            cpus.plug(2)
            self.begin_boot(guest, delay)
            handle = cpus.delete(2)
            guest.wait_ready()
            if not polling.until(lambda: 2 not in cpus.taken(), 3 * FACTOR):
                # A slow guest may be about to answer the first request after all.
                with contextlib.suppress(GuestError):
                    cpus.delete(2)
            cpus.wait_deleted(handle)
            cpus.wait_view("CPU 2 gone", enabled={0, 1}, online={0, 1})
            self.assert_cpus(cpus, range(2))
