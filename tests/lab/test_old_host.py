#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=kvm parallel
"""A host with Linux 6.1, whose KVM cannot leave to QEMU which CPUs the guest may turn on."""

import functools
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
from labcase import GuestError  # noqa: E402
from workbench.lab import image, lab  # noqa: E402

REASON = ("it needs KVM with SMCCC filters, which the kernel of this host does not have; use "
          "Linux 6.4 or newer on the host")
ADDED = {"driver": "host-arm-cpu", "id": "new", "socket-id": 0, "cluster-id": 0, "core-id": 2,
         "thread-id": 0}


class OldHost(labcase.LabCase):

    def setUp(self):
        # Also on an Arm host, whose kernel is newer.
        self.place = labcase.host("6.1", functools.partial(lab.config, kernel="6.1"))

    def config(self, *arguments, **changes):
        return super().config(*arguments, **{"smp": "2,maxcpus=4", "qemu": image.binary(),
                                             **changes})

    def test_kernel(self):
        """The host is what it is taken for."""
        self.assertRegex(self.place.check("uname -r"), r"^6\.1\.")

    def test_asked_for(self):
        """cpu-hotplug=on ends QEMU with the reason, and what would help."""
        with self.assertRaisesRegex(GuestError, re.escape(
                f"CPU hotplug is not available with 'cpu-hotplug=on': {REASON}") + r"\s") as raised:
            self.start(self.config(machine="virt,gic-version=3,cpu-hotplug=on"))
        self.assertRegex(str(raised.exception), "QEMU ended with (exit )?status 1")

    def test_goes_on_without(self):
        """By default the guest runs with the CPUs of -smp, and device_add says why not."""
        guest, _ = self.boot()
        self.assert_refused(f"^CPU hotplug is not available on this machine: {re.escape(REASON)}$",
                            guest.qmp, "device_add", ADDED)
        self.assertEqual(guest.check("nproc"), "2")
        guest.check("cpu-cycle 1")
        self.reset(guest)
        self.assertEqual(guest.check("nproc"), "2")


if __name__ == "__main__":
    labcase.main()
