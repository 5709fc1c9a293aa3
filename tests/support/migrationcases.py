# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration and snapshots of guests whose CPUs came and went, whatever runs them."""

import time

from guestcase import CHANNEL_CLOSED
from workbench.guest import migration, modules
from workbench.guest.qemu import Refused


class Moving:
    """Moving a guest from one QEMU to another. For a GuestCase."""

    def destination(self, source, cpus, added=None, by_monitor=False, **changes):
        """Start the other side: like SOURCE, its added CPUs (or those ADDED) given with -device.

        BY_MONITOR gives them with device_add instead. CHANGES are fields of Config.
        """
        slots = cpus.slots()
        if added is None:
            added = [number for number, slot in enumerate(slots)
                     if slot.get("qom-path", "").startswith("/machine/peripheral/")]
        extra = [*changes.pop("extra", ()), "-incoming", "defer"]
        for number in () if by_monitor else added:
            extra += ["-device", cpus.option(number)]
        guest, there = self.start(self.config(extra=extra, **changes), suffix=".destination")
        for number in added if by_monitor else ():
            there.add(number)
        return guest, there

    def migrate(self, source, destination, *capabilities):
        """Move the guest; returns the status on the source, "completed" or "failed"."""
        self.start_migration(source, destination, *capabilities)
        return self.migration_status(source)

    def start_migration(self, source, destination, *capabilities):
        """Begin to move the guest with CAPABILITIES."""
        migration.begin(source, destination, f"unix:{self.folder()}/migration", *capabilities)

    def start_slow_migration(self, source, destination):
        """Begin to move the guest, too slowly to come to an end; returns when that has begun."""
        source.qmp("migrate-set-parameters", {"max-bandwidth": 100000})
        uri = f"unix:{self.folder()}/migration"
        destination.qmp("migrate-incoming", {"uri": uri})
        source.qmp("migrate", {"uri": uri})
        source.wait_for(lambda: source.qmp("query-migrate").get("status") == "active",
                        "migration is active")

    def cancelled(self, source, destination):
        """The migration is cancelled, and the other side has ended."""
        self.cancel_migration(source)
        # It ends with what it has got until then, and what that is is a matter of luck.
        destination.expect(status=1, says=".")
        self.assertEqual(destination.wait_end(), 1, destination.process.errors())

    def migration_status(self, source):
        """Wait for the end of the migration; returns the status on the source."""
        return migration.wait_end(source)

    def moved(self, source, destination, *capabilities):
        """The guest is on the other side, and running there."""
        self.assertEqual(self.migrate(source, destination, *capabilities), "completed",
                         destination.process.errors())
        self.arrived(source, destination)

    def moved_by_postcopy(self, source, destination):
        """Move the guest, which runs on the other side before its memory is there.

        Skips the test where the host does not allow that.
        """
        try:
            destination.qmp("migrate-set-capabilities", {"capabilities": [
                {"capability": name, "state": True}
                for name in ("postcopy-ram", "postcopy-blocktime")]})
        except Refused as error:
            self.skipTest(f"the host of the guest does not allow postcopy: {error}")
        source.qmp("migrate-set-capabilities", {"capabilities": [
            {"capability": "events", "state": True}]})
        # So slow that it would not come to an end by itself.
        source.qmp("migrate-set-parameters", {"max-bandwidth": 4 << 20})
        self.start_migration(source, destination, "postcopy-ram")
        source.event("MIGRATION", 60, status="active")
        source.qmp("migrate-start-postcopy")
        source.event("MIGRATION", 60, status="postcopy-active")
        self.assertEqual(self.migration_status(source), "completed",
                         destination.process.errors())
        self.arrived(source, destination)

    def write_memory(self, guest, number):
        """Have the guest's CPU NUMBER write 32 MiB again and again, until /tmp/writer is killed."""
        guest.check(f"(while :; do taskset -c {number} dd if=/dev/urandom of=/tmp/written bs=1M "
                    "count=32 2> /dev/null; done) & echo $! > /tmp/writer")

    def arrived(self, source, destination):
        """The migration is complete: the guest runs on the other side."""
        migration.wait_running(destination)
        source.close()


