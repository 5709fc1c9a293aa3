# SPDX-License-Identifier: GPL-2.0-or-later
"""kvm-unit-tests in the pristine and in the patched QEMU, whatever runs them.

Each test runs in three machines: the pristine one with four CPUs, and the patched one with as many
slots as CPUs, and with more. All three must report the same.
"""

import re
from dataclasses import dataclass, replace

from migrationcases import Moving
from outsidecase import OutsideCase
from workbench.guest.qemu import FACTOR
from workbench.testing import outsidekvmunit
from workbench.testing.outsidekvmunit import DEVICE_TREE, EFI

CPUS = 4                        # its-* want as many
EQUAL, ABOVE = f"{CPUS}", f"{CPUS},maxcpus={2 * CPUS}"
PRISTINE, PATCHED = "pristine", "patched"


@dataclass(frozen=True)
class Test:
    """PROGRAM with ARGUMENTS; EXTRA are further options of QEMU."""

    program: str
    arguments: str = ""
    extra: tuple = ()


# Those of arm/unittests.cfg for a GICv3, with the same arguments.
TESTS = {
    "selftest_setup": Test("selftest", f"setup smp={CPUS} mem=256"),
    "selftest_vectors_kernel": Test("selftest", "vectors-kernel"),
    "selftest_vectors_user": Test("selftest", "vectors-user"),
    "selftest_smp": Test("selftest", "smp"),
    "pci": Test("pci-test", extra=("-device", "pci-testdev")),
    "pmu_cycle_counter": Test("pmu", "cycle-counter 0"),
    **{name.replace("-", "_"): Test("pmu", name) for name in (
        "pmu-event-introspection", "pmu-event-counter-config", "pmu-basic-event-count",
        "pmu-mem-access", "pmu-mem-access-reliability", "pmu-sw-incr", "pmu-chained-counters",
        "pmu-chained-sw-incr", "pmu-chain-promotion", "pmu-overflow-interrupt")},
    "gic_ipi": Test("gic", "ipi"),
    "gic_active": Test("gic", "active"),
    **{name.replace("-", "_"): Test("gic", name) for name in (
        "its-introspection", "its-trigger", "its-migration", "its-pending-migration",
        "its-migrate-unmapped-collection")},
    "psci": Test("psci"),               # see check_psci()
    "timer": Test("timer"),
    **{f"debug_{name}".replace("-", "_"): Test("debug", name) for name in (
        "bp", "bp-migration", "wp", "wp-migration", "ss", "ss-migration")},
}


PSCI = tuple(f"PASS: psci: {name}" for name in (
    "invalid-function", "affinity-info-on", "affinity-info-off", "cpu-on", "cpu-off"))
SAME = tuple(name for name in TESTS if name != "psci")
# pci finds the host bridge by a device tree only.
SAME_EFI = tuple(name for name in SAME if name != "pci")


def each(device_tree=SAME, efi=SAME_EFI):
    """Class decorator: a test for each of the names, with device tree and as an EFI program."""
    def decorate(case):
        for kind, names in ((DEVICE_TREE, device_tree), (EFI, efi)):
            for name in names:
                def test(self, kind=kind, name=name):
                    self.check_same(kind, TESTS[name])
                test.__doc__ = f"{name}, {kind}"
                setattr(case, f"test_{kind.replace('-', '_')}_{name}", test)
        return case
    return decorate


