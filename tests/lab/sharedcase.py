# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that take turns with one guest, because a boot under emulation takes as long as ten of
them."""

import labcase
import probe
from workbench.guest import FACTOR, Guest, GuestError
from workbench.guestcpu import SYSFS, Cpus


class SharedCase(labcase.LabCase):
    """A class whose tests share the guest of shared().

    OPTIONS are fields of its Config. With NEVER_RUNS it stays as QEMU has it with -S.
    """

    options = {}
    never_runs = False
    _guest = None
    _cpus = None
    _start = frozenset()

    @classmethod
    def tearDownClass(cls):
        cls._end()
        super().tearDownClass()

    @classmethod
    def _end(cls):
        guest, cls._guest = cls._guest, None
        if guest is not None:
            guest.close()

    def shared(self):
        """The guest of the class and its Cpus, as many as after the boot.

        It is booted for the first test, and again after one that has left it in a bad way.
        """
        cls = type(self)
        try:
            sound = cls._guest is not None and self._restore()
        except (GuestError, labcase.Refused):
            sound = False
        if not sound:
            cls._end()
            name = f"{cls.__module__}.{cls.__qualname__}".replace("__main__.", "")
            cls._guest = Guest(self.config(**{"initrd": probe.initrd(), **self.options}), name,
                               paused=self.never_runs)
            cls._cpus = Cpus(cls._guest)
            if not self.never_runs:
                cls._guest.wait_ready()
            cls._start = cls._cpus.taken()
        return cls._guest, cls._cpus

    def _restore(self):
        """Bring the guest back to the CPUs of its start; False if it has ended."""
        if self._guest.process.status() is not None or not self.place_alive():
            return False
        if self.never_runs:
            return self._cpus.taken() == self._start
        if self._guest.qmp("query-status")["status"] != "running":
            self._guest.qmp("cont")
        self._guest.run("true", 10 * FACTOR)
        self._guest.events()
        for number in sorted(self._cpus.taken() - self._start):
            self._cpus.unplug(number)
        for number in sorted(self._start - self._cpus.taken()):
            self._cpus.plug(number)
        return self._cpus.view().online == self._start

    def place_alive(self):
        """False when the host of the guest was lost."""
        return labcase.native() or self._guest.config.place.alive()

    # --- what the guest shows -----------------------------------------------------------------

    def assert_sound(self, guest):
        """The guest's kernel has complained of nothing that a CPU may have to do with."""
        found = guest.run("dmesg | grep -E 'Oops|BUG|WARNING|SANITY CHECK|Unexpected|"
                          "failed to come online'")[1]
        self.assertEqual(found, "", "kernel messages of the guest")

    def interrupts(self, guest, pattern, number):
        """How many of the interrupts whose line in /proc/interrupts matches CPU NUMBER took."""
        lines = guest.check(f"grep -E '^ +CPU|{pattern}' /proc/interrupts").split("\n")
        column = 1 + lines[0].split().index(f"CPU{number}")
        return sum(int(line.split()[column]) for line in lines[1:])

    def features(self, guest, number):
        """The CPU features that Linux names for the online CPU NUMBER."""
        text = guest.check("cat /proc/cpuinfo")
        for block in text.split("\n\n"):
            fields = dict(line.split("\t: ", 1) for line in block.split("\n") if "\t: " in line)
            if fields.get("processor", "").strip() == str(number):
                return set(fields["Features"].split())
        raise GuestError(f"{guest.name}: /proc/cpuinfo has no CPU {number}")

    def spread(self, guest, name, number):
        """Have CPU NUMBER take the interrupts of the device NAME."""
        guest.check(f"echo {number} > /proc/irq/$(awk '/ {name}$/ {{ print $1 + 0 }}' "
                    "/proc/interrupts)/smp_affinity_list")


__all__ = ["SharedCase", "SYSFS"]
