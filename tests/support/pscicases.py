# SPDX-License-Identifier: GPL-2.0-or-later
"""PSCI calls and register accesses of a guest that does what no real one would, pscimonitor.py."""

import random
from dataclasses import replace

from guestcase import LONG
from pscimonitor import (
    AFFINITY_INFO, ALREADY_ON, CONTROL, CPU_OFF, CPU_ON, DENIED, DISTRIBUTOR, EJECT, ENABLED,
    INVALID_PARAMETERS, NO_INTERRUPT, OFF, ON, ON_PENDING, REDISTRIBUTORS, REMOVAL, SUCCESS,
    Monitor, firmware)


class PsciCase:
    """A machine with four slots, of which two are taken. For a GuestCase."""

    taken = 2

    def monitor(self, *extra):
        """Start the program; returns the guest, its Cpus and the Monitor.

        EXTRA are options of QEMU.
        """
        config = self.config(smp=f"{self.taken},maxcpus=4", memory="128M", extra=extra,
                             machine="virt,gic-version=3,cpu-hotplug=on")
        # Paused, as the program would be done with its greeting before QEMU has the console.
        guest, cpus = self.start(replace(config, kernel=None, initrd=None, firmware=firmware()),
                                 paused=True)
        guest.qmp("cont")
        return guest, cpus, Monitor(guest)

    def assert_started(self, monitor, cpu, context, before):
        """CPU has been started once since it had BEFORE entries, as asked for, and runs."""
        guest = monitor.guest
        guest.wait_for(lambda: monitor.entries(cpu) == before + 1, f"CPU {cpu} has started")
        self.assertEqual(monitor.field(cpu, 1), context)
        self.assertEqual(monitor.field(cpu, 2) & 0xff00ffffff, cpu)
        monitor.wait_runs(cpu)
        self.assertEqual(monitor.info(cpu), ON)

    def bring_up(self, monitor, cpu, context, function=CPU_ON[1]):
        """CPU_ON of a CPU that is off succeeds."""
        before = monitor.entries(cpu)
        self.assertEqual(monitor.info(cpu), OFF)
        self.assertEqual(monitor.start(cpu, context, function), SUCCESS)
        self.assert_started(monitor, cpu, context, before)
        for again in CPU_ON:
            self.assertEqual(monitor.start(cpu, 1, again), ALREADY_ON)

    def assert_free(self, monitor, cpu):
        """The slot answers as one that has no CPU."""
        for function in CPU_ON:
            self.assertEqual(monitor.start(cpu, 1, function), DENIED)
        for function in AFFINITY_INFO:
            self.assertEqual(monitor.info(cpu, function), OFF)

    def take_down(self, monitor, cpu):
        """CPU turns itself off."""
        monitor.on(cpu, "call", CPU_OFF, 0, 0, 0)
        monitor.guest.wait_for(lambda: monitor.info(cpu) == OFF, f"CPU {cpu} is off")
        self.assertTrue(monitor.stands_still(cpu))

    def remove(self, guest, cpus, monitor, number):
        """device_del, which the guest obeys."""
        handle = cpus.delete(number)
        monitor.select(number)
        self.assertEqual(monitor.ask("read", CONTROL, 1) & (ENABLED | REMOVAL), ENABLED | REMOVAL)
        monitor.ask("write", CONTROL, 1, REMOVAL)
        monitor.eject(number)
        cpus.wait_deleted(handle)
        self.assertEqual(monitor.ask("read", CONTROL, 1), 0)
        self.assertNotIn(number, cpus.taken())


