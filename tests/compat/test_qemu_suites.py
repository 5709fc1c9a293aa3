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
from workbench.compare import builds
from workbench.guest import assets
from workbench.system import paths
from workbench.testing import qemusuites, qtests

ARM_SUITES = ("qtest-aarch64", "func-aarch64")
THOROUGH = "func-aarch64-thorough"      # downloads guests from the Internet


def arm_names():
    """Names of the Arm tests; empty when there is no build, which test_build then reports."""
    try:
        thorough = set(qemusuites.names(builds.PATCHED, THOROUGH))
        found = [name for suite in ARM_SUITES
                 for name in qemusuites.names(builds.PATCHED, suite) if name not in thorough]
    except qemusuites.WorkbenchError:
        return []
    return found


@functools.lru_cache(maxsize=None)
def place(which):
    """The Workplace for the "pristine" or "patched" binary."""
    firmware = assets.firmware()
    build = {"pristine": builds.PRISTINE, "patched": builds.PATCHED}[which]
    made = qemusuites.Workplace(
        paths.TMP / f"qemu-suites-{which}", paths.QEMU_SRC,
        builds.default_binary(build, "aarch64"), firmware.code, firmware.vars)
    qemusuites.expect_tables_of(
        made, builds.default_binary(builds.PRISTINE, "aarch64"), builds.PATCHED)
    return made


@functools.lru_cache(maxsize=None)
def results():
    """The results of all tests with the patched binary."""
    return qemusuites.run(builds.PATCHED, place("patched"), arm_names(), "patched")


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
            self.assertTrue(qemusuites.names(builds.PATCHED, suite), suite)

    def check_arm(self, name):
        """One test of QEMU."""
        qtests.judge(self, name, results()[name], lambda: qemusuites.run(
            builds.PATCHED, place("pristine"), [name], "pristine")[name])


if __name__ == "__main__":
    common.main()
