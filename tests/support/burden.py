# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that keep CPUs of a guest busy."""

COMPUTES = ":"
# To memory, by files of the guest's RAM disk.
WRITES = "dd if=/dev/zero of=/tmp/written{number} bs=64k count=64 2> /dev/null"
# Each CPU has a place of its own. What was written has left the guest before it goes on.
STORES = ("dd if=/dev/zero of={disk} bs=64k count=16 seek={number}0 conv=fsync,notrunc "
          "2> /dev/null")


def burden(guest, numbers, disk=None):
    """Start programs on each of the CPUs NUMBERS, and bind them to it.

    One computes, one writes to memory, and with DISK, which is a device of the guest, one writes to
    that.
    """
    loops = [COMPUTES, WRITES, *([STORES] if disk else [])]
    for number in numbers:
        guest.check("\n".join([f": > /tmp/burden{number}", *(
            f"taskset -c {number} sh -c 'while :; do {loop.format(number=number, disk=disk)}; "
            f"done' & echo $! >> /tmp/burden{number}" for loop in loops)]))


def relieve(guest, numbers):
    """End these programs, all of which must still be there."""
    for number in numbers:
        guest.check(f"kill $(cat /tmp/burden{number})")


def used(guest):
    """{CPU: ticks that it has spent in programs} of all that are online."""
    return {int(line.split()[0][3:]): int(line.split()[1]) + int(line.split()[3])
            for line in guest.check("grep '^cpu[0-9]' /proc/stat").splitlines()}


def wait_used(guest, numbers, seconds):
    """Wait SECONDS at most until each of the CPUs NUMBERS has spent time in programs."""
    before = now = used(guest)

    def all_used():
        nonlocal now
        now = used(guest)
        return all(now[number] > before[number] + 10 for number in numbers)

    guest.wait_for(all_used, lambda: f"each of {numbers} to be used; before: {before}, now: {now}",
                   seconds)
