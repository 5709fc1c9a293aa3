#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=200 parallel
"""Guests that eject CPUs which still run: QEMU removes them and stays under control."""

import struct
import tempfile
import unittest
from pathlib import Path

import common
from workbench.compare.instance import Instance

# Each program is the firmware, which both CPUs execute. The first CPU starts the second by PSCI.
START_SECOND = (
    0x52800060, 0x72b88000,     # mov   w0, #0xc4000003         CPU_ON
    0xd2800021,                 # mov   x1, #1                  the second CPU
)
CALL_PSCI = (
    0xd2800003,                 # mov   x3, #0
    0xd4000002,                 # hvc   #0
)
EJECT_SECOND = (
    0xd2a121a5,                 # mov   x5, #0x090d0000         hot-plug registers
    0x52800026, 0xb90000a6,     # str   #1, [x5]                selector
    0x52800106, 0x390010a6,     # strb  #8, [x5, #4]            eject
)
SLEEP = (
    0xd503207f,                 # wfi
    0x17ffffff,                 # b     .-4
)

# The second CPU keeps all others waiting for it, by broadcast TLB invalidation, while it goes.
INVALIDATING = (
    0xd2a80014, 0xf900029f,     # str   xzr, [x20 = RAM]
    *START_SECOND,
    0x10000202,                 # adr   x2, second
    *CALL_PSCI,
    0xf9400284,                 # ldr   x4, [x20]
    0xf10fa09f,                 # cmp   x4, #1000
    0x54ffffc3,                 # b.lo  .-8
    *EJECT_SECOND,
    0xd503201f, 0xd503201f, 0xd503201f,     # nop
    *SLEEP,
    0xd2a80014, 0xd2800009,     # second: x20 = RAM, x9 = 0
    0xd508831f,                 # tlbi  vmalle1is
    0xd5033b9f, 0xd5033fdf,     # dsb   ish; isb
    0x91000529, 0xf9000289,     # str   ++x9, [x20]
    0x17fffffb,                 # b     tlbi
)

# The second CPU ejects itself.
SUICIDAL = (
    *START_SECOND,
    0x100000a2,                 # adr   x2, second
    *CALL_PSCI,
    *SLEEP,
    *EJECT_SECOND,              # second:
    *SLEEP,
)


class Ejects(unittest.TestCase):
    def run_program(self, words):
        """One CPU is left, and QEMU stops, resets and goes on when told to."""
        _, patched = common.binaries("aarch64")
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            firmware = Path(folder, "firmware")
            firmware.write_bytes(struct.pack(f"<{len(words)}I", *words))
            with Instance(patched, ["-machine", "virt,cpu-hotplug=on", "-cpu", "cortex-a57",
                                    "-smp", "2", "-m", "128M", "-bios", firmware,
                                    "-accel", "tcg,thread=multi"], qtest=False) as qemu:
                qemu.wait_for(lambda: len(qemu.qmp("query-cpus-fast")) == 1, "removal of a CPU")
                qemu.qmp("stop")
                qemu.qmp("cont")
                qemu.qmp("device_add", {
                    "driver": "cortex-a57-arm-cpu", "id": "again", "socket-id": 0,
                    "cluster-id": 0, "core-id": 1, "thread-id": 0})
                qemu.qmp("system_reset")
                qemu.wait_for(lambda: len(qemu.qmp("query-cpus-fast")) == 1, "removal after reset")
                qemu.qmp("stop")

    def test_invalidating(self):
        """A CPU that others must wait for; whether they do is a matter of luck, so try often."""
        for _ in range(15):
            self.run_program(INVALIDATING)

    def test_suicidal(self):
        """A CPU that ejects itself."""
        self.run_program(SUICIDAL)


if __name__ == "__main__":
    common.main()
