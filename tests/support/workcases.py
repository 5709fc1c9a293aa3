# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU that is removed while others want something from its thread, whatever runs the guest."""


class WorkCases:
    """For a GuestCase."""

    def collect(self, guest, mode):
        """Have QEMU collect the pages that the guest writes, at the begin and the end of 0.1 s."""
        guest.qmp("calc-dirty-rate", {"calc-time": 100, "calc-time-unit": "millisecond",
                                      "mode": mode})
        guest.wait_for(lambda: guest.qmp("query-dirty-rate")["status"] == "measured",
                       "dirty pages to be collected while CPU 1 waits to be removed", 60)

    def check_migration(self, mode, **changes):
        """Dirty pages are collected while a CPU that the guest has given back is still there.

        It is removed when the migration has ended. MODE is that of calc-dirty-rate.
        """
        guest, cpus = self.boot(self.config(smp="1,maxcpus=2", **changes))
        cpus.plug(1)
        # device_del is refused while migrating. At this bandwidth the migration does not end.
        guest.qmp("stop")
        handle = cpus.delete(1)
        guest.qmp("migrate-set-parameters", {"max-bandwidth": 1000})
        guest.qmp("migrate", {"uri": "exec:cat > /dev/null"})
        guest.qmp("cont")
        cpus.wait_view("CPU 1 to be given back", enabled={0}, online={0})
        for _ in range(3):
            self.collect(guest, mode)
        self.assertEqual(guest.qmp("query-migrate")["status"], "active")
        self.assertEqual(len(guest.qmp("query-cpus-fast")), 2)
        self.cancel_migration(guest)
        cpus.wait_deleted(handle)
        cpus.plug(1)
        self.assert_cpus(cpus, {0, 1})