class MigrationCases(Moving):
    """Guests that are moved. For a GuestCase."""

    def clocks(self, guest, numbers):
        """The guest's time in seconds as each of the CPUs NUMBERS sees it, one after the other.

        Each sleeps before, which only its own timer's interrupt ends.
        """
        names = " ".join(str(number) for number in sorted(numbers))
        return [float(line) for line in guest.check(
            f"for cpu in {names}; do taskset -c $cpu sleep 0.05; "
            "taskset -c $cpu cut -d ' ' -f 1 /proc/uptime; done").split()]

    def assert_clocks_go_on(self, before, after, seconds):
        """The CPUs' clocks agree, did not go back, and not further than SECONDS."""
        self.assertEqual(before + after, sorted(before + after))
        self.assertLessEqual(after[-1] - before[0], seconds + 1)

    def test_added_with_holes(self):
        """Added CPUs in slots 3 and 6; both sides agree, and plugging goes on over there."""
        source, cpus = self.boot()
        cpus.plug(3)
        cpus.plug(6)
        there = {0, 1, 3, 6}
        start, before = time.monotonic(), self.clocks(source, there)
        target, cpus = self.destination(source, cpus)
        self.moved(source, target)
        self.assert_cpus(cpus, there)
        after = self.clocks(target, there)
        self.assert_clocks_go_on(before, after, time.monotonic() - start)
        cpus.work(there, 200)
        cpus.unplug(3)
        cpus.plug(2)
        cpus.unplug(1)
        self.assert_cpus(cpus, {0, 2, 6})
        self.reset(target)
        self.assert_cpus(cpus, {0, 2, 6})

    def test_after_removal(self):
        """One of -smp is gone: the destination gets the others with -device."""
        source, cpus = self.boot(self.config(smp="3,maxcpus=8"))
        cpus.unplug(1)
        target, there = self.destination(source, cpus, added=[2], smp="1,maxcpus=8")
        self.moved(source, target)
        self.assert_cpus(there, {0, 2})
        there.plug(1)
        self.assert_cpus(there, range(3))
        there.work(range(3), 200)

    def test_added_then_removed(self):
        """A slot that was used and is free again migrates like one that never was."""
        source, cpus = self.boot()
        cpus.plug(4)
        cpus.unplug(4)
        target, there = self.destination(source, cpus)
        self.moved(source, target)
        self.assert_cpus(there, {0, 1})
        there.plug(4)
        self.assert_cpus(there, {0, 1, 4})

    def test_added_by_monitor(self):
        """The destination gets its added CPUs by device_add before the guest, as from libvirt."""
        source, cpus = self.boot()
        cpus.plug(6)
        cpus.plug(3)
        target, there = self.destination(source, cpus, by_monitor=True)
        self.moved(source, target)
        self.assert_cpus(there, {0, 1, 3, 6})
        there.work({0, 1, 3, 6}, 200)
        there.unplug(6)
        there.plug(2)
        self.assert_cpus(there, range(4))

    def test_pending_insertion(self):
        """The guest learns on the destination of a CPU that came while it was stopped."""
        source, cpus = self.boot()
        source.qmp("stop")
        cpus.add(2)
        target, there = self.destination(source, cpus)
        self.assertEqual(self.migrate(source, target), "completed")
        source.close()
        target.qmp("cont")
        there.wait_enabled(2)
        there.bring_online(2)
        self.assert_cpus(there, range(3))
        there.unplug(2)

    def test_pending_removal(self):
        """A device_del that the guest has not seen is answered on the destination."""
        source, cpus = self.boot()
        cpus.plug(2)
        source.qmp("stop")
        handle = cpus.delete(2)
        target, there = self.destination(source, cpus)
        self.assertEqual(self.migrate(source, target), "completed")
        source.close()
        target.qmp("cont")
        there.wait_deleted(handle)
        there.wait_view("CPU 2 gone", enabled={0, 1}, online={0, 1})
        there.plug(2)
        self.assert_cpus(there, range(3))

    def test_request_during_migration(self):
        """What comes while the guest is being moved is refused or done, and never half."""
        source, cpus = self.boot()
        cpus.plug(2)
        target, _ = self.destination(source, cpus)
        self.start_slow_migration(source, target)
        self.assert_refused("migrat", cpus.add, 3)
        self.assert_refused("migrat", cpus.delete, 2)
        self.cancelled(source, target)
        self.assert_cpus(cpus, range(3))
        cpus.plug(3)
        cpus.unplug(2)
        self.assert_cpus(cpus, {0, 1, 3})

    def check_mismatch(self, added):
        source, cpus = self.boot()
        cpus.plug(2)
        target, _ = self.destination(source, cpus, added=added)
        status = self.migrate(source, target)
        self.assertEqual(status, "failed", "a destination with other CPUs took the guest")
        # An abort or a crash is no clean failure.
        self.assertEqual(target.wait_end(20), 1, target.process.errors())
        self.assertRegex(target.process.errors(), "(?i)cpu", "the destination names the cause")
        target.expect(status=1, says=("error: |load of migration failed", "(?i)cpu"))
        source.expect(says=("Sibling indicated error|(?i:migrat)", *CHANNEL_CLOSED))
        if source.qmp("query-status")["status"] != "running":
            source.qmp("cont")
        self.assert_cpus(cpus, range(3))
        cpus.unplug(2)
        cpus.plug(3)
        self.assert_cpus(cpus, {0, 1, 3})

    def test_destination_lacks_cpu(self):
        """The migration fails with a message, and the source goes on."""
        self.check_mismatch(added=[])

    def test_destination_has_another_cpu(self):
        self.check_mismatch(added=[3])

    def test_destination_has_cpu_too_many(self):
        self.check_mismatch(added=[2, 4])


