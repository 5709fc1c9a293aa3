#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=kvm parallel
"""Migration, snapshots and restarts under KVM of guests whose CPUs came and went."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import killcases  # noqa: E402
import labcase  # noqa: E402
import migrationcases  # noqa: E402
import restartcases  # noqa: E402
from guestcase import long_only  # noqa: E402


class HotplugCase(labcase.LabCase):
    """The guests of the cases that are shared with TCG."""

    def config(self, *arguments, **changes):
        return super().config(*arguments, **{"smp": "2,maxcpus=8", **changes})


class Migration(migrationcases.MigrationCases, HotplugCase):
    """The cases of migrationcases.py, in part."""

    test_after_removal = long_only(migrationcases.MigrationCases.test_after_removal)
    test_added_then_removed = long_only(migrationcases.MigrationCases.test_added_then_removed)
    test_added_by_monitor = long_only(migrationcases.MigrationCases.test_added_by_monitor)
    test_pending_insertion = long_only(migrationcases.MigrationCases.test_pending_insertion)
    test_request_during_migration = long_only(
        migrationcases.MigrationCases.test_request_during_migration)
    test_destination_lacks_cpu = long_only(
        migrationcases.MigrationCases.test_destination_lacks_cpu)
    test_destination_has_another_cpu = long_only(
        migrationcases.MigrationCases.test_destination_has_another_cpu)
    test_destination_has_cpu_too_many = long_only(
        migrationcases.MigrationCases.test_destination_has_cpu_too_many)


@long_only
class Messages(migrationcases.MessageCases, HotplugCase):
    """The cases of migrationcases.py."""


@long_only
class Modes(migrationcases.ModeCases, HotplugCase):
    """The cases of migrationcases.py."""


class Snapshot(migrationcases.SnapshotCases, HotplugCase):
    """The cases of migrationcases.py."""

    test_other_cpus = long_only(migrationcases.SnapshotCases.test_other_cpus)


class Reboot(restartcases.RebootCases, HotplugCase):
    """The cases of restartcases.py."""

    test_removed = long_only(restartcases.RebootCases.test_removed)
    test_added_during_boot = long_only(restartcases.RebootCases.test_added_during_boot)
    test_removed_during_boot = long_only(restartcases.RebootCases.test_removed_during_boot)


@long_only
class Kills(killcases.KillCases, HotplugCase):
    """The cases of killcases.py: a round takes as long as a test elsewhere."""

    # QEMU has KVM write pending interrupts to memory when the guest stops. That of a root port comes
    # after that here, and would not be saved.
    port = False


class DirtyRing(migrationcases.Moving, HotplugCase):
    """KVM tells in a ring for each vCPU which pages it has written."""

    ring = "kvm,dirty-ring-size=1024"

    def start_writer(self, guest):
        """Have CPU 1 write 8 MiB again and again; it counts the laps in /tmp/laps."""
        guest.check("rm -f /tmp/laps; taskset -c 1 sh -c 'lap=0; while :; do "
                    "dd if=/dev/zero of=/tmp/written bs=64k count=128 2> /dev/null; "
                    "lap=$((lap + 1)); echo $lap > /tmp/lap; mv /tmp/lap /tmp/laps; done' & "
                    "echo $! > /tmp/writer; until [ -s /tmp/laps ]; do usleep 10000; done")

    def save(self, guest):
        """Save the state while the writer writes, and go on."""
        guest.qmp("migrate-set-parameters", {"max-bandwidth": 1 << 20})
        guest.qmp("migrate", {"uri": f"file:{self.folder()}/state"})
        lap = int(guest.check("cat /tmp/laps"))
        # Each lap fills the ring twice.
        guest.wait_for(lambda: int(guest.check("cat /tmp/laps")) > lap + 2,
                       "CPU 1 writes while the pages that it writes are collected", 60)
        guest.check("kill $(cat /tmp/writer); wait")
        guest.qmp("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        self.finish_migration(guest)

    def boot_with_holes(self):
        """A guest whose CPUs are 0 and 5, of which 5 writes to memory all the time."""
        guest, cpus = self.boot(self.config(accel=self.ring, smp="1,maxcpus=8"))
        cpus.plug(5)
        guest.check("(while :; do taskset -c 5 dd if=/dev/zero of=/tmp/written bs=64k count=128 "
                    "2> /dev/null; done) & echo $! > /tmp/writer")
        return guest, cpus

    def test_rates(self):
        """Each CPU has its own rate, wherever its slot is."""
        guest, cpus = self.boot_with_holes()

        def rates():
            guest.qmp("calc-dirty-rate", {"calc-time": 1, "mode": "dirty-ring"})
            guest.wait_for(lambda: guest.qmp("query-dirty-rate")["status"] == "measured",
                           "dirty rate", 60)
            found = {entry["id"]: entry["dirty-rate"]
                     for entry in guest.qmp("query-dirty-rate")["vcpu-dirty-rate"]}
            self.assertLessEqual({0, 5}, set(found))
            self.assertEqual({found[number] for number in found if number not in cpus.taken()},
                             {0}, found)
            # In whole megabytes a second, which a slow host may not reach each time.
            return found[5] > 0

        guest.wait_for(rates, "a rate of the CPU that writes", 60)
        guest.check("kill $(cat /tmp/writer)")
        cpus.unplug(5)
        self.assert_cpus(cpus, {0})

    @long_only
    def test_limit(self):
        """A limit of a CPU that goes and comes, and a migration that may slow down CPUs."""
        source, cpus = self.boot_with_holes()
        source.qmp("set-vcpu-dirty-limit", {"cpu-index": 5, "dirty-rate": 1})
        source.wait_for(lambda: self.limits(source) == {5: 1},
                        lambda: f"a limit for CPU 5, not {self.limits(source)}")
        source.check("kill $(cat /tmp/writer); wait", 60)
        cpus.unplug(5)
        cpus.plug(5)
        source.qmp("cancel-vcpu-dirty-limit")
        source.qmp("migrate-set-capabilities", {"capabilities": [
            {"capability": "dirty-limit", "state": True}]})
        target, there = self.destination(source, cpus, accel=self.ring, smp="1,maxcpus=8")
        self.moved(source, target)
        self.assert_cpus(there, {0, 5})
        there.unplug(5)
        there.plug(2)
        self.assert_cpus(there, {0, 2})

    def limits(self, guest):
        """{index: limit in MB/s} of the CPUs that have one."""
        return {entry["cpu-index"]: entry["limit-rate"]
                for entry in guest.qmp("query-vcpu-dirty-limit")}

    def test_ring_of_cpu_that_comes_again(self):
        """The ring is read where the kernel goes on, also for the next CPU with that vCPU."""
        guest, cpus = self.boot(self.config(accel="kvm,dirty-ring-size=1024", smp="1,maxcpus=2"))
        for _ in range(2):
            cpus.plug(1)
            self.start_writer(guest)
            self.save(guest)
            cpus.unplug(1)
        self.assert_cpus(cpus, {0})


if __name__ == "__main__":
    labcase.main()
