#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 suite=host-6.1
"""Guests that are moved between a host with Linux 6.1, which cannot have vCPU hot-plug, and one
that can: the destination refuses, with the reason.

The state goes through a file, which is copied. The guests do not run before, because what is
compared is sent first.
"""

import functools
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
from workbench.guest import migration  # noqa: E402
from workbench.lab import image, lab  # noqa: E402


class Between(labcase.LabCase):

    def setUp(self):
        # Also on an Arm host, where one of both would be another kernel than that of the test.
        self.new = labcase.host("6.12")
        self.old = labcase.host("6.1", functools.partial(lab.config, kernel="6.1"))

    def start_at(self, place, suffix, extra=()):
        """Start a guest at PLACE that does not run; returns it."""
        return self.start(self.config(place=place, smp="2,maxcpus=4", qemu=image.binary(),
                                      extra=list(extra)), suffix, paused=True)[0]

    def move(self, source, target):
        """Save a guest's state at the host SOURCE and load it at TARGET; returns the QEMU there."""
        guest = self.start_at(source, ".source")
        path = source.folder() / "state"
        self.addCleanup(source.remove, path.parent)
        guest.qmp("migrate", {"uri": f"file:{path}"})
        self.assertEqual(migration.wait_end(guest), "completed")
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "state"
            with open(copy, "wb") as out:
                self.assertEqual(source.stream(["cat", path], out, 120), 0)
            there = target.file(copy)
        self.addCleanup(target.remove, there.parent)
        guest.close()
        destination = self.start_at(target, ".target", ["-incoming", "defer"])
        destination.expect(says=("load of migration failed", "CPU hotplug"))
        # It goes on, to be asked for the reason.
        destination.qmp("migrate-incoming", {"uri": f"file:{there}", "exit-on-error": False})
        return destination

    def assert_refused_as(self, destination, reason):
        """The state is not taken, for REASON."""
        answer = destination.wait_for(
            lambda: (found := destination.qmp("query-migrate")).get("status") in (
                "failed", "completed") and found,
            lambda: f"the state is refused; {destination.qmp('query-migrate')}", 60)
        self.assertEqual(answer["status"], "failed")
        self.assertIn(reason, answer["error-desc"])

    def test_to_old(self):
        """The destination says that the source has what its kernel cannot have."""
        self.assert_refused_as(
            self.move(self.new, self.old), "The source has CPU hotplug, and this machine does not: "
            "it needs KVM with SMCCC filters, which the kernel of this host does not have")

    def test_to_new(self):
        """The destination says how it is to be started."""
        self.assert_refused_as(
            self.move(self.old, self.new), "This machine has CPU hotplug, and the source does not; "
            "start this machine with 'cpu-hotplug=off'")


if __name__ == "__main__":
    labcase.main()
