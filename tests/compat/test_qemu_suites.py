#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=2400
"""QEMU's own tests on the patched build: all of qtest-aarch64 and the quick functional suite.

A test that fails is run again with the pristine binary. Only if it fails there in the same
subtests, and its source is not touched by the series, it is the machine's fault and skipped.
"""

import functools
import unittest

import common
from workbench.compare import compat
from workbench.guest import assets
from workbench.system import paths
from workbench.testing import qemusuites, qtests

ARM_SUITES = ("qtest-aarch64", "func-aarch64")
THOROUGH = "func-aarch64-thorough"      # downloads guests from the Internet


def arm_names():
    """Names of the Arm tests; empty when there is no build, which test_build then reports."""
    try:
        thorough = set(qemusuites.names(compat.PATCHED, THOROUGH))
        found = [name for suite in ARM_SUITES
                 for name in qemusuites.names(compat.PATCHED, suite) if name not in thorough]
    except qemusuites.WorkbenchError:
        return []
    return found


@functools.lru_cache(maxsize=None)
def place(which):
    """The Workplace for the "pristine" or "patched" binary."""
    firmware = assets.firmware()
    build = {"pristine": compat.PRISTINE, "patched": compat.PATCHED}[which]
    made = qemusuites.Workplace(
        paths.TMP / f"qemu-suites-{which}", paths.QEMU_SRC,
        compat.default_binary(build, "aarch64"), firmware.code, firmware.vars)
    qemusuites.expect_tables_of(
        made, compat.default_binary(compat.PRISTINE, "aarch64"), compat.PATCHED)
    return made


@functools.lru_cache(maxsize=None)
def results():
    """The results of all tests with the patched binary."""
    return qemusuites.run(compat.PATCHED, place("patched"), arm_names(), "patched")


def judge(case, name):
    """Fail or skip CASE by the result of test NAME."""
    result = results()[name]
    case.assertEqual(qtests.own_skips(result, paths.QEMU_SRC), [], "skipped")
    if result.status == "SKIP":
        case.skipTest("skipped by QEMU itself: "
                      + (result.output.strip().splitlines() or ["it has no subtests here"])[-1])
    if result.status == "OK":
        return
    what = (f"{name}: {result.status}, failing: {', '.join(sorted(result.failed)) or 'all'}\n"
            + result.output[-3000:])
    if not qemusuites.unchanged_since_base(name):
        case.fail(what)
    pristine = qemusuites.run(compat.PATCHED, place("pristine"), [name],
                              "pristine")[name]
    if pristine.status == result.status and pristine.failed == result.failed:
        case.skipTest("the pristine binary fails alike on this machine, in "
                      f"{', '.join(sorted(result.failed)) or name}")
    case.fail(f"{what}\n\nthe pristine binary: {pristine.status}, failing: "
              f"{', '.join(sorted(pristine.failed)) or 'none'}")


class OnlyMoved(unittest.TestCase):
    """The judgement on expected tables."""

    def test_only_moved(self):
        """An address that moved by pages is accepted, twice by the same; all else is not."""
        head = bytes(36)
        old = head + b"\x01" + (0x43db0018).to_bytes(8, "little") + b"\x02"
        new = head + b"\x01" + (0x437b0018).to_bytes(8, "little") + b"\x02"
        self.assertTrue(qemusuites.only_moved(old, new))
        self.assertTrue(qemusuites.only_moved(old + old[36:], new + new[36:]))
        elsewhere = b"\x01" + (0x43700018).to_bytes(8, "little") + b"\x02"
        self.assertFalse(qemusuites.only_moved(old + old[36:], new + elsewhere))
        self.assertFalse(qemusuites.only_moved(old, old[:-1] + b"\x03"))
        self.assertFalse(qemusuites.only_moved(old, old + b"\0"))
        self.assertFalse(qemusuites.only_moved(
            old, head + b"\x01" + (0x43db0019).to_bytes(8, "little") + b"\x02"))


@common.each(arm_names())
class Arm(common.CompatCase):
    """qtest-aarch64 and the quick functional suite."""

    def test_build(self):
        """The build has the tests."""
        for suite in ARM_SUITES:
            self.assertTrue(qemusuites.names(compat.PATCHED, suite), suite)

    def check_arm(self, name):
        """One test of QEMU."""
        judge(self, name)


if __name__ == "__main__":
    common.main()
