#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: suite=asan timeout=900 sanitizers=tsan,pristine parallel
"""What QEMU can do with the series and without: what a sanitizer reports here is upstream's.

CPUs of Arm guests are turned off and on by the guest; those of q35 come and go. The rest is reset,
migration, snapshots and devices that come and go.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import migrationcases  # noqa: E402
import portcase  # noqa: E402
import q35case  # noqa: E402
from workbench.guest.cpus import SYSFS, Cpus  # noqa: E402

ROUNDS = 20


class Arm(migrationcases.Moving, guestcase.GuestCase):
    """The machine virt, all of whose CPUs are there from the start."""

    def config(self, *arguments, **changes):
        # Without the series, the default is another GIC.
        return super().config(*arguments, **{"machine": "virt,gic-version=3", "smp": "4",
                                             "memory": "256M", **changes})

    def turn(self, guest, numbers, state):
        """Have the guest turn its CPUs NUMBERS off (STATE 0) or on (1)."""
        for number in numbers:
            guest.check(f"echo {state} > {SYSFS}/cpu{number}/online", 60)

    def pair(self):
        """A running guest, and a QEMU that waits for it."""
        source, _ = self.boot()
        target, _ = self.start(self.config(extra=["-incoming", "defer"]), suffix=".destination")
        return source, target

    def assert_goes_on(self, guest):
        """The guest and all of its CPUs still work."""
        self.turn(guest, (1, 3), 0)
        self.turn(guest, (1, 3), 1)
        Cpus(guest).work(range(4), 100)

    def test_off_and_on(self):
        """The guest's own CPUs, with work on all of them in between."""
        guest, _ = self.boot()
        for lap in range(ROUNDS):
            self.turn(guest, (3, 1, 2), 0)
            self.turn(guest, (1, 2, 3), 1)
            if not lap % 5:
                Cpus(guest).work(range(4), 100)
        self.assert_sound(guest)

    def test_restart(self):
        """Reset, also with CPUs off, reboot and the end."""
        guest, _ = self.boot()
        self.turn(guest, (2,), 0)
        self.reset(guest)
        self.assert_goes_on(guest)
        self.reboot(guest)
        self.assert_goes_on(guest)
        guest.console.send("poweroff -f")
        self.assertEqual(guest.wait_end(), 0)

    def test_moved(self):
        """One connection."""
        source, target = self.pair()
        self.turn(source, (2,), 0)
        self.moved(source, target)
        self.turn(target, (2,), 1)
        self.assert_goes_on(target)

    def test_multifd(self):
        """Several connections, while the guest writes to memory."""
        source, target = self.pair()
        self.write_memory(source, 3)
        self.moved(source, target, "multifd")
        self.assert_goes_on(target)

    def test_postcopy(self):
        """The guest runs on the other side before its memory is there."""
        source, target = self.pair()
        self.write_memory(source, 3)
        self.moved_by_postcopy(source, target)
        self.assert_goes_on(target)

    def test_cancelled(self):
        """A migration that does not come to its end."""
        source, target = self.pair()
        self.start_slow_migration(source, target)
        self.cancelled(source, target)
        self.assert_goes_on(source)

    def test_snapshot(self):
        """savevm and loadvm in one QEMU, and in a new one."""
        disk = self.disk()
        guest, _ = self.boot(self.config(extra=disk))
        self.assertEqual(guest.hmp("savevm one"), "")
        self.turn(guest, (1,), 0)
        self.assertEqual(guest.hmp("loadvm one"), "")
        self.assert_goes_on(guest)
        guest.close()
        guest, _ = self.start(self.config(extra=[*disk, "-loadvm", "one"]), suffix=".loaded")
        self.assert_goes_on(guest)

    def test_devices(self):
        """A device behind a root port comes and goes."""
        guest, _ = self.boot(self.config(extra=portcase.PORT))
        portcase.come_and_go(guest)


class Q35(q35case.Q35Case):
    """CPUs of q35 come and go. Not more often than it has slots: without the series, TCG ends QEMU
    then."""

    def test_cpus(self):
        """Both free slots."""
        guest, cpus = self.boot(self.config())
        for slot, number in ((3, 2), (2, 3)):
            self.plug(guest, cpus, slot, number)
        for slot in (2, 3):
            self.unplug(guest, cpus, slot)
        guest.wait_for(lambda: cpus.view().online == {0, 1}, "the guest is as it was")

    def test_plugin(self):
        """A CPU comes while others execute code of a TCG plugin."""
        guest, cpus = self.boot(self.config(*self.plugin(q35case.QEMU)))
        self.plug(guest, cpus, 3, 2)
        self.unplug(guest, cpus, 3)


if __name__ == "__main__":
    guestcase.main()
