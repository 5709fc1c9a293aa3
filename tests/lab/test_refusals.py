#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 suite=kvm parallel
"""What QEMU with KVM refuses says why, and what would be accepted.

Of messages that are in whole in tests/qtest/arm-cpu-hotplug-test.c, a phrase is enough here.
"""

import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
from labcase import GuestError  # noqa: E402
from sharedcase import SharedCase  # noqa: E402

ON = "CPU hotplug is not available with 'cpu-hotplug=on': "
ADD = "CPU hotplug is not available on this machine: "
NO_IRQCHIP = "it needs the interrupt controller of KVM; use 'kernel-irqchip=on'"
VIRTUALIZATION = ("KVM does not support it with nested virtualization; "
                  "use 'virtualization=off'")
OFF = ("it is off, by the machine property 'cpu-hotplug' or by default for this machine version; "
       "use 'cpu-hotplug=auto', and -smp with maxcpus greater than cpus")
GICV2 = "it needs a GICv3 or GICv4, not a GICv2;"
ADDED = {"driver": "host-arm-cpu", "id": "new", "socket-id": 0, "cluster-id": 0, "core-id": 1,
         "thread-id": 0}


class Models(SharedCase):
    """Other CPU models than the host's."""

    never_runs = True

    def test_models(self):
        """QEMU says of each model whether it can run."""
        guest, _ = self.shared()
        runs = {model["name"] for model in guest.qmp("query-cpu-definitions")
                if not model["unavailable-features"]}
        self.assertLessEqual({"host", "max"}, runs)
        self.assertLessEqual(runs, {"host", "max", "cortex-a53", "cortex-a57"})


class Start(labcase.LabCase):
    """Machines that cannot have it."""

    def check_refused(self, text, **changes):
        """QEMU with these CHANGES ends at once and says TEXT."""
        with self.assertRaisesRegex(GuestError, re.escape(text) + r"\s") as raised:
            self.start(self.config(**{"smp": "1,maxcpus=4", **changes}))
        self.assertIn("QEMU ended with status 1", str(raised.exception))

    def check_without(self, pattern, **changes):
        """QEMU with these CHANGES starts, and then refuses a CPU for a reason like PATTERN."""
        guest, _ = self.start(self.config(**{"smp": "1,maxcpus=4", **changes}), paused=True)
        self.assert_refused(f"^{ADD}{pattern}", guest.qmp, "device_add", ADDED)

    def test_irqchip_in_qemu(self):
        self.check_refused(ON + NO_IRQCHIP, machine="virt,gic-version=3,cpu-hotplug=on",
                           accel="kvm,kernel-irqchip=off")

    def test_virtualization(self):
        self.check_refused(ON + VIRTUALIZATION,
                           machine="virt,gic-version=3,cpu-hotplug=on,virtualization=on")

    def test_gic_version_2(self):
        self.check_refused(ON + GICV2, machine="virt,gic-version=2,cpu-hotplug=on")

    def test_more_cpus_than_the_machine_has(self):
        self.check_refused("Invalid SMP CPUs 600. The max CPUs supported by machine "
                           "'virt-11.1-hotplug' is 512", smp="1,maxcpus=600")

    def test_off(self):
        self.check_without(f"{OFF}$", machine="virt,gic-version=3,cpu-hotplug=off")

    def test_released_version(self):
        self.check_without("it is off, .*by default for this machine version;",
                           machine="virt-11.1,gic-version=3")

    def test_no_free_slot(self):
        self.check_without("the machine was started with as many CPUs as it may have; use -smp "
                           "with maxcpus greater than cpus, or 'cpu-hotplug=on'$", smp="2")


class Request(SharedCase):
    """Requests to a machine that has it. The guest does not matter."""

    options = {"smp": "1,maxcpus=4"}
    never_runs = True

    def check_request(self, pattern, number=1, **changes):
        """device_add for slot NUMBER with CHANGES is refused, and changes nothing.

        The message is like PATTERN. A value None is left out.
        """
        guest, cpus = self.shared()
        before = cpus.slots()
        arguments = {**cpus.arguments(number), **changes}
        arguments = {name: value for name, value in arguments.items() if value is not None}
        self.assert_refused(pattern, guest.qmp, "device_add", arguments)
        self.assertEqual(cpus.slots(), before)

    def test_recommended_number(self):
        """More CPUs than KVM recommends are a warning that names both numbers."""
        guest, _ = self.shared()
        online = self.place.run(["nproc"])[1]
        if int(online) >= 4:
            self.skipTest("the host has that many CPUs")
        self.assertIn("warning: Number of hotpluggable cpus requested (4) exceeds the recommended "
                      f"cpus supported by KVM ({online})", guest.process.errors())

    def test_other_type(self):
        for other in ("max-arm-cpu", "cortex-a57-arm-cpu"):
            self.check_request(f"type 'host-arm-cpu', .* type '{other}' cannot be added",
                               driver=other)

    def test_other_features(self):
        for name in ("pmu", "sve", "kvm-steal-time"):
            self.check_request(f"^CPU property '{name}' is false, but true for", **{name: False})
        self.check_request("^CPU property 'kvm-no-adjvtime' is true, but false for",
                           **{"kvm-no-adjvtime": True})

    def test_taken_slot(self):
        _, cpus = self.shared()
        self.check_request(f"core-id=0.* is taken by {re.escape(cpus.slots()[0]['qom-path'])};", 0)

    def test_slot_that_is_not_there(self):
        self.check_request("^CPU property 'core-id' is 4, .* 0 to 3 only;", **{"core-id": 4})

    def test_slot_that_is_not_named(self):
        self.check_request("^CPU property 'core-id' is not set,", **{"core-id": None})

    def test_boot_cpu(self):
        _, cpus = self.shared()
        self.assert_refused("^The boot CPU cannot be removed,", cpus.delete, 0)
        self.assertEqual(cpus.taken(), {0})


if __name__ == "__main__":
    labcase.main()