class KvmUnitCases(OutsideCase, Moving):
    """For a GuestCase, which has binary()."""

    suite = outsidekvmunit.NAME
    cpu = "max,pauth-impdef=on"
    seconds = 120               # that a test may take
    laps = 10                   # of the test of PSCI, which finds races

    def binary(self, which):
        """The qemu-system-aarch64 that is PRISTINE or PATCHED, where the guests run."""
        raise NotImplementedError

    def program(self, which, kind, test, smp, mended=False, incoming=()):
        """The Config of TEST in the QEMU WHICH, built as KIND, MENDED or as it is."""
        machine = "virt,gic-version=3"
        if which == PATCHED and smp == ABOVE and kind != DEVICE_TREE:
            # Said, so that it does not go unnoticed if something keeps it from being used.
            machine += ",cpu-hotplug=on"
        config = replace(self.config(), qemu=self.binary(which), machine=machine, cpu=self.cpu,
                         smp=smp, memory="256M", extra=[*test.extra, *incoming])
        program = outsidekvmunit.program(test.program, kind, mended)
        return outsidekvmunit.Program.of(config, program, test.arguments)

    def console(self, *what):
        """All that a test prints, with the arguments of program(); it must come to its end."""
        suffix = ".".join(str(word) for word in (what[0], what[3].replace(",", "."), *what[4:]))
        # Paused, as it might be done before QEMU has the console.
        guest, _ = self.start(self.program(*what), f".{suffix}", paused=True)
        guest.qmp("cont")
        guests = [guest]
        while not self.wait(guests[-1]):
            target, _ = self.start(self.program(*what, incoming=("-incoming", "defer")),
                                   f".{suffix}.{len(guests)}")
            self.moved(guests[-1], target)
            guests.append(target)
            target.console.type("\n")
        guests[-1].wait_end()
        guests[-1].close()
        return "".join(guest.log.read_text(encoding="utf-8", errors="replace") for guest in guests)

    def outcome(self, *what):
        """What a test reports, see outsidekvmunit.results(), with the arguments of program()."""
        return outsidekvmunit.results(self.console(*what))

    def wait(self, guest):
        """Wait until the test has ended, or wants to be migrated: then returns False."""
        while True:
            found = guest.console.wait_text(
                f"{outsidekvmunit.END}|{outsidekvmunit.MIGRATE}|{outsidekvmunit.NO_MIGRATION}",
                self.seconds * FACTOR, "end of the test").group(0)
            if found == outsidekvmunit.NO_MIGRATION:
                guest.console.type("\n")
            else:
                return found != outsidekvmunit.MIGRATE

    def check_same(self, kind, test):
        """TEST reports the same in all machines; it is skipped if that is that it was skipped."""
        wanted = self.outcome(PRISTINE, kind, test, EQUAL)
        self.assertTrue(wanted[0], "it reports nothing")
        for smp in (EQUAL, ABOVE):
            # With more slots than CPUs the EFI programs take all slots for CPUs, see check_slots().
            mended = kind == EFI and smp == ABOVE
            found = self.outcome(PATCHED, kind, test, smp, mended)
            if found != wanted:
                # Some measure time, in which a busy machine is seen.
                print(f"note: {test.program} {test.arguments} -smp {smp} reported something else "
                      f"the first time: {sorted(set(found[0]) ^ set(wanted[0]))}")
                wanted = self.outcome(PRISTINE, kind, test, EQUAL)
                found = self.outcome(PATCHED, kind, test, smp, mended)
            self.assertEqual(found, wanted, f"the patched QEMU with -smp {smp}, and the pristine "
                             f"one with -smp {EQUAL}")
        if all(line.startswith("SKIP: ") for line in wanted[0]):
            self.skipTest(f"kvm-unit-tests skips it itself: {wanted[0]}")

    def check_psci(self, kind):
        """The test of PSCI passes time and again, once it is mended.

        As it is, it takes ON_PENDING for a failure, the answer to those who turn on a CPU that
        another is turning on. The pristine QEMU with TCG never gives it, and at times tells two of
        them that they have turned on the same CPU, which the test finds as well.
        """
        test = TESTS["psci"]
        for smp in (EQUAL, ABOVE):
            for _ in range(self.laps):
                found = self.outcome(PATCHED, kind, test, smp, True)
                self.assertEqual(found, (PSCI, 0), f"-smp {smp}")
        # Only so many: EFI programs want all slots to be CPUs, see check_slots().
        for _ in range(self.laps):
            text = self.console(PATCHED, kind, test, EQUAL)
            checks, status = outsidekvmunit.results(text)
            if status:
                self.assertEqual([line for line in checks if line not in PSCI],
                                 ["FAIL: psci: cpu-on"])
                self.assertNotIn("CPU_ON success", text)
                answers = re.findall(r"unexpected cpu_on return value: caller=CPU\d+, ret=(-?\d+)",
                                     text)
                self.assertEqual(set(answers), {"-5"}, "ON_PENDING")

    def check_slots(self):
        """As EFI programs, kvm-unit-tests take free slots for CPUs, and try to start them.

        That is a defect of lib/arm/setup.c, cpu_set_acpi(), which does not look at the flag Enabled
        of a GICC; lib/arm/gic.c does. All that goes wrong is that the first free slot is refused:
        CPU_ON answers -3, which is DENIED.
        """
        text = self.console(PATCHED, EFI, TESTS["selftest_smp"], ABOVE)
        # What other CPUs print may be in the same line.
        self.assertEqual(re.findall(r"failed to boot CPU\d+ \(-?\d+\)", text),
                         [f"failed to boot CPU{CPUS} (-3)"])
        self.assertEqual(outsidekvmunit.results(text), ((), 63))
        self.assertEqual(self.outcome(PATCHED, EFI, TESTS["selftest_smp"], ABOVE, True),
                         (("PASS: selftest: smp: MPIDR test on all CPUs",), 0))

    # --- the tests, with those that each() makes -------------------------------------------------

    def test_device_tree_psci(self):
        """The test of PSCI passes, but for a defect of its own."""
        self.check_psci(DEVICE_TREE)

    def test_efi_psci(self):
        """The same as an EFI program."""
        self.check_psci(EFI)

    def test_slots_are_no_cpus(self):
        """Free slots are taken for CPUs by the EFI programs, unless these are mended."""
        self.check_slots()