class CallCases(PsciCase):
    """What PSCI answers for CPUs that are there, that may come, and that never will."""

    # Whether AFFINITY_INFO tells of the eject of a CPU that was on before it is removed.
    EJECT_SHOWS_AT_ONCE = True

    def test_calls(self):
        """CPU_ON and AFFINITY_INFO of all kinds of MPIDRs, with 32 and with 64 bits."""
        _, _, monitor = self.monitor()
        unknown = [4, 0xf, 0x100, 0x10000, 0xffffff,
                   # As the CPUs' own registers show it, with bits that are reserved here.
                   0x80000000, 0x80000001, 0x80000002, 0x01000001, 0x40000002]
        wide = [1 << 32, 1 << 32 | 1, 1 << 32 | 2, 1 << 40 | 2, 1 << 63 | 1, (1 << 64) - 1]
        for function in CPU_ON:
            self.assertEqual(monitor.start(0, 1, function), ALREADY_ON)
            for mpidr in unknown + (wide if function == CPU_ON[1] else []):
                self.assertEqual(monitor.start(mpidr, 1, function), INVALID_PARAMETERS,
                                 f"{function:#x} {mpidr:#x}")
        for function in AFFINITY_INFO:
            self.assertEqual(monitor.info(0, function), ON)
            for mpidr in unknown + (wide if function == AFFINITY_INFO[1] else []):
                self.assertEqual(monitor.info(mpidr, function), INVALID_PARAMETERS,
                                 f"{function:#x} {mpidr:#x}")
        self.assert_free(monitor, 2)
        self.assert_free(monitor, 3)
        self.bring_up(monitor, 1, 0x123456789abcdef)
        self.take_down(monitor, 1)
        self.bring_up(monitor, 1, 0x12345678, CPU_ON[0])
        # Others may ask as well.
        monitor.on(1, "call", CPU_ON[1], 2, monitor.entry, 0)
        monitor.guest.wait_for(lambda: monitor.result(1) == DENIED, "CPU 1 is denied CPU 2")

    def test_at_once(self):
        """Of two CPUs that call CPU_ON at the same time, one turns the third on."""
        guest, cpus, monitor = self.monitor()
        cpus.add(2)
        self.bring_up(monitor, 1, 1)
        self.bring_up(monitor, 2, 2)
        for context in range(3, 9):
            before = monitor.entries(3)
            for caller in (1, 2):
                # Both wait for the CPU to be there.
                monitor.on(caller, "while", CPU_ON[1], 3, monitor.entry, context, DENIED % 2**32)
            cpus.add(3)
            answers = [self.answer(monitor, caller) for caller in (1, 2)]
            self.assertEqual(answers.count(SUCCESS), 1, answers)
            self.assertIn(min(answers), (ALREADY_ON, ON_PENDING))
            self.assert_started(monitor, 3, context, before)
            self.remove(guest, cpus, monitor, 3)

    def test_plugged(self):
        """A CPU that is plugged can be started, and no more when it was removed, even running."""
        guest, cpus, monitor = self.monitor()
        self.assert_free(monitor, 2)
        for context in (0x1111, 0x2222, 0x3333):
            cpus.add(2)
            self.bring_up(monitor, 2, context)
            if context == 0x2222:
                self.take_down(monitor, 2)
            self.remove(guest, cpus, monitor, 2)
            self.assert_free(monitor, 2)
            self.assertTrue(monitor.stands_still(2))
        cpus.add(3)
        cpus.add(2)
        # Never started.
        self.remove(guest, cpus, monitor, 3)
        self.assert_free(monitor, 3)
        self.bring_up(monitor, 1, 0x4444)
        self.bring_up(monitor, 2, 0x5555, CPU_ON[0])
        self.remove(guest, cpus, monitor, 1)
        self.assert_free(monitor, 1)
        monitor.wait_runs(2)
        # All but the first are off after a reset, free slots are still free, and a removal that
        # was not answered is done.
        cpus.add(1)
        handle = cpus.delete(1)
        guest.qmp("system_reset")
        cpus.wait_deleted(handle)
        monitor.ready()
        self.assert_free(monitor, 1)
        self.assert_free(monitor, 3)
        self.bring_up(monitor, 2, 0x6666)

    def answer(self, monitor, cpu):
        """What came of the order that another CPU got, once it is done."""
        def done():
            result = monitor.result(cpu)
            # In a list, as the answer may be 0.
            return None if result is None else [result]

        return monitor.guest.wait_for(done, f"CPU {cpu} has obeyed")[0]

    def do_on(self, monitor, cpu, *words):
        """Have another CPU do what is to be done; returns the answer."""
        monitor.on(cpu, *words)
        return self.answer(monitor, cpu)

    def test_interrupt_at_removal(self):
        """A CPU that goes while it handles an interrupt takes others when it is back."""
        guest, cpus, monitor = self.monitor()
        # Group 1 on, by affinity.
        monitor.ask("write", DISTRIBUTOR, 4, 0x12)
        frame = REDISTRIBUTORS + 2 * 0x20000
        for interrupt in (5, 6, 7):
            cpus.add(2)
            self.bring_up(monitor, 2, interrupt)
            monitor.ask("write", frame + 0x14, 4, 0)                    # GICR_WAKER
            monitor.ask("write", frame + 0x10080, 4, 0xffffffff)        # GICR_IGROUPR0
            monitor.ask("write", frame + 0x10100, 4, 0xffff)            # GICR_ISENABLER0
            self.do_on(monitor, 2, "interrupts")
            self.assertEqual(self.do_on(monitor, 2, "acknowledge"), NO_INTERRUPT)
            monitor.ask("write", frame + 0x10200, 4, 1 << interrupt)    # GICR_ISPENDR0
            self.assertEqual(self.do_on(monitor, 2, "acknowledge"), interrupt)
            self.remove(guest, cpus, monitor, 2)

    def test_ejected(self):
        """A CPU that is ejected and not removed yet is as good as gone.

        A migration holds the removal back.
        """
        guest, cpus, monitor = self.monitor()
        # One byte each tenth of a second; with less there is no limit.
        guest.qmp("migrate-set-parameters", {"max-bandwidth": 10})
        for context in (1, 2) if self.EJECT_SHOWS_AT_ONCE else (2,):
            self.bring_up(monitor, 1, context)
            if context == 2:
                self.take_down(monitor, 1)
            guest.qmp("migrate", {"uri": "exec:cat >/dev/null"})
            guest.wait_for(lambda: guest.qmp("query-migrate").get("status") == "active",
                           "the migration runs")
            monitor.eject(1)
            self.assertIn(1, cpus.taken(), "the CPU was removed during a migration")
            self.assertEqual(monitor.ask("read", CONTROL, 1) & ENABLED, 0)
            before = monitor.entries(1)
            self.assert_free(monitor, 1)
            # Nor can it be had back in another way.
            guest.qmp("stop")
            guest.qmp("cont")
            self.assert_free(monitor, 1)
            self.assertTrue(monitor.stands_still(1))
            self.assertEqual(monitor.entries(1), before)
            self.cancel_migration(guest)
            guest.wait_for(lambda: 1 not in cpus.taken(), "CPU 1 is removed")
            self.assert_free(monitor, 1)
            cpus.add(1)

    def test_race(self):
        """CPU_ON again and again while the CPU comes, and while it goes."""
        guest, cpus, monitor = self.monitor()
        self.bring_up(monitor, 1, 1)
        for context in range(2, 6):
            before = monitor.entries(2)
            monitor.on(1, "while", CPU_ON[context % 2], 2, monitor.entry, context, DENIED % 2**32)
            cpus.add(2)
            self.assertEqual(self.answer(monitor, 1), SUCCESS)
            self.assert_started(monitor, 2, context, before)
            monitor.on(1, "while", CPU_ON[context % 2], 2, monitor.entry, 9, ALREADY_ON % 2**32)
            self.remove(guest, cpus, monitor, 2)
            self.assertEqual(self.answer(monitor, 1), DENIED)
            self.assertEqual(monitor.entries(2), before + 1)


