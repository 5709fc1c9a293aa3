# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of seventeen instructions, whose two CPUs count in memory."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

from .fwcfg import ARM_SCRATCH
from .instance import Instance, empty_firmware
from .vmstate import save

_COUNTERS = 0x48000000
_PROGRAM = (
    0xd2a9000a,     #        mov  x10, #0x48000000
    0xd2800060,     #        mov  x0, #3
    0xf2b88000,     #        movk x0, #0xc400, lsl #16      PSCI CPU_ON
    0xd2800021,     #        mov  x1, #1                    of CPU 1
    0x10000102,     #        adr  x2, second
    0xd2800003,     #        mov  x3, #0
    0xd4000002,     #        hvc  #0
    0xf9000940,     #        str  x0, [x10, #16]            the answer
    0xf9400144,     # first: ldr  x4, [x10]
    0x91000484,     #        add  x4, x4, #1
    0xf9000144,     #        str  x4, [x10]
    0x17fffffd,     #        b    first
    0xd2a9000a,     # second: mov x10, #0x48000000
    0xf9400544,     # loop:  ldr  x4, [x10, #8]
    0x91000484,     #        add  x4, x4, #1
    0xf9000544,     #        str  x4, [x10, #8]
    0x17fffffd,     #        b    loop
)


@dataclass
class CountingGuest:
    """A guest whose two CPUs count in memory for ever. MACHINE, SMP, EXTRA go to QEMU's command.

    It is given a firmware image, though an empty one: without, virt has no ACPI event device.
    """

    machine: str
    smp: str = "2"
    extra: list = field(default_factory=list)

    def start(self, binary, folder, incoming=None):
        """An Instance of BINARY, running from the start or from the stream file INCOMING.

        FOLDER takes the program. Returns when both CPUs count; raises GuestError if they do not.
        """
        program = Path(folder, "program")
        program.write_bytes(struct.pack(f"<{len(_PROGRAM)}I", *_PROGRAM))
        quoted = str(program).replace(",", ",,")
        words = ["-machine", self.machine, "-accel", "tcg,thread=multi", "-cpu", "cortex-a57",
                 "-smp", self.smp, "-m", "256M", "-bios", empty_firmware(folder),
                 "-device", f"loader,file={quoted},addr={ARM_SCRATCH:#x},force-raw=on,"
                 "cpu-num=0"] + list(self.extra)
        if incoming:
            words += ["-incoming", f"file:{incoming}"]
        instance = Instance(binary, words)
        try:
            instance.wait_for(lambda: instance.qmp("query-status")["status"] == "running",
                              "a running guest")
            self.wait_counting(instance)
        except BaseException:
            instance.close(force=True)
            raise
        return instance

    @staticmethod
    def counters(instance):
        """How far each of the two CPUs has counted."""
        return struct.unpack("<QQ", instance.read(_COUNTERS, 16))

    def wait_counting(self, instance):
        """Wait until both CPUs have gone on counting."""
        before = self.counters(instance)
        instance.wait_for(
            lambda: all(now > old for now, old in zip(self.counters(instance), before)),
            f"counting on both CPUs (they stand at {before})")

    def save(self, instance, file):
        """Migrate INSTANCE into FILE; returns the counters it stopped at. Raises GuestError."""
        instance.qmp("stop")
        stopped = self.counters(instance)
        # The destination goes on by itself only if the source was running.
        instance.qmp("cont")
        save(instance, file)
        return stopped
