#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200
"""QEMU's own tests, on other targets, of what the series shares with them: CPU hot-plug, ACPI
tables, PCI bridges, reset, and the devices as such.

A test that fails is run again with the pristine binary. Only if it fails there in the same
subtests, and its source is not touched by the series, it is the machine's fault and skipped.
"""

import functools
import os
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

from workbench.compare import builds  # noqa: E402
from workbench.guest import assets  # noqa: E402
from workbench.system import paths  # noqa: E402
from workbench.testing import qemusuites, qtests  # noqa: E402
from workbench.testing.tap import main  # noqa: E402

LONG = os.environ.get("GUEST_LONG", "0") not in ("", "0")
TESTS = {
    # cpu-eject-test, which uses KVM where it can, is in the suite qtest.
    "x86_64": ("boot-order-test", "cpu-plug-test", "cxl-test", "device-plug-test",
               "drive_del-test", "dump-test", "hd-geo-test", "i440fx-test", "i82801b11-test",
               "ioh3420-test", "lpc-ich9-test", "machine-none-test", "numa-test",
               "pci-bridge-windows-test", "pcie-port-test", "pvpanic-pci-test", "q35-test",
               "test-x86-cpuid-compat", "usb-hcd-xhci-test", "vmgenid-test"),
    "loongarch64": ("bios-tables-test", "cpu-eject-test", "cpu-plug-test", "machine-none-test",
                    "numa-test"),
}
# What takes minutes.
LONGER = {"x86_64": ("bios-tables-test", "device-introspect-test", "migration-test",
                     "qmp-cmd-test", "qom-test", "qos-test", "test-hmp", "virtio-net-failover"),
          "loongarch64": ("device-introspect-test", "migration-test", "qmp-cmd-test", "qom-test",
                          "qos-test", "test-hmp")}


def wanted(target):
    """Names of the tests of TARGET, as Meson has them."""
    names = TESTS[target] + (LONGER[target] if LONG else ())
    return [f"qtest-{target}/{name}" for name in names]


def firmware(target):
    """{name in pc-bios: file} for the machines of TARGET."""
    if target == "x86_64":
        folder = assets.bios_x86()[0]
        return {"bios-256k.bin": folder / "bios-256k.bin"}
    code, variables = assets.firmware_loongarch()
    return {"edk2-loongarch64-code.fd": code, "edk2-loongarch64-vars.fd": variables}


@functools.lru_cache(maxsize=None)
def place(target, which):
    """The Workplace for the "pristine" or "patched" binary of TARGET."""
    build = {"pristine": builds.PRISTINE, "patched": builds.PATCHED}[which]
    return qemusuites.Workplace(paths.TMP / f"other-targets-{target}-{which}", paths.QEMU_SRC,
                                builds.default_binary(build, target), blobs=firmware(target),
                                without_kvm=True)


@functools.lru_cache(maxsize=None)
def results(target):
    """The results of all tests of TARGET with the patched binary."""
    return qemusuites.run(builds.PATCHED, place(target, "patched"), wanted(target),
                          f"other-patched-{target}")


class OtherTargets(unittest.TestCase):
    """One method for each test, made below."""

    def test_known(self):
        """The build has all tests that are named here."""
        for target in TESTS:
            known = qemusuites.names(builds.PATCHED, f"qtest-{target}")
            self.assertEqual([name for name in wanted(target) if name not in known], [])

    def judge(self, target, name):
        """The result of the test NAME becomes that of the calling test."""
        qtests.judge(self, name, results(target)[name], lambda: qemusuites.run(
            builds.PATCHED, place(target, "pristine"), [name], f"other-pristine-{target}")[name])


def add(target, name):
    """A method for one test."""
    def method(self):
        self.judge(target, name)
    setattr(OtherTargets, "test_" + name.replace("/", "_").replace("-", "_"), method)


for _target in TESTS:
    for _name in wanted(_target):
        add(_target, _name)

if __name__ == "__main__":
    main()
