# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that keep CPUs of a guest busy."""


def burden(guest, numbers):
    """Start two programs on each of the CPUs NUMBERS, and bind them to it.

    One computes, the other one writes to memory.
    """
    for number in numbers:
        guest.check(
            f"taskset -c {number} sh -c 'while :; do :; done' & echo $! > /tmp/busy{number}\n"
            f"taskset -c {number} sh -c 'while :; do dd if=/dev/zero of=/tmp/written{number} "
            "bs=64k count=64 2> /dev/null; done' & "
            f"echo $! > /tmp/writer{number}")


def relieve(guest, numbers):
    """End these programs, all of which must still be there."""
    for number in numbers:
        guest.check(f"kill $(cat /tmp/busy{number}) && kill $(cat /tmp/writer{number})")


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
