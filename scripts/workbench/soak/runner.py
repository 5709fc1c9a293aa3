# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes one step after the other, and looks after each of them whether all agree."""

import time

from ..guest.qemu import FACTOR, GuestError, Refused
from ..system import polling
from . import agreement
from .steps import KINDS

PATIENCE = 60                   # seconds that the guest has to come to what the model says
_PAUSE = 0.1


class Failed(Exception):
    """A step did not end as it must, or not all agree; the text is complete for the user."""


class Runner:
    """Runs steps on MACHINE, something like machine.Machine, from the state MODEL with FACTS.

    JOURNAL and SUMMARY are told of each step, GROWTH of what QEMU needs.
    """

    def __init__(self, machine, model, facts, journal, summary, growth):
        self.model = model
        self._machine = machine
        self._facts = facts
        self._journal = journal
        self._summary = summary
        self._growth = growth

    def take(self, index, step):
        """Take STEP, number INDEX. Raises Failed, which the journal has then."""
        self._journal.begin(index, step)
        start = time.monotonic()
        try:
            outcome = self._do(step)
            needs = self.settle()
        except Failed as error:
            self._journal.failed(index, str(error))
            raise
        except (GuestError, ValueError, OSError) as error:
            # GuestError is what is to be expected; an answer that makes no sense is a finding, too.
            self._journal.failed(index, str(error))
            raise Failed(str(error)) from error
        seconds = time.monotonic() - start
        self._journal.done(index, outcome, seconds, needs)
        self._summary.note(step, outcome, seconds)
        return outcome

    def _do(self, step):
        kind = KINDS[step.kind]
        wanted = kind.outcomes(self.model, step.args)
        try:
            outcome = self._machine.do(step, self.model)
        except Refused as error:
            raise Failed(f"QEMU refused what it should do: {error}") from None
        if outcome not in wanted:
            raise Failed(f"the outcome is: {outcome}; it should be: "
                         f"{' or '.join(sorted(wanted))}")
        kind.apply(self.model, step.args, outcome)
        return outcome

    def settle(self):
        """Wait until QEMU, the guest and the model agree; returns what QEMU needs, by name.

        Raises Failed after PATIENCE.
        """
        seen, wrong = None, []

        def agreed():
            nonlocal seen, wrong
            seen = self._machine.observe(self.model)
            # These do not go away.
            final = self._machine.judge() + agreement.complaints(seen)
            if final:
                raise Failed("\n".join(final))
            wrong = (agreement.differences(self.model, self._facts, seen)
                     + self._growth.judge(self.model, seen.process, self._machine.vcpus_ever))
            return not wrong

        if not polling.until(agreed, PATIENCE * FACTOR, _PAUSE):
            raise Failed(f"not all agree within {PATIENCE * FACTOR:.0f} s:\n" + "\n".join(wrong))
        return self._growth.note(self.model, seen.process, self._machine.vcpus_ever)