class ModeCases(Moving):
    """Other ways to move guests, with CPUs that came, and slots that are free between them.

    For a GuestCase.
    """

    def boot_with_holes(self, **changes):
        """A guest whose CPUs are 0, 3 and 6 while one of them writes to memory."""
        source, cpus = self.boot(self.config(memory="256M", **changes))
        for number in (6, 2, 3):
            cpus.plug(number)
        for number in (1, 2):
            cpus.unplug(number)
        # On a CPU that came.
        self.write_memory(source, 6)
        return source, cpus

    def destination_with_holes(self, source, cpus, **changes):
        """The other side for it."""
        return self.destination(source, cpus, added=[3, 6], memory="256M", smp="1,maxcpus=8",
                                **changes)

    def assert_goes_on(self, guest, cpus):
        """The guest has its CPUs, and more come and go."""
        self.assert_cpus(cpus, {0, 3, 6})
        guest.check("kill $(cat /tmp/writer); wait; md5sum /tmp/written", 60)
        cpus.work({0, 3, 6}, 200)
        cpus.unplug(3)
        cpus.plug(2)
        self.assert_cpus(cpus, {0, 2, 6})

    def test_postcopy(self):
        """The CPUs run on the other side before their memory is there."""
        source, cpus = self.boot_with_holes()
        target, there = self.destination_with_holes(source, cpus)
        self.moved_by_postcopy(source, target)
        self.assert_goes_on(target, there)
        # Of each CPU, also of one whose index is greater than the number of those of -smp.
        self.assertEqual(len(target.qmp("query-migrate")["postcopy-vcpu-blocktime"]),
                         len(there.taken()))

    def test_multifd(self):
        """Several connections."""
        source, cpus = self.boot_with_holes()
        target, there = self.destination_with_holes(source, cpus)
        for guest in (source, target):
            guest.qmp("migrate-set-parameters", {"multifd-channels": 3})
        self.start_migration(source, target, "multifd")
        self.assertEqual(self.migration_status(source), "completed", target.process.errors())
        self.assertGreater(source.qmp("query-migrate")["ram"]["multifd-bytes"], 1 << 20)
        self.arrived(source, target)
        self.assert_goes_on(target, there)


