# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU that is removed while others want something from its thread, whatever runs the guest."""

SYNC = "migration_bitmap_sync_end"


class WorkCases:
    """For a GuestCase."""

    def syncs(self, log):
        """How often the migration of the QEMU with the LOG has collected the dirty pages."""
        return int(self.place.run(["sh", "-c", f"grep -c {SYNC} {log} || true"])[1])

    def check_migration(self, **changes):
        """Dirty pages are collected while a CPU that the guest has given back is still there.

        It is removed when the migration has ended.
        """
        log = self.folder() / "log"
        guest, cpus = self.boot(self.config(smp="1,maxcpus=2", memory="256M", extra=[
            "-trace", SYNC, "-D", log], **changes))
        cpus.plug(1)
        guest.check("taskset -c 0 sh -c 'while :; do dd if=/dev/zero of=/tmp/written bs=64k "
                    "count=128 2> /dev/null; done' & echo $! > /tmp/writer")
        # device_del is refused while migrating. The migration collects again and again, and cannot
        # end.
        guest.qmp("stop")
        handle = cpus.delete(1)
        guest.qmp("migrate-set-parameters", {"max-bandwidth": 64 << 20, "downtime-limit": 0})
        guest.qmp("migrate", {"uri": "exec:cat > /dev/null"})
        guest.qmp("cont")
        cpus.wait_view("CPU 1 to be given back", enabled={0}, online={0})
        before = self.syncs(log)
        guest.wait_for(lambda: self.syncs(log) > before + 2,
                       "dirty pages to be collected while CPU 1 waits to be removed", 60)
        self.assertEqual(len(guest.qmp("query-cpus-fast")), 2)
        guest.qmp("migrate_cancel")
        cpus.wait_deleted(handle)
        guest.check("kill $(cat /tmp/writer)")
        cpus.plug(1)
        self.assert_cpus(cpus, {0, 1})
