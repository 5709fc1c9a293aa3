#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The commands in QEMU's manual of `virt` do what the manual says."""

import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import manual  # noqa: E402
from workbench.compare.instance import Instance  # noqa: E402


class Virt(unittest.TestCase):

    def test_ports(self):
        """Ports of the machine take a device, and the machine says how many it can serve."""
        (start, plug), (limit, ) = manual.blocks("arm/virt.rst")
        words = ["-accel", "qtest", "-S", *manual.options(start)]
        with Instance(guestcase.QEMU, words, qtest=False) as machine:
            self.assertEqual(machine.hmp(plug.words), "")
            self.assertEqual(machine.qmp("qom-get", {
                "path": "/machine/peripheral/net1", "property": "parent_bus"}).split("/")[-1],
                "hotplug0")
            self.assertEqual(machine.hmp(limit.words).strip(), limit.output)


if __name__ == "__main__":
    guestcase.main()
