#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=kvm parallel
"""CPUs come and go in running Linux guests with KVM."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
import memorycases  # noqa: E402
import nodecases  # noqa: E402
import probe  # noqa: E402
import slotcases  # noqa: E402
from guestcase import long_only  # noqa: E402
from sharedcase import SharedCase  # noqa: E402

PMU_PERIOD = 200000             # cycles, far fewer than the probe takes
TIMER = "arch_timer"
FROM_OTHERS = "CPU backtrace interrupts"
OPTION = "host-arm-cpu,id=cpu2,socket-id=0,cluster-id=0,core-id=2,thread-id=0"


class Plug(SharedCase):
    """`-cpu host` with all that it has, on the kernel that most guests have."""

    options = {"smp": "1,maxcpus=4"}

    def test_one_by_one(self):
        """From one CPU to four, work on all, and back; each step seen by QEMU and the guest."""
        guest, cpus = self.shared()
        threads = guest.process.threads()
        for number in (1, 2, 3):
            cpus.plug(number)
            self.assert_cpus(cpus, range(number + 1))
        running = guest.qmp("query-cpus-fast")
        self.assertEqual(len({cpu["thread-id"] for cpu in running}), 4)
        cpus.work(range(4), 500)
        # The guest itself turns a CPU off and on, which then starts from reset.
        guest.check("cpu-cycle 2")
        self.assert_cpus(cpus, range(4))
        for number in (3, 2, 1):
            cpus.unplug(number)
            self.assert_cpus(cpus, range(number))
        guest.wait_threads(range(threads + 1))
        self.assert_sound(guest)

    def test_slot_states(self):
        """query-hotpluggable-cpus tells what the guest does with a slot."""
        guest, cpus = self.shared()
        self.come(guest, cpus, 1)
        slotcases.assert_slot_states(self, guest, cpus)
        self.go(cpus, 1)

    def test_boot_features(self):
        """A plugged CPU has all features of the boot CPU, and is of the same kind."""
        guest, cpus = self.shared()
        self.come(guest, cpus, 2)
        self.assertTrue(self.has_feature(guest, 2, "fp"))
        self.assertEqual(*(self.features(guest, number) for number in (0, 2)))
        for register in ("midr_el1", "revidr_el1"):
            path = "/sys/devices/system/cpu/cpu%d/regs/identification/" + register
            self.assertEqual(*(guest.check(f"cat {path % number}") for number in (0, 2)))

    def test_vectors(self):
        """SVE, with the vector length of the boot CPU, also on a CPU that comes again."""
        guest, cpus = self.shared()
        if not self.has_feature(guest, 0, "sve"):
            self.skipTest("the host has no SVE")
        length = guest.check("taskset -c 0 cpu-probe vectors")
        for _ in range(2):
            self.come(guest, cpus, 3)
            self.assertTrue(self.has_feature(guest, 3, "sve"))
            self.assertEqual(guest.check("taskset -c 3 cpu-probe vectors"), length)
            self.go(cpus, 3)

    def test_interrupts(self):
        """A plugged CPU takes interrupts of its timer and of other CPUs, also a second time."""
        guest, cpus = self.shared()
        for _ in range(2):
            self.come(guest, cpus, 2)
            before = [self.interrupts(guest, kind, 2) for kind in (TIMER, FROM_OTHERS)]
            guest.check("taskset -c 2 sh -c 'for i in 1 2 3 4 5; do usleep 20000; done'")
            # The one that asks for the backtraces asks all others.
            guest.check("taskset -c 0 sh -c 'echo l > /proc/sysrq-trigger'")
            after = [self.interrupts(guest, kind, 2) for kind in (TIMER, FROM_OTHERS)]
            self.assertGreater(after[0], before[0] + 4)
            self.assertGreater(after[1], before[1])
            self.go(cpus, 2)

    def test_device_interrupts(self):
        """Devices' interrupts go to a plugged CPU when told so, and back when it goes."""
        guest, cpus = self.shared()
        self.come(guest, cpus, 2)
        self.spread(guest, "uart-pl011", 2)
        self.spread(guest, "ACPI:Ged", 2)
        before = [self.interrupts(guest, name, 2) for name in ("uart-pl011", "ACPI:Ged")]
        # The GED announces this one on CPU 2.
        self.come(guest, cpus, 3)
        after = [self.interrupts(guest, name, 2) for name in ("uart-pl011", "ACPI:Ged")]
        self.assertGreater(after[0], before[0])
        self.assertGreater(after[1], before[1])
        self.go(cpus, 2)
        self.go(cpus, 3)
        self.come(guest, cpus, 2)
        cpus.work({0, 2}, 100)

    def test_pmu(self):
        """The PMU of a plugged CPU counts and interrupts, also when the CPU comes again."""
        guest, cpus = self.shared()
        if guest.run("grep -q arm-pmu /proc/interrupts")[0]:
            self.skipTest("the host has no PMU for guests")
        for number in (0, 3, 3):
            if number not in cpus.taken():
                self.come(guest, cpus, number)
            before = self.interrupts(guest, "arm-pmu", number)
            cycles = int(guest.check(f"taskset -c {number} cpu-probe cycles {PMU_PERIOD}",
                                     60).split()[0])
            self.assertGreater(cycles, PMU_PERIOD)
            self.assertGreater(self.interrupts(guest, "arm-pmu", number), before)
            if number:
                self.go(cpus, number)

    def test_counter(self):
        """The virtual counter, which is one for the VM, goes back for no CPU at a plug."""
        guest, cpus = self.shared()
        self.come(guest, cpus, 1)
        with probe.counter_watched(self, guest, (0, 1)) as counter:
            for _ in range(3):
                self.come(guest, cpus, 2)
                self.go(cpus, 2)
            self.come(guest, cpus, 3)
            counter.follow(3)
            self.come(guest, cpus, 2)
            self.go(cpus, 3)

    def test_counter_of_stopped_guest(self):
        """Nor at a plug into a stopped guest, whose counter stands still meanwhile."""
        guest, cpus = self.shared()
        with probe.counter_watched(self, guest, (0,)):
            for _ in range(3):
                guest.qmp("stop")
                cpus.add(2)
                guest.qmp("cont")
                self.bring_online(guest, 2)
                self.go(cpus, 2)

    def test_stopped(self):
        """Requests to a stopped guest are carried out when it goes on, every time."""
        guest, cpus = self.shared()
        for _ in range(2):
            guest.qmp("stop")
            cpus.add(1)
            cpus.add(3)
            guest.qmp("cont")
            for number in (1, 3):
                self.bring_online(guest, number)
            self.assert_cpus(cpus, {0, 1, 3})
            guest.qmp("stop")
            handles = [cpus.delete(number) for number in (1, 3)]
            self.assertEqual(cpus.taken(), {0, 1, 3})
            guest.qmp("cont")
            for handle in handles:
                cpus.wait_deleted(handle)
            cpus.wait_view("CPUs 1 and 3 gone", enabled={0}, online={0})
        self.assert_sound(guest)


