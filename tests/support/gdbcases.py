# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs come and go while a debugger is attached, whatever runs the guests."""

from gdbremote import Gdb
from workbench.guest.qemu import FACTOR


def thread(number):
    """The gdbstub's name of the CPU in slot NUMBER."""
    return f"p01.{number + 1:02x}"


class DebuggerCases:
    """For a GuestCase with boot_with_gdbstub() and connect()."""

    def boot_with_gdbstub(self):
        """A booted guest, its CPUs, and what connect() needs to reach its gdbstub."""
        raise NotImplementedError

    def connect(self, guest, where):
        """A socket that is connected with the gdbstub WHERE of the guest."""
        raise NotImplementedError

    def attach(self, guest, where):
        """A debugger, which has stopped the guest."""
        gdb = Gdb(self.connect(guest, where))
        self.addCleanup(gdb.close)
        self.assertEqual(guest.qmp("query-status")["status"], "paused")
        return gdb

    def assert_stopped_at(self, reply, numbers):
        """The stop reply is of a CPU that is there."""
        self.assertRegex(reply, "^T02thread:(" + "|".join(thread(n) for n in numbers) + ");$")

    def test_selected_cpu_goes(self):
        """The selected CPU is unplugged: the debugger has another one, and all goes on."""
        guest, cpus, where = self.boot_with_gdbstub()
        cpus.plug(3)
        cpus.plug(2)
        gdb = self.attach(guest, where)
        # QEMU takes the one that came last for the one that will stop.
        self.assertEqual(gdb.threads(), [thread(number) for number in (0, 1, 3, 2)])
        self.assertEqual(gdb.select(thread(2)), ("OK", "OK"))
        gdb.program_counter()
        gdb.go()
        cpus.unplug(2)
        # New objects may now lie where the removed CPU was.
        cpus.plug(4)
        there = (0, 1, 3, 4)
        self.assert_stopped_at(gdb.interrupt(), {0})
        self.assertTrue(gdb.program_counter())
        self.assertEqual(gdb.ask("?"), "T05core:01;")
        self.assertEqual(gdb.ask("qC"), "QC" + thread(0))
        self.assertEqual(gdb.threads(), [thread(number) for number in there])
        for answer in (*gdb.select(thread(2)), gdb.ask("T" + thread(2))):
            self.assertRegex(answer, "^E[0-9a-f]{2}$")
        for number in there:
            self.assertEqual(gdb.ask("T" + thread(number)), "OK")
        # A single step of the CPU that took its place, then on with all.
        self.assertRegex(gdb.ask(f"vCont;s:{thread(0)}"), "^T05thread:" + thread(0))
        gdb.go()
        cpus.work({0, 1, 3, 4}, 200)
        self.assert_stopped_at(gdb.interrupt(), there)
        self.assertEqual(gdb.ask("D;1"), "OK")
        self.assertEqual(guest.qmp("query-status")["status"], "running")
        cpus.plug(2)
        cpus.unplug(3)
        self.assert_cpus(cpus, {0, 1, 2, 4})
        cpus.work({0, 1, 2, 4}, 200)

    def test_list_ends_at_cpu_that_goes(self):
        """The CPU that the list of threads has come to is unplugged."""
        guest, cpus, where = self.boot_with_gdbstub()
        cpus.plug(2)
        gdb = self.attach(guest, where)
        self.assertEqual(gdb.ask("qfThreadInfo"), "m" + thread(0))
        self.assertEqual(gdb.ask("qsThreadInfo"), "m" + thread(1))
        gdb.go()
        cpus.unplug(2)
        gdb.interrupt()
        self.assertEqual(gdb.ask("qsThreadInfo"), "l")
        self.assertEqual(gdb.threads(), [thread(0), thread(1)])
        # A debugger that dies without a word leaves the machine stopped or running, but sound.
        gdb.close()
        guest.qmp("cont")
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))

    def test_cpu_comes(self):
        """A CPU that is plugged under the debugger is a thread of it, with registers."""
        guest, cpus, where = self.boot_with_gdbstub()
        gdb = self.attach(guest, where)
        cpus.add(2)
        self.assertEqual(gdb.threads(), [thread(number) for number in range(3)])
        self.assertEqual(gdb.select(thread(2)), ("OK", "OK"))
        # Powered off, as it came.
        self.assertEqual(gdb.program_counter(), 0)
        gdb.go()
        cpus.wait_enabled(2)
        cpus.bring_online(2)
        self.assert_cpus(cpus, range(3))
        self.assert_stopped_at(gdb.interrupt(), range(3))
        self.assertEqual(gdb.select(thread(2)), ("OK", "OK"))
        # Mostly in the kernel, but the shell may be on it.
        self.assertNotEqual(gdb.program_counter(), 0)
        self.assertEqual(gdb.ask("D;1"), "OK")
        cpus.unplug(2)
        self.assert_cpus(cpus, {0, 1})

    def test_breakpoint_on_cpu_that_comes(self):
        """A CPU that is plugged under breakpoints stops at them, and they can be removed."""
        guest, cpus, where = self.boot_with_gdbstub()
        cpus.plug(3)
        symbol = guest.check("grep ' __arm64_sys_sync$' /proc/kallsyms", 120)
        address = symbol.split()[0]
        gdb = self.attach(guest, where)
        self.assertEqual(gdb.ask(f"Z0,{address},4"), "OK")
        self.assertEqual(gdb.ask(f"Z2,{address},8"), "OK", "a watchpoint for writes")
        gdb.go()
        cpus.plug(2)
        guest.console.send("taskset -c 2 sync; echo sync''ed")
        self.assert_stopped_at_breakpoint(gdb, 2, address)
        # A CPU that takes breakpoints along when it goes, and comes again.
        self.assertEqual(gdb.ask(f"z0,{address},4"), "OK")
        gdb.go()
        guest.console.wait_text("synced", 20 * FACTOR, "end of sync")
        cpus.unplug(2)
        cpus.plug(2)
        gdb.interrupt()
        self.assertEqual(gdb.ask(f"z2,{address},8"), "OK")
        self.assertEqual(gdb.ask(f"Z0,{address},4"), "OK")
        gdb.go()
        guest.console.send("taskset -c 2 sync; echo sync''ed")
        self.assert_stopped_at_breakpoint(gdb, 2, address)
        self.assertEqual(gdb.ask(f"z0,{address},4"), "OK")
        self.assertEqual(gdb.ask("D;1"), "OK")
        guest.console.wait_text("synced", 20 * FACTOR, "end of sync")
        self.assert_cpus(cpus, range(4))

    def assert_stopped_at_breakpoint(self, gdb, number, address):
        """The CPU in slot NUMBER has come to the breakpoint."""
        self.assertRegex(gdb.receive(), f"^T05thread:{thread(number)};")
        gdb.select(thread(number))
        self.assertEqual(gdb.program_counter(), int(address, 16))
