# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests with KVM share.

On an Arm host with a usable /dev/kvm the guests run there. Anywhere else they run inside the
emulated Arm host (workbench/lab/lab.py), which is booted for the first test of a file that needs it.
Environment: see guestcase.py; LAB_NATIVE=0 means the emulated host even on an Arm host.
"""

import sys
import unittest
from pathlib import Path

import guestcase
from guestcase import GuestError, Refused, main  # noqa: F401

from workbench.guest import assets
from workbench.guest.place import LOCAL
from workbench.lab import image
from workbench.lab.lab import RECOMMENDED, Lab, native

_hosts = {}


def host(name="host", settings=None):
    """The emulated Arm host NAME, booted for the first test of a file that asks for it.

    SETTINGS is a function that makes its Config. A test that calls this has judge_hosts() called
    at its end.
    """
    program = Path(sys.argv[0]).stem
    if name not in _hosts:
        _hosts[name] = Lab(f"{program}.{name}", settings and settings())
        unittest.addModuleCleanup(_end, name)
    return _hosts[name]


def judge_hosts():
    """Raise GuestError if a host was lost, or its QEMU has complained, since last time.

    A host that was lost is given up: the next test boots another one.
    """
    for name, place in list(_hosts.items()):
        if place.alive():
            place.guest.judge()
            continue
        words = f"the host {name} was lost{place.describe()}"
        _end(name, force=True)
        raise GuestError(words)


def _end(name, force=False):
    if name in _hosts:
        _hosts.pop(name).close(force)


class LabCase(guestcase.GuestCase):
    """A test whose guests run with KVM, at self.place."""

    prefix = "kvm-"

    def run(self, result=None):
        """Run the test; then its hosts are judged."""
        # First of all, so that it is done last, whatever setUp() does.
        self.addCleanup(judge_hosts)
        return super().run(result)

    def setUp(self):
        self.place = LOCAL if native() else host()

    def image_tool(self):
        """The path of qemu-img where the guests run."""
        return super().image_tool() if native() else "qemu-img"

    def config(self, kernel=assets.DEFAULT_KERNEL, firmware=assets.DEFAULT_FIRMWARE, **changes):
        """A Config of a guest with KVM; CHANGES are fields of Config."""
        fields = {"qemu": guestcase.QEMU if native() else image.binary(),
                  "machine": "virt,gic-version=3", "accel": "kvm", "cpu": "host", "smp": "2",
                  "memory": "256M", "says": (RECOMMENDED,)}
        return super().config(kernel, firmware, **{**fields, **changes})
