#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""What is where in memory (info mtree -f) is the same in both binaries, for every machine.

The series changes how QEMU keeps regions, renders flat views and resets bridges, for all machines.
"""

import functools
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from workbench.compare import builds
from workbench.compare.instance import empty_firmware

# Bridges of each kind, and something behind them.
BRIDGES = ["-device", "pcie-root-port,id=port,chassis=1", "-device", "pci-testdev,bus=port",
           "-device", "pcie-root-port,id=switch,chassis=2,io-reserve=0",
           "-device", "x3130-upstream,id=up,bus=switch",
           "-device", "xio3130-downstream,id=down,bus=up,chassis=3",
           "-device", "pci-testdev,bus=down", "-device", "pcie-pci-bridge,id=bridge,bus=pcie.0",
           "-device", "pci-bridge,id=inner,bus=bridge,addr=1,chassis_nr=1",
           "-device", "pci-testdev,bus=inner,addr=1"]
WITH_BRIDGES = re.compile(r"virt-(11|10|9|8)\.|virt$|q35|pc-q35-(11|10|9|8)\.")


def flat_views(text):
    """The flat views in the output TEXT of "info mtree -f", in an order that does not change."""
    views = []
    for block in re.split(r"^FlatView #\d+\n", text, flags=re.M)[1:]:
        lines = block.split("\n(qemu)")[0].rstrip().splitlines()
        spaces = sorted(line for line in lines if line.startswith(" AS "))
        views.append("\n".join(spaces + [line for line in lines if line not in spaces]))
    return sorted(views)


def ask(binary, machine, folder):
    """(flat views, what QEMU said and its exit status) for a MACHINE that was reset, not run."""
    command = [binary, "-machine", machine, "-accel", "qtest", "-S", "-nodefaults",
               "-display", "none", "-monitor", "stdio", "-L", folder]
    if "x86_64" in binary.name:
        command += ["-bios", empty_firmware(folder)]
    if WITH_BRIDGES.search(machine):
        command += BRIDGES
    done = subprocess.run([str(word) for word in command], input="info mtree -f\nquit\n", text=True,
                          capture_output=True, timeout=builds.TIMEOUT, check=False)
    said = done.stderr.replace(str(binary), binary.name)
    return flat_views(done.stdout), f"{said}{done.returncode}"


@functools.lru_cache(maxsize=None)
def all_machines(binary):
    """Names of all machines of BINARY."""
    text = subprocess.run([str(binary), "-machine", "help"], capture_output=True, text=True,
                          timeout=builds.TIMEOUT, check=True).stdout
    return tuple(line.split()[0] for line in text.splitlines()[1:]
                 if line.split()[0] not in ("none", "x-remote"))


class Views(unittest.TestCase):
    """Order and numbers of the views do not matter; what is in them does."""

    ONE = 'FlatView #0\n AS "a", root: r\n AS "b", root: r\n Root memory region: r\n  0-1 x\n'
    TWO = 'FlatView #1\n AS "c", root: s\n Root memory region: s\n  0-2 y\n'

    def test_order(self):
        """Two texts of one state."""
        swapped = self.ONE.replace('"a"', '"?"').replace('"b"', '"a"').replace('"?"', '"b"')
        self.assertEqual(flat_views(self.ONE + self.TWO), flat_views(self.TWO + swapped))

    def test_content(self):
        """Another range, and another order of ranges."""
        self.assertNotEqual(flat_views(self.ONE), flat_views(self.ONE.replace("0-1", "0-2")))
        self.assertEqual(len(flat_views(self.ONE + self.TWO)), 2)


class Maps(common.CompatCase):
    """Machines that are compared one after the other; a failure names all that differ."""

    def test_same(self):
        """The same views, or the same refusal."""
        different, seen = [], 0
        with tempfile.TemporaryDirectory() as folder:
            # sbsa-ref has a display that needs it.
            Path(folder, "vgabios-bochs-display.bin").write_bytes(bytes(4096))
            for name in all_machines(self.pristine):
                before, after = (ask(binary, name, folder)
                                 for binary in (self.pristine, self.patched))
                seen += bool(before[0])
                if before != after:
                    different.append(f"{name}: {self.describe(before, after)}")
        self.assertEqual(different, [])
        self.assertGreater(seen, 10, "machines that start")

    def describe(self, before, after):
        """One line on how the answers differ."""
        lines = [{line for view in views for line in view.splitlines()} for views, _ in
                 (before, after)]
        return (f"without the series {sorted(lines[0] - lines[1])[:5]} {before[1][:200]!r}, "
                f"with it {sorted(lines[1] - lines[0])[:5]} {after[1][:200]!r}")


class Arm(Maps):
    """All Arm machines."""


class Pc(Maps):
    """The PC machines."""

    target = "x86_64"


del Maps

if __name__ == "__main__":
    common.main()
