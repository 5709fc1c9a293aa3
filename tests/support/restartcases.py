# SPDX-License-Identifier: GPL-2.0-or-later
"""Reset and reboot after CPUs came and went, whatever runs the guests."""


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

    def test_added_during_boot(self):
        """A CPU that is added while firmware or kernel start is there in the end."""
        guest, cpus = self.boot()
        for delay in (0.0, 0.6, 1.2):
            guest.qmp("system_reset")
            guest.console.wait_text(".", 30)
            guest.process.wait(delay)
            cpus.add(2)
            guest.wait_ready()
            cpus.wait_enabled(2)
            cpus.bring_online(2)
            self.assert_cpus(cpus, range(3))
            cpus.unplug(2)
            self.assert_cpus(cpus, range(2))
