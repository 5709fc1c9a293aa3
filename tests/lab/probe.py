# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual counter of a guest's CPUs, watched by the program of workbench/guest/cpuprobe.py."""

import contextlib

from workbench.guest.qemu import GuestError


class Counter:
    """Watches the virtual counter of GUEST on all CPUs that follow() was told of."""

    def __init__(self, guest):
        self._guest = guest
        self._numbers = []

    def follow(self, number):
        """Watch on CPU NUMBER, too. It is busy with that; Linux takes it along when it goes."""
        log = f"/tmp/counter.{len(self._numbers)}"
        self._numbers.append(number)
        self._guest.check(f"taskset -c {number} cpu-probe counter /tmp/counter > {log} & "
                          f"until [ -s {log} ] || ! kill -0 $!; do usleep 10000; done")

    def end(self):
        """Stop watching; returns what all watchers saw, one text for each."""
        logs = " ".join(f"/tmp/counter.{index}" for index in range(len(self._numbers)))
        output = self._guest.check(f"killall cpu-probe; wait; tail -n +1 -v {logs}; "
                                   f"rm {logs} /tmp/counter")
        self._numbers = []
        return [part.strip() for part in output.split("==> ")[1:]]

    @staticmethod
    def steps_back(seen):
        """The watchers among SEEN that saw a step back. Raises GuestError if one saw nothing."""
        for text in seen:
            if not text.endswith("steps back") or " 0 readings" in text:
                raise GuestError(f"the counter was not watched to the end: {text}")
        return [text for text in seen if not text.endswith(" 0 steps back")]


@contextlib.contextmanager
def counter_watched(case, guest, numbers):
    """While in the with statement, the virtual counter is watched on CPUs NUMBERS.

    Yields the Counter; at the end CASE fails if the counter went back.
    """
    counter = Counter(guest)
    for number in numbers:
        counter.follow(number)
    yield counter
    case.assertEqual(counter.steps_back(counter.end()), [])
