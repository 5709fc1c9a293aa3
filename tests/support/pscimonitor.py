# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that does what no real one would: the program in tests/psci, and the orders to it.

It runs in place of firmware and takes its orders on the console.
"""

import subprocess

from workbench.build import cross
from workbench.guest.qemu import FACTOR, GuestError
from workbench.system import atomic, paths

SOURCES = paths.TOP / "tests/psci"
BUILT = paths.BUILD / "psci"
OPTIONS = ("-Wall", "-Wextra", "-Werror", "-O1", "-march=armv8-a", "-ffreestanding", "-nostdlib",
           "-static", "-no-pie", "-fno-pic", "-fno-stack-protector", "-fno-builtin",
           "-fno-asynchronous-unwind-tables", "-mgeneral-regs-only", "-mstrict-align",
           "-Wl,--build-id=none", "-Wl,-T,monitor.lds")

CPU_OFF = 0x84000002
# Of each call the 32-bit and the 64-bit one.
CPU_ON = (0x84000003, 0xc4000003)
AFFINITY_INFO = (0x84000004, 0xc4000004)

SUCCESS, NOT_SUPPORTED, INVALID_PARAMETERS, DENIED, ALREADY_ON, ON_PENDING = 0, -1, -2, -3, -4, -5
# What AFFINITY_INFO answers.
ON, OFF = 0, 1

HOTPLUG = 0x090d0000
SELECTOR, CONTROL = HOTPLUG, HOTPLUG + 4
# Bits of CONTROL, see docs/specs/acpi_cpu_hotplug.rst.
ENABLED, REMOVAL, EJECT = 1, 4, 8

DISTRIBUTOR = 0x08000000        # of the GIC
REDISTRIBUTORS = 0x080a0000     # of 128 KiB each
NO_INTERRUPT = 1023


def firmware():
    """The path of the program, compiled if that is not done yet. Raises GuestError."""
    target = BUILT / "monitor.bin"
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if target.exists() and target.stat().st_mtime > newest:
        return target
    cross.toolchain()
    with atomic.new_file(BUILT / "monitor.elf") as program, atomic.new_file(target) as image:
        for command in ([cross.program("gcc"), *OPTIONS, "-o", program, "start.S", "monitor.c"],
                        [cross.program("objcopy"), "-O", "binary", program, image]):
            done = subprocess.run(command, cwd=SOURCES, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode:
                raise GuestError(f"{command[0]} in {SOURCES} failed:\n{done.stdout}")
    return target


class Monitor:
    """The program that runs in GUEST, which has just started or was reset."""

    def __init__(self, guest):
        self.guest = guest
        self.ready()

    def ready(self):
        """Wait until it takes orders, after a start or a reset."""
        # Where CPUs start, in decimal.
        self.entry = int(self.guest.wait_ready(20))

    def tell(self, *words):
        """Give an order of words and numbers, to be answered later; returns it as a line."""
        line = " ".join(word if isinstance(word, str) else f"{word:x}" for word in words)
        self.guest.console.send(line)
        return line

    def answer(self, line, seconds=30):
        """The answer to the order LINE."""
        match = self.guest.console.wait_text(r"= (-?\d+)\r?\n", seconds * FACTOR,
                                             f"answer to {line!r}")
        return int(match.group(1))

    def ask(self, *words, seconds=30):
        """Give an order of words and numbers; returns the answer."""
        return self.answer(self.tell(*words), seconds)

    def on(self, cpu, *words):
        """Have another CPU do what ask() does, and do not wait for the answer.

        Raises GuestError if it still does something else.
        """
        if self.ask("on", cpu, *words):
            raise GuestError(f"CPU {cpu} has not done yet what it was told before")

    def field(self, cpu, index):
        """Field INDEX of struct cpu, see monitor.c."""
        return self.ask("field", cpu, index)

    def entries(self, cpu):
        """How often CPU has been started."""
        return self.field(cpu, 0)

    def wait_runs(self, cpu):
        """Wait until CPU, which has no order, is seen to run. Raises GuestError."""
        laps = self.field(cpu, 3)
        self.guest.wait_for(lambda: self.field(cpu, 3) != laps, f"CPU {cpu} runs")

    def stands_still(self, cpu, looks=5):
        """True if CPU, which has no order, is not seen to run within so many looks."""
        laps = self.field(cpu, 3)
        return all(self.field(cpu, 3) == laps for _ in range(looks))

    def result(self, cpu):
        """What the last order gave on CPU, None while it is not done."""
        return None if self.field(cpu, 4) else self.field(cpu, 5)

    def start(self, cpu, context=0, function=CPU_ON[1], mpidr=None):
        """CPU_ON of CPU; returns the answer."""
        return self.ask("call", function, cpu if mpidr is None else mpidr, self.entry, context)

    def info(self, mpidr, function=AFFINITY_INFO[1]):
        """AFFINITY_INFO, of one CPU."""
        return self.ask("call", function, mpidr, 0, 0)

    def select(self, number):
        """Write the register that selects a slot."""
        self.ask("write", SELECTOR, 4, number)

    def eject(self, number):
        """Have the CPU of slot NUMBER removed, without asking anybody."""
        self.select(number)
        self.ask("write", CONTROL, 1, EJECT)