class OffCases(PsciCase):
    """What happens to a CPU at the moment at which it is off, and at which it is on again."""

    taken = 4
    bounces = 5000

    def test_bounce(self):
        """A CPU that is off does nothing more, whatever others do to it meanwhile."""
        count = self.bounces * (10 if LONG else 1)
        guest, _, monitor = self.monitor()
        # An interrupt that wakes a CPU which waits, but none that is off. Group 1, by affinity.
        monitor.ask("write", DISTRIBUTOR, 4, 0x12)
        frame = REDISTRIBUTORS + 2 * 0x20000
        monitor.ask("write", frame + 0x14, 4, 0)                    # GICR_WAKER
        monitor.ask("write", frame + 0x10080, 4, 0xffffffff)        # GICR_IGROUPR0
        monitor.ask("write", frame + 0x10100, 4, 0xffff)            # GICR_ISENABLER0
        monitor.ask("write", frame + 0x10200, 4, 1 << 5)            # GICR_ISPENDR0
        self.assertEqual(monitor.start(1), SUCCESS)
        self.assertEqual(monitor.start(3), SUCCESS)
        guest.wait_for(lambda: monitor.entries(1) and monitor.entries(3), "CPUs 1 and 3 run")
        monitor.on(1, "bounce", 2, count)
        # Wakes the threads of all CPUs.
        monitor.on(3, "tlbi", 1)
        guest.wait_for(lambda: monitor.result(1) is not None, "CPU 2 was turned on that often",
                       seconds=60)
        guest.wait_for(lambda: monitor.info(2) == OFF, "CPU 2 is off")
        self.assertEqual(monitor.entries(2), count)
        self.assertEqual(monitor.field(2, 3), 0, "CPU 2 went on behind CPU_OFF")


