# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU that is removed while others want something from its thread, whatever runs the guest."""

from workbench.preload import Preloaded

SYNC = "migration_bitmap_sync_end"


class WorkCases:
    """For a GuestCase."""

    def syncs(self, log):
        """How often the migration of the QEMU with the LOG has collected the dirty pages."""
        return int(self.place.run(["sh", "-c", f"grep -c {SYNC} {log} || true"])[1])

    def check_migration(self, **changes):
        """Dirty pages are collected while a CPU is removed.

        The removal is held where the CPU's thread has ended and the CPU is still there.
        """
        folder = self.folder()
        log = folder / "log"
        config = Preloaded.of(self.config(smp="1,maxcpus=2", memory="256M", extra=[
            "-trace", SYNC, "-D", log], **changes), folder)
        guest, cpus = self.boot(config)
        cpus.plug(1)
        guest.check("taskset -c 0 sh -c 'while :; do dd if=/dev/zero of=/tmp/written bs=64k "
                    "count=128 2> /dev/null; done' & echo $! > /tmp/writer")
        # device_del is refused while migrating. The migration collects again and again, and cannot
        # end.
        guest.qmp("stop")
        handle = cpus.delete(1)
        guest.qmp("migrate-set-parameters", {"max-bandwidth": 64 << 20, "downtime-limit": 0})
        guest.qmp("migrate", {"uri": "exec:cat > /dev/null"})
        config.ask("hold")
        guest.qmp("cont")
        # Neither monitor nor console answer while it is held.
        guest.wait_for(lambda: config.done("held"), "the removal to be held")
        before = self.syncs(log)
        try:
            guest.wait_for(lambda: self.syncs(log) > before + 2,
                           "dirty pages to be collected while CPU 1 is removed", 60)
        finally:
            config.stop("hold")
        cpus.wait_deleted(handle)
        # Where the guest is slow, all has been sent by now, and it is stopped.
        guest.qmp("migrate-set-parameters", {"max-bandwidth": 1 << 40, "downtime-limit": 10000})
        guest.wait_for(lambda: guest.qmp("query-migrate")["status"] == "completed",
                       lambda: f"the end of {guest.qmp('query-migrate')}", 60)
        guest.qmp("cont")
        guest.check("kill $(cat /tmp/writer)")
        cpus.plug(1)
        self.assert_cpus(cpus, {0, 1})