class MessageCases(Moving):
    """Message signalled interrupts: the ITS and LPIs of CPUs that come and go.

    A disk has a queue with an interrupt for each CPU that may come. For a GuestCase.
    """

    disk_options = ["-blockdev", "driver=null-co,node-name=null,size=1073741824,read-zeroes=on",
                    "-device", "virtio-blk-pci,drive=null,num-queues=4,romfile="]
    place_on_disk = 0

    def config(self, *arguments, **changes):
        return super().config(*arguments, **{
            "smp": "2,maxcpus=4", "initrd": modules.initrd("virtio_blk"), **changes})

    def assert_delivered(self, guest, numbers):
        """Each CPU of NUMBERS reads from the disk, and has the interrupt of its queue for that."""
        self.place_on_disk += 1
        words = " ".join(str(number) for number in sorted(numbers))
        # What was read before, and somewhat more, is in memory.
        lines = guest.check(
            "show() { grep -E '^ +CPU|ITS-.*-req' /proc/interrupts; }\n"
            f"show; for cpu in {words}; do taskset -c $cpu dd if=/dev/vda of=/dev/null bs=1M "
            f"skip=$(({8 * self.place_on_disk} + cpu)) count=1 2> /dev/null; done; show"
        ).split("\n")
        half = len(lines) // 2
        before, after = (self.counts(part) for part in (lines[:half], lines[half:]))
        for number in numbers:
            self.assertGreater(after[number], before[number], f"CPU {number}")

    @staticmethod
    def counts(lines):
        """{CPU: interrupts of its own queue that it has taken} by LINES of /proc/interrupts."""
        cpus = lines[0].split()
        result = {}
        for line in lines[1:]:
            words = line.split()
            number = int(words[-1].rpartition(".")[2])
            if f"CPU{number}" in cpus:
                result[number] = int(words[1 + cpus.index(f"CPU{number}")])
        return result

    def test_added_with_holes(self):
        """The interrupts arrive before and after a migration, also on CPUs that come later."""
        source, cpus = self.boot(self.config(extra=self.disk_options))
        source.check("modprobe virtio_blk")
        cpus.plug(3)
        self.assert_delivered(source, {0, 1, 3})
        target, there = self.destination(source, cpus, extra=self.disk_options)
        self.moved(source, target)
        self.assert_delivered(target, {0, 1, 3})
        there.unplug(3)
        there.plug(2)
        there.plug(3)
        self.assert_delivered(target, {0, 1, 2, 3})


class SnapshotCases:
    """savevm and loadvm. For a GuestCase."""

    def test_same_process(self):
        """savevm with added CPUs, then loadvm in the same QEMU and in a new one."""
        disk = self.disk()
        guest, cpus = self.boot(self.config(extra=disk, memory="256M"))
        cpus.plug(3)
        guest.check("echo before > /tmp/mark")
        self.assertEqual(guest.hmp("savevm one"), "")
        guest.check("echo after > /tmp/mark")
        self.assertEqual(guest.hmp("loadvm one"), "")
        self.assertEqual(guest.check("cat /tmp/mark"), "before")
        self.assert_cpus(cpus, {0, 1, 3})
        option = cpus.option(3)
        guest.close()
        guest, cpus = self.start(self.config(
            extra=[*disk, "-device", option, "-loadvm", "one"], memory="256M"), suffix=".loaded")
        self.assertEqual(guest.check("cat /tmp/mark"), "before")
        self.assert_cpus(cpus, {0, 1, 3})
        cpus.unplug(3)
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))

    def test_other_cpus(self):
        """loadvm of a snapshot with other CPUs says what is wrong and does not crash."""
        guest, cpus = self.boot(self.config(extra=self.disk(), memory="256M"))
        cpus.plug(3)
        self.assertEqual(guest.hmp("savevm one"), "")
        cpus.unplug(3)
        self.assertRegex(guest.hmp("loadvm one"), "(?i)error")
        cpus.add(3)
        self.assertEqual(guest.hmp("loadvm one"), "")
        guest.qmp("cont")
        self.assert_cpus(cpus, {0, 1, 3})
        cpus.unplug(3)
