# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with more CPUs than most have, with TCG and KVM. For a GuestCase."""

import random


class ManyCases:

    online_seconds = 30         # for one that is usable, when the guest has many already

    def fill(self, guest, cpus, numbers, seconds):
        """Plug the CPUs NUMBERS at once beside those there are; all of them work then.

        SECONDS is how long to wait for each to be usable.
        """
        found = cpus.taken() | set(numbers)
        for number in numbers:
            cpus.add(number)
        for number in numbers:
            cpus.wait_enabled(number, seconds)
            cpus.bring_online(number, self.online_seconds)
        self.assert_cpus(cpus, found)
        for number in sorted(found):
            guest.check(f"taskset -c {number} true", 120)

    def check_come_and_go(self, start, total, **changes):
        """All CPUs up to TOTAL are plugged after the first START, and go again, in any order.

        CHANGES are fields of Config.
        """
        first, added = set(range(start)), range(start, total)
        guest, cpus = self.boot(self.config(smp=f"{start},maxcpus={total}", **changes), seconds=300)
        self.fill(guest, cpus, added, 600)
        for number in random.Random(total).sample(added, len(added)):
            cpus.wait_deleted(cpus.delete(number), 300)
        cpus.wait_view(f"{len(added)} CPUs gone", seconds=120, enabled=first, online=first)
        for number in (total - 1, start):
            cpus.plug(number)
        self.assert_cpus(cpus, first | {start, total - 1})
        self.assert_sound(guest)
