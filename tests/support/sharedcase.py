# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with KVM that tests take turns with, and what they do to it and ask of it."""

import labcase
from sharedguest import SharedGuest
from workbench.guest import cpuprobe
from workbench.guest.cpus import SYSFS
from workbench.guest.guest import Guest


class SharedCase(SharedGuest, labcase.LabCase):
    """A class whose tests share the guest of shared().

    OPTIONS are fields of its Config. With NEVER_RUNS it stays as QEMU has it with -S.
    """

    options = {}
    never_runs = False

    def start_shared(self, name):
        return Guest(self.config(**{"initrd": cpuprobe.initrd(), **self.options}), name,
                     paused=self.never_runs)

    def wait_shared(self, guest):
        if not self.never_runs:
            guest.wait_ready()

    def restore(self, guest, cpus, start):
        if self.never_runs:
            self.assertEqual(cpus.taken(), start, "CPUs that the test has left")
            return
        if guest.qmp("query-status")["status"] != "running":
            guest.qmp("cont")
        guest.run("true", 10)
        guest.events()
        for number in sorted(cpus.taken() - start):
            self.go(cpus, number)
        for number in sorted(start - cpus.taken()):
            cpus.plug(number)
        cpus.wait_view("CPUs as at the start", enabled=start, online=start)

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
