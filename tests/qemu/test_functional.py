#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=guest timeout=600
"""The functional tests that the series adds to QEMU, with a kernel that is there anyway."""

import functools
import re
import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from workbench.compare import builds                     # noqa: E402
from workbench.guest import assets                       # noqa: E402
from workbench.system import paths                       # noqa: E402
from workbench.testing import functional, qemusuites, tap  # noqa: E402

SECONDS = 180           # what QEMU's meson.build gives them
CPUS, PORTS = (f"tests/functional/aarch64/test_hotplug_{name}.py" for name in ("cpu", "pci_ports"))


@functools.lru_cache(maxsize=None)
def place():
    """The Workplace, which is made once."""
    firmware = assets.firmware()
    return qemusuites.Workplace(paths.TMP / "functional", paths.QEMU_SRC,
                                builds.default_binary(paths.PATCHED, "aarch64"),
                                firmware.code, firmware.vars)


def tearDownModule():
    """The Workplace is of no use without the tests."""
    shutil.rmtree(paths.TMP / "functional", ignore_errors=True)


class Functional(unittest.TestCase):
    """What QEMU's own framework says about the guest."""

    def check(self, file, number):
        """The test FILE passes, and all of its NUMBER methods run."""
        result = functional.run(file, place(), SECONDS, functional.stand_ins())
        self.assertEqual((result.status, list(result.subtests.values())), ("OK", ["ok"] * number),
                         f"{result.name}\n{result.output[-3000:]}")

    def test_cpus(self):
        """A CPU comes, goes, comes again, is there after a reset, and goes."""
        self.check(CPUS, 1)

    def test_ports(self):
        """Adapters come and go behind two ports, and there is a limit of ports."""
        self.check(PORTS, 2)


class Registered(unittest.TestCase):
    """The tests are in the series as QEMU wants them."""

    def test_added(self):
        """This file runs all that the series adds."""
        self.assertEqual(functional.added(paths.QEMU_SRC), [CPUS, PORTS])

    def test_known(self):
        """QEMU's build knows them, among those that need the Internet."""
        known = qemusuites.names(paths.PATCHED, "func-aarch64-thorough")
        for file in (CPUS, PORTS):
            self.assertIn(functional.suite_name(file), known)

    def test_assets(self):
        """They download nothing but what other tests of QEMU download, too."""
        known = functional.known_hashes(paths.QEMU_SRC)
        for file in (CPUS, PORTS):
            hashes = re.findall("[0-9a-f]{64}", (paths.QEMU_SRC / file).read_text())
            self.assertEqual(len(hashes), 2, file)
            self.assertLessEqual(set(hashes), known, file)

    def test_skipped(self):
        """Without assets they are skipped, and do not fail."""
        for file in (CPUS, PORTS):
            result = functional.run(file, place(), SECONDS)
            self.assertEqual(result.status, "SKIP", result.output[-3000:])
            self.assertIn("assets is not available", result.output)


if __name__ == "__main__":
    tap.main()
