#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""What else is done to a machine whose CPUs come and go: memory is dumped, and added."""

import re
import struct
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import memorycases  # noqa: E402
from guestcase import DEVICE_CHECK  # noqa: E402

CORE = b"CORE\0"
PRSTATUS = 1                    # the type of a note
# Offsets in it, for arm64: the CPU's number plus 1, and the program counter.
PID, PROGRAM_COUNTER = 32, 368


def notes(file):
    """The notes of the ELF file as (name, type, data)."""
    with open(file, "rb") as dump:
        head = dump.read(64)
        start, = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        for number in range(count):
            dump.seek(start + number * size)
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", dump.read(size))
            if kind != 4:
                continue
            dump.seek(offset)
            data = dump.read(length)
            at = 0
            while at < len(data):
                name_size, data_size, note = struct.unpack_from("<III", data, at)
                name = data[at + 12:at + 12 + name_size]
                at += 12 + (name_size + 3 & ~3)
                yield name, note, data[at:at + data_size]
                at += data_size + 3 & ~3


class Dump(guestcase.GuestCase):

    def test_holes(self):
        """A dump has the registers of each CPU, of those that came as of those that were there."""
        guest, cpus = self.boot(self.config(memory="256M"))
        folder = self.folder()
        for number in (6, 3, 4):
            cpus.plug(number)
        cpus.unplug(4)
        cpus.unplug(1)
        for lap in range(2):
            dump = folder / f"dump{lap}"
            # Where the CPUs are then can be asked for in another way, too.
            guest.qmp("stop")
            guest.qmp("dump-guest-memory", {"paging": False, "protocol": f"file:{dump}"})
            wanted = self.program_counters(guest)
            guest.qmp("cont")
            found = {struct.unpack_from("<I", data, PID)[0] - 1:
                     struct.unpack_from("<Q", data, PROGRAM_COUNTER)[0]
                     for name, kind, data in notes(dump) if (name, kind) == (CORE, PRSTATUS)}
            self.assertEqual(found, wanted)
            self.assertEqual(set(found), cpus.taken())
            for number in cpus.view().online:
                self.assertNotEqual(found[number], 0, f"CPU {number}")
            self.assertGreater(dump.stat().st_size, 256 << 20)
            dump.unlink()
            if not lap:
                # One that the guest has not turned on.
                cpus.add(1)
        cpus.wait_enabled(1)
        cpus.unplug(1)
        self.assert_cpus(cpus, {0, 3, 6})

    def program_counters(self, guest):
        """{number of the CPU: its program counter} by QEMU's monitor."""
        found = re.findall(r"^CPU#(\d+)\s+PC=([0-9a-f]+)", guest.hmp("info registers -a"), re.M)
        return {int(number): int(counter, 16) for number, counter in found}


class Memory(memorycases.MemoryCases, guestcase.GuestCase):

    def test_at_once(self):
        """Memory and CPUs that come and go while the guest stands still: it learns of both."""
        guest, cpus = self.boot(self.config(memory="512M,slots=4,maxmem=2G"))
        for number, cpu in enumerate((2, 5)):
            guest.qmp("stop")
            cpus.add(cpu)
            self.add_memory(guest, number)
            guest.qmp("cont")
            self.wait_status(guest, "DIMM", number, DEVICE_CHECK)
            cpus.wait_enabled(cpu)
            cpus.bring_online(cpu)
        self.assert_cpus(cpus, {0, 1, 2, 5})
        # Now one goes while another comes, and both go.
        guest.qmp("stop")
        handle = cpus.delete(2)
        self.add_memory(guest, 2)
        guest.qmp("cont")
        self.wait_status(guest, "DIMM", 2, DEVICE_CHECK)
        cpus.wait_deleted(handle)
        guest.qmp("stop")
        handle = cpus.delete(5)
        guest.qmp("device_del", {"id": "module1"})
        guest.qmp("cont")
        guest.event("DEVICE_DELETED", device="module1")
        cpus.wait_deleted(handle)
        cpus.wait_view("CPUs 2 and 5 gone", enabled={0, 1}, online={0, 1})
        self.assertEqual([module["data"]["id"] for module in guest.qmp("query-memory-devices")],
                         ["module0", "module2"])
        self.reset(guest)
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))


if __name__ == "__main__":
    guestcase.main()