class DebugCases(PsciCase):
    """What CPU 0 does with its debug registers while others are plugged."""

    taken = 1

    def test_toggled(self):
        """Break- and watchpoints of the guest itself, which are not those of a debugger."""
        guest, cpus, monitor = self.monitor()
        for _ in range(5):
            line = monitor.tell("debug", 100000)
            for number in (1, 2, 3):
                cpus.add(number)
            self.assertEqual(monitor.answer(line, 60), 0)
            for number in (1, 2, 3):
                self.remove(guest, cpus, monitor, number)


class HostileCases(PsciCase):
    """What no guest should do to the registers of CPU hotplug."""

    taken = 4

    def usage(self, guest):
        """Threads and file descriptors of QEMU."""
        return guest.process.threads(), guest.process.descriptors()

    def refill(self, guest, cpus):
        """Put CPUs into all free slots; those that had been in them may have had any id."""
        for number in {1, 2, 3} - cpus.taken():
            cpus.add(number)
        guest.events()

    def test_ejects(self):
        """CPUs that are ejected without a request, by themselves, twice, and not there."""
        guest, cpus, monitor = self.monitor()
        self.bring_up(monitor, 3, 3)
        before = self.usage(guest)
        for _ in range(3):
            self.bring_up(monitor, 1, 1)
            self.bring_up(monitor, 2, 2)
            monitor.eject(0)
            monitor.select(4)
            monitor.ask("write", CONTROL, 1, EJECT)
            monitor.select(0xffffffff)
            monitor.ask("write", CONTROL, 1, EJECT)
            monitor.eject(1)
            monitor.eject(1)
            guest.wait_for(lambda: cpus.taken() == {0, 2, 3}, "CPU 1 is ejected")
            monitor.eject(1)
            # The selector is that of all CPUs.
            monitor.select(2)
            monitor.on(2, "write", CONTROL, 1, EJECT)
            guest.wait_for(lambda: cpus.taken() == {0, 3}, "CPU 2 has ejected itself")
            self.assert_free(monitor, 1)
            self.assert_free(monitor, 2)
            self.refill(guest, cpus)
        guest.wait_for(lambda: self.usage(guest) == before,
                       lambda: f"threads and descriptors of QEMU are {before} again, and not "
                       f"{self.usage(guest)}")
        monitor.wait_runs(3)
        # A device_del after all that is answered as ever.
        self.remove(guest, cpus, monitor, 3)

    def test_storm(self):
        """Random accesses by all CPUs at once, time and again; QEMU then still does its work."""
        guest, cpus, monitor = self.monitor()
        before = None
        order = random.Random(5)
        for number in range(12 if LONG else 5):
            self.refill(guest, cpus)
            for cpu in (1, 2, 3):
                monitor.start(cpu, number)
            # One that starts forgets what it was told before.
            guest.wait_for(lambda: all(monitor.entries(cpu) for cpu in (1, 2, 3)),
                           "CPUs 1 to 3 run")
            if number == 1:
                before = self.usage(guest)
            for cpu in (1, 2, 3):
                if cpu in cpus.taken():
                    monitor.on(cpu, "storm", order.randrange(2**32), 300)
            guest.wait_for(lambda: self.ejects(cpus, monitor, order), "the storm ejects a CPU")
            # With selectors and commands of all kinds left behind.
            if number % 2:
                guest.qmp("stop")
                guest.qmp("cont")
            guest.qmp("system_reset")
            monitor.ready()
        guest.wait_for(lambda: self.filled(guest, cpus) == before,
                       lambda: f"threads and descriptors of QEMU are {before} again, and not "
                       f"{self.usage(guest)}")
        monitor.select(0)
        self.remove(guest, cpus, monitor, 2)
        cpus.add(2)
        self.bring_up(monitor, 2, 7)

    def ejects(self, cpus, monitor, order):
        """CPU 0 takes part in the storm; returns whether a CPU was ejected so far."""
        monitor.ask("storm", order.randrange(2**32), 300, seconds=120)
        return cpus.taken() != {0, 1, 2, 3}

    def filled(self, guest, cpus):
        """Like usage(), with all slots filled."""
        self.refill(guest, cpus)
        return self.usage(guest)