class Start(labcase.LabCase):
    """CPUs that are added before the guest starts."""

    def config(self, *arguments, **changes):
        return super().config(*arguments, **{"smp": "1,maxcpus=4", **changes})

    def check_start(self, kernel):
        guest, cpus = self.start(self.config(kernel, extra=["-device", OPTION]), paused=True)
        cpus.add(1)
        cpus.add(3)
        self.start_without(guest, cpus, 1)
        cpus.wait_view("CPUs 2 and 3 there", enabled={0, 2, 3}, online={0, 2, 3})
        cpus.work({0, 2, 3}, 300)
        for number in (2, 3):
            cpus.unplug(number)
        for number in (3, 1):
            cpus.plug(number)
        self.assert_cpus(cpus, {0, 1, 3})
        self.reset(guest)
        self.assert_cpus(cpus, {0, 1, 3})

    def test_newest_kernel(self):
        """-device, and device_add with -S; then all that can happen to such CPUs."""
        self.check_start("7")

    @long_only
    def test_usual_kernel(self):
        self.check_start("6.12")


class Nodes(nodecases.NodeCases, labcase.LabCase):
    """NUMA."""


class Memory(memorycases.MemoryCases, labcase.LabCase):
    """Memory modules."""


class Variants(labcase.LabCase):
    """CPU and machine in other shapes."""

    def check_plugs(self, numbers, smp="1,maxcpus=4", lacking=(), **changes):
        """CPUs NUMBERS come, work, go and come again; none has the features LACKING."""
        guest, cpus = self.boot(self.config(smp=smp, **changes))
        for number in numbers:
            cpus.plug(number)
        there = {0, *numbers}
        self.assert_cpus(cpus, there)
        for number in numbers:
            cpus.unplug(number)
            cpus.plug(number)
        self.assert_cpus(cpus, there)
        cpus.work(there, 200)
        self.assertEqual(guest.check("grep ^Features /proc/cpuinfo | sort | uniq -c | "
                                     "awk '{ print $1 }'"), str(len(there)))
        for name in lacking:
            self.assertNotEqual(guest.run(f"grep -qw {name} /proc/cpuinfo")[0], 0, name)
        return guest

    def test_without_all(self):
        """Neither PMU nor SVE nor stolen time, and a counter that goes on while stopped."""
        guest = self.check_plugs(
            (3, 1), cpu="host,pmu=off,sve=off,kvm-steal-time=off,kvm-no-adjvtime=on",
            lacking=("sve", "sve2"))
        self.assertEqual(guest.run("grep arm-pmu /proc/interrupts; dmesg | grep 'stolen time'")[1],
                         "")

    def test_huge_pages(self):
        """The guest's memory is in huge pages."""
        if labcase.native():
            self.skipTest("huge pages are reserved in the emulated host only")
        setting = "/proc/sys/vm/nr_hugepages"
        self.addCleanup(self.place.check, f"echo 0 > {setting}")
        self.place.check(f"echo 128 > {setting} && grep -qx 128 {setting}")
        self.check_plugs((1, 3), machine="virt,gic-version=3,memory-backend=ram", memory="256M",
                         extra=["-object", "memory-backend-memfd,id=ram,size=256M,hugetlb=on,"
                                "hugetlbsize=2M,prealloc=on"])
        self.assertEqual(self.place.check("awk '/HugePages_Free/ { print $2 }' /proc/meminfo"), "0")

    @long_only
    def test_64(self):
        """The first, a middle and the last slot of 64."""
        self.check_plugs((1, 31, 63), "1,maxcpus=64", memory="512M")

    @long_only
    def test_240(self):
        """And of 240, which need two regions of redistributors."""
        self.check_plugs((1, 120, 239), "1,maxcpus=240", memory="1G")

    @long_only
    def test_shape(self):
        """Sockets, clusters, cores and threads."""
        self.check_plugs((1, 9, 23), "1,maxcpus=24,sockets=2,clusters=3,cores=2,threads=2")

    @long_only
    def test_without_pmu(self):
        guest = self.check_plugs((1, 3), cpu="host,pmu=off")
        self.assertEqual(guest.run("grep arm-pmu /proc/interrupts")[1], "")

    @long_only
    def test_without_sve(self):
        self.check_plugs((1, 3), cpu="host,sve=off", lacking=("sve", "sve2"))

    @long_only
    def test_without_stolen_time(self):
        guest = self.check_plugs((1, 3), cpu="host,kvm-steal-time=off")
        self.assertEqual(guest.run("dmesg | grep 'stolen time'")[1], "")

    @long_only
    def test_counter_goes_on(self):
        self.check_plugs((1, 3), cpu="host,kvm-no-adjvtime=on")

    @long_only
    def test_newest_kernel(self):
        self.check_plugs((1, 3, 2), kernel="7")


if __name__ == "__main__":
    labcase.main()
