# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that take turns with one guest, because a boot under emulation takes as long as ten of
them."""

import labcase
from workbench.guest import cpuprobe
from workbench.guest.cpus import SYSFS, Cpus
from workbench.guest.guest import Guest


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
    def _end(cls, force=False):
        guest, cls._guest = cls._guest, None
        if guest is not None:
            guest.close(force)

    def shared(self):
        """The guest of the class and its Cpus, as many as after the boot.

        It is booted for the first test, and again after one that has left it in a bad way: that
        test has then failed.
        """
        cls = type(self)
        if cls._guest is None:
            name = f"{cls.__module__}.{cls.__qualname__}".replace("__main__.", "")
            cls._guest = Guest(self.config(**{"initrd": cpuprobe.initrd(), **self.options}), name,
                               paused=self.never_runs)
            cls._cpus = Cpus(cls._guest)
            self.addCleanup(self._hand_back)
            if not self.never_runs:
                cls._guest.wait_ready()
            cls._start = cls._cpus.taken()
        else:
            self.addCleanup(self._hand_back)
        return cls._guest, cls._cpus

    def _hand_back(self):
        """Leave the guest to the next test as it was found, or end it and fail."""
        if self._guest is None:
            return
        try:
            self._guest.judge()
            self._restore()
        except BaseException:
            self._end(force=True)
            raise

    def _restore(self):
        """Bring the guest back to the CPUs of its start."""
        if self.never_runs:
            self.assertEqual(self._cpus.taken(), self._start, "CPUs that the test has left")
            return
        if self._guest.qmp("query-status")["status"] != "running":
            self._guest.qmp("cont")
        self._guest.run("true", 10)
        self._guest.events()
        for number in sorted(self._cpus.taken() - self._start):
            self.go(self._cpus, number)
        for number in sorted(self._start - self._cpus.taken()):
            self._cpus.plug(number)
        self._cpus.wait_view("CPUs as at the start", enabled=self._start, online=self._start)

    # --- quicker than Cpus.plug() and unplug(), which look at all CPUs before and after --------

    def come(self, guest, cpus, number):
        """Add the CPU and have the guest use it."""
        cpus.add(number)
        self.bring_online(guest, number)

    def bring_online(self, guest, number):
        """Have the guest use the added CPU as soon as it has noticed."""
        guest.check(f"until echo 1 > {SYSFS}/cpu{number}/online; do usleep 5000; done "
                    "2> /dev/null")

    def go(self, cpus, number):
        """Have the CPU removed. The guest may still have the last to do when this returns."""
        cpus.wait_deleted(cpus.delete(number))

    # --- what the guest shows -----------------------------------------------------------------

    # What the guest prints costs milliseconds for each letter, so it is the guest that searches.

    def interrupts(self, guest, name, number):
        """How many of the interrupts NAME, as /proc/interrupts has it, CPU NUMBER took."""
        return int(guest.check(
            f"awk -v cpu=CPU{number} 'NR == 1 {{ for (i = 1; i <= NF; i++) if ($i == cpu) c = i }} "
            f"/ {name}$/ {{ print $(c + 1) }}' /proc/interrupts"))

    def features(self, guest, number):
        """What distinguishes the features that Linux names for the online CPU NUMBER: a sum."""
        return guest.check(f"awk '/^processor/ {{ cpu = $3 }} /^Features/ && cpu == {number}' "
                           "/proc/cpuinfo | md5sum")

    def has_feature(self, guest, number, name):
        """True if Linux names the feature NAME for the online CPU NUMBER."""
        return guest.run(f"awk '/^processor/ {{ cpu = $3 }} /^Features/ && cpu == {number}' "
                         f"/proc/cpuinfo | grep -qw {name}")[0] == 0

    def spread(self, guest, name, number):
        """Have CPU NUMBER take the interrupts of the device NAME."""
        guest.check(f"echo {number} > /proc/irq/$(awk '/ {name}$/ {{ print $1 + 0 }}' "
                    "/proc/interrupts)/smp_affinity_list")

