#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""What may be migrated (-dump-vmstate) is the same in both binaries, for every machine type."""

import json
import unittest

import common
from workbench.compare import vmstate
from workbench.system import paths


# Sent only while a CPU waits to be removed, and where that was lost before: an eject during a
# migration is that, a request that the guest has not answered only with Arm's virt.
PENDING = ("CPU hotplug state/ejected", "CPU hotplug state/requests")


def check(case, name):
    """Compare the dumps of machine type NAME, then let QEMU's own checker judge both directions."""
    old, new = (vmstate.dump_vmstate(binary, name) for binary in (case.pristine, case.patched))
    new = vmstate.without_subsections(new, PENDING)
    # The state of CPU hot-plug is in both, but in the pristine Arm binary without content, as the
    # code is not built in. It is not sent there, nor by the patched one without the feature:
    # test_migration compares what is sent.
    old = vmstate.fill_stub(old, new, "acpi-ged/cpuhp")
    new = new.replace(f'"{common.NEW}"', f'"{common.NEWEST}"')
    difference = vmstate.vmstate_differences(old, new)
    if difference:
        case.fail(f"-dump-vmstate differs for {name}:\n{difference}")
    if not paths.QEMU_SRC.exists():
        return
    # The checker stumbles over subsections with one name even when it compares a dump with itself.
    own = vmstate.check_vmstate(paths.QEMU_SRC, old, old)
    said = vmstate.check_vmstate(paths.QEMU_SRC, old, new)
    case.assertEqual(said, own, "vmstate-static-checker.py objects to what it accepts from the "
                                "pristine binary alone")


class FillStub(unittest.TestCase):
    """The one difference that is let pass."""

    def test_fill_stub(self):
        """Only an empty description, and only in the subsection that is named."""
        def dump(name, content):
            return json.dumps({"ged": {"Description": {"Subsections": [
                {"name": name, "Fields": [{"field": "x", "Description": content}]}]}}})
        stub = {"name": "(null)", "version_id": 0, "minimum_version_id": 0}
        full = {"name": "state", "version_id": 1, "minimum_version_id": 1}
        for name, before, same in (("a", stub, True), ("b", stub, False), ("a", full, False)):
            old, new = dump(name, before), dump(name, dict(full, Fields=[]))
            filled = vmstate.fill_stub(old, new, "a")
            self.assertEqual(vmstate.vmstate_differences(filled, new) == "", same)


class WithoutSubsections(unittest.TestCase):
    """The other one."""

    def test_without_subsections(self):
        """Only subsections go, only those that are named, and no empty list stays."""
        def dump(*names, field="a"):
            return json.dumps({"x": {"Fields": [{"name": field}], **(
                {"Subsections": [{"name": name} for name in names]} if names else {})}})
        for before, after in ((dump("a"), dump()), (dump("a", "b"), dump("b")),
                              (dump("b"), dump("b"))):
            self.assertEqual(vmstate.without_subsections(before, ("a",)), after)


@common.each(common.machines("aarch64") + ["virt"])
class Virt(common.CompatCase):
    """All virt types, and the default, which differs in its name only."""

    def check_vmstate(self, name):
        """The dump of one machine type."""
        check(self, name)


@common.each(common.machines("x86_64"))
class Pc(common.CompatCase):
    """The PC types, which share the CPU hot-plug device."""

    target = "x86_64"

    def check_vmstate(self, name):
        """The dump of one machine type."""
        check(self, name)


if __name__ == "__main__":
    common.main()
