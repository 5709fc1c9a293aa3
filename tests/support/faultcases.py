# SPDX-License-Identifier: GPL-2.0-or-later
"""device_add of a CPU fails after all checks, whatever runs the guest."""

from cyclecases import GROWTH
from workbench.guest.qemu import FACTOR, Refused
from workbench.system import polling
from workbench.testing.preload import Preloaded


class FaultCases:
    """For a GuestCase. CPU 1 of two is the one that does not come."""

    def boot_preloaded(self, **changes):
        """A guest with one CPU of two; returns (guest, cpus, Config)."""
        config = Preloaded.of(self.config(smp="1,maxcpus=2", memory="256M", **changes),
                              self.folder())
        return *self.boot(config), config

    def state(self, guest, cpus):
        """What a plug that fails, or is undone, must leave as it was."""
        return {"slots": cpus.slots(), "threads": guest.process.threads(),
                "descriptors": guest.process.descriptors(),
                "devices": guest.qmp("qom-list", {"path": "/machine/peripheral"}),
                "unattached": guest.qmp("qom-list", {"path": "/machine/unattached"}),
                "CPUs": guest.qmp("query-cpus-fast")}

    def assert_state(self, guest, cpus, wanted, when):
        """state() is WANTED again; WHEN is for the message."""
        # A thread that QEMU has waited for is shown by Linux a moment longer.
        polling.until(lambda: self.state(guest, cpus) == wanted, 20 * FACTOR)
        self.assertEqual(self.state(guest, cpus), wanted, when)

    def check_fault(self, call, least, reason, properties=None, **changes):
        """The first CALL fails in a device_add, then the second, and so on until one passes.

        At least the first LEAST of them have the plug fail, with a message like REASON. PROPERTIES
        are further ones of the CPU.
        """
        guest, cpus, config = self.boot_preloaded(**changes)
        before = self.state(guest, cpus)
        number = 0
        while True:
            number += 1
            config.fail(call, number)
            try:
                cpus.add(1, properties=properties)
            except Refused as error:
                self.assertTrue(config.done("failed"), f"{call} {number}: {error}")
                self.assertRegex(str(error), reason)
            else:
                break
            self.assert_state(guest, cpus, before, f"after {call} {number}")
            self.assertLess(number, 20)
        config.stop("fail")
        self.assertGreater(number, least)
        cpus.wait_enabled(1)
        cpus.bring_online(1)
        self.assert_cpus(cpus, {0, 1})
        cpus.work({0, 1}, 100)
        cpus.unplug(1)
        self.assert_state(guest, cpus, before, "after the CPU came and went")
        return guest, cpus, config

    def check_leak(self, call, count=40, **changes):
        """The first CALL fails in each of COUNT device_adds, and QEMU does not grow."""
        guest, cpus, config = self.boot_preloaded(
            machine=f"{self.config().machine},memory-backend=ram",
            extra=["-object", "memory-backend-ram,id=ram,size=256M,prealloc=on"], **changes)
        grown = None
        for _ in range(3):
            before = guest.process.resident()
            for _ in range(count):
                config.fail(call, 1)
                self.assertRaises(Refused, cpus.add, 1)
            grown = guest.process.resident() - before
            if grown < GROWTH:
                break
        self.assertLess(grown, GROWTH, f"KiB that QEMU has grown by in {count} plugs that failed")
        config.stop("fail")
        cpus.plug(1)
        self.assert_cpus(cpus, {0, 1})
