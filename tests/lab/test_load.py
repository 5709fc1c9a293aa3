#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=kvm parallel
"""CPUs come and go with KVM under load, at random, and by the hundred."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
import loadcases  # noqa: E402
import manycases  # noqa: E402
import mixcases  # noqa: E402
from guestcase import LONG, long_only  # noqa: E402
from workbench.guest.cpus import SYSFS  # noqa: E402


class Load(loadcases.LoadCases, labcase.LabCase):
    """The cases of loadcases.py with KVM."""

    laps = 6 if LONG else 1
    seconds = online_seconds = 120


class Mix(mixcases.MixCases, labcase.LabCase):
    """The cases of mixcases.py with KVM."""

    seconds = 180


class Many(manycases.ManyCases, labcase.LabCase):

    online_seconds = 600

    @long_only
    def test_off_and_on(self):
        """The guest turns plugged CPUs off and on, 300 times."""
        guest, cpus = self.boot(self.config(smp="1,maxcpus=8"))
        self.fill(guest, cpus, range(1, 8), 60)
        for _ in range(60):
            guest.check(f"(cd {SYSFS}; for lap in 1 2 3 4 5; do for state in 0 1; do "
                        "for cpu in 1 2 3 4 5 6 7; do echo $state > cpu$cpu/online || exit; "
                        "done; done; done)", 300)
        self.assert_cpus(cpus, range(8))
        cpus.work(range(8), 100)
        self.assert_sound(guest)

    @long_only
    def test_239_come_and_go(self):
        """239 CPUs are plugged after the first one, and go again, in any order."""
        self.check_come_and_go(1, 240, memory="1G")


if __name__ == "__main__":
    labcase.main()
