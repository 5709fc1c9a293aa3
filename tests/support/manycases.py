# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with more CPUs than most have, with TCG and KVM. For a GuestCase."""


class ManyCases:

    def fill(self, guest, cpus, numbers, seconds):
        """Plug the CPUs NUMBERS at once beside those there are; all of them work then.

        SECONDS is how long to wait for each to be usable.
        """
        found = cpus.taken() | set(numbers)
        for number in numbers:
            cpus.add(number)
        for number in numbers:
            cpus.wait_enabled(number, seconds)
            cpus.bring_online(number, seconds)
        self.assert_cpus(cpus, found)
        for number in sorted(found):
            guest.check(f"taskset -c {number} true", 120)
