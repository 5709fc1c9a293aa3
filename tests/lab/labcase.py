# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests with KVM share.

On an Arm host with a usable /dev/kvm the guests run there. Anywhere else they run inside the
emulated Arm host (workbench/lab.py), which is booted for the first test of a file that needs it.
Environment: see tests/guest/guestcase.py; LAB_NATIVE=0 means the emulated host even on an Arm host.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "guest"))

import guestcase                                                    # noqa: E402
from guestcase import GuestError, Refused, main                     # noqa: E402,F401

from workbench import assets, labhost                               # noqa: E402
from workbench.lab import Lab, native                               # noqa: E402
from workbench.place import LOCAL                                   # noqa: E402


_hosts = {}


def host(name="host", settings=None):
    """The emulated Arm host NAME, booted if it is not there or was lost.

    SETTINGS is a function that makes its Config.
    """
    program = Path(sys.argv[0]).stem
    if name not in _hosts or not _hosts[name].alive():
        if name in _hosts:
            _hosts.pop(name).close()
        _hosts[name] = Lab(f"{program}.{name}", settings and settings())
    return _hosts[name]


class LabCase(guestcase.GuestCase):
    """A test whose guests run with KVM, at self.place."""

    def setUp(self):
        self.place = LOCAL if native() else host()

    def image_tool(self):
        """The path of qemu-img where the guests run."""
        return super().image_tool() if native() else "qemu-img"

    def config(self, kernel=assets.DEFAULT_KERNEL, firmware=assets.DEFAULT_FIRMWARE, **changes):
        """A Config of a guest with KVM; CHANGES are fields of Config."""
        fields = {"qemu": guestcase.QEMU if native() else labhost.binary(),
                  "machine": "virt,gic-version=3", "accel": "kvm", "cpu": "host", "smp": "2",
                  "memory": "256M"}
        return super().config(kernel, firmware, **{**fields, **changes})
