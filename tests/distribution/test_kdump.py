#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900
"""Debian's kdump writes a dump of a kernel that crashes after CPUs were plugged."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import distributioncase  # noqa: E402

DUMPS = "/var/crash"
MEMORY = "2G"                   # of less, Debian sets nothing aside for the crash kernel
# Prints what kind of file a dump is, of how many CPUs it has the registers, and which CPU crashed.
LOOK = """\
import re, struct, sys
with open(sys.argv[1], "rb") as file:
    head = file.read(64)
    table, = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    registers = 0
    for number in range(count):
        file.seek(table + number * size)
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", file.read(size))
        if kind != 4:               # PT_NOTE
            continue
        file.seek(start)
        notes, at = file.read(length), 0
        while at < len(notes):
            name, text, what = struct.unpack_from("<III", notes, at)
            registers += what == 1  # NT_PRSTATUS
            at += 12 + (name + 3 & ~3) + (text + 3 & ~3)
    crashed, rest = set(), b""
    file.seek(0)
    while block := file.read(1 << 22):
        crashed.update(re.findall(rb"CPU: (\\d+) UID: 0 PID: \\d+ Comm: sh ", rest + block))
        rest = block[-64:]
print(head[1:4].decode(), registers, *map(int, crashed))
"""


@distributioncase.long_only
class Crash(distributioncase.DistributionCase):

    def wait_loaded(self, guest):
        """Wait until the crash kernel is in its place."""
        guest.wait_for(lambda: guest.run("cat /sys/kernel/kexec_crash_loaded")[1] == "1",
                       lambda: "a crash kernel; " + guest.run("kdump-config status")[1], 120)

    def check_crash(self, guest, cpus, number, loaded):
        """The kernel crashes on CPU NUMBER, its dump is written, and the guest boots again.

        LOADED is how many CPUs there were when the crash kernel was loaded: the dump has the
        registers of as many. When CPUs come or go, Debian loads it anew a while later.
        """
        there = cpus.taken()
        self.put(guest, "/root/look", LOOK)
        guest.console.send(f"sync; taskset -c {number} sh -c 'echo c > /proc/sysrq-trigger'")
        # The crash kernel boots, writes the dump and resets the machine.
        guest.attach(2 * distributioncase.BOOT_SECONDS)
        self.assert_cpus(cpus, there)
        dump = guest.check(f"ls {DUMPS}/*/vmcore*")
        self.assertEqual(len(dump.split()), 1, dump)
        kind, registers, *crashed = guest.check(f"python3 /root/look {dump}", 300).split()
        self.assertEqual((kind, crashed), ("ELF", [str(number)]))
        self.assertIn(int(registers), {loaded, len(there)})

    def test_loaded_before(self):
        """The crash kernel was loaded at boot, and CPUs came later; one of them crashes."""
        guest, cpus = self.boot(self.installed(memory=MEMORY))
        self.wait_loaded(guest)
        self.add_rule(guest)
        for number in (2, 5):
            cpus.add(number)
        self.wait_online(cpus, {0, 1, 2, 5})
        self.wait_loaded(guest)
        self.check_crash(guest, cpus, 5, 2)

    def test_loaded_after(self):
        """The crash kernel is loaded when CPUs have come and gone."""
        guest, cpus = self.boot(self.installed(memory=MEMORY))
        self.add_rule(guest)
        for number in (2, 3, 5):
            cpus.add(number)
        self.wait_online(cpus, {0, 1, 2, 3, 5})
        cpus.unplug(2)
        guest.check("kdump-config unload; kdump-config load", 120)
        self.wait_loaded(guest)
        self.check_crash(guest, cpus, 3, 4)

    def test_removed_after(self):
        """A CPU goes that was there when the crash kernel was loaded."""
        guest, cpus = self.boot(self.installed(memory=MEMORY, smp="3,maxcpus=8"))
        self.wait_loaded(guest)
        cpus.unplug(1)
        self.wait_loaded(guest)
        self.check_crash(guest, cpus, 2, 3)


if __name__ == "__main__":
    distributioncase.main()
