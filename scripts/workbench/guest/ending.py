# SPDX-License-Identifier: GPL-2.0-or-later
"""How a QEMU may end, and what it may write: anything else is a failure of the test that owns it."""

import re
import signal


def how(status):
    """An exit status as Process has it, in words."""
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


class Judge:
    """What is expected of one QEMU: exit status 0 and not a word, unless expect() was told more.

    SAYS are regular expressions; a line is expected when one of them is found in it.
    """

    def __init__(self, says=()):
        self.status = 0
        self._says = []
        self._judged = 0
        self.expect(says=says)

    def expect(self, status=None, says=()):
        """The exit status that is right, and lines that may be written besides those known."""
        if status is not None:
            self.status = status
        self._says += [re.compile(pattern) for pattern in ((says,) if isinstance(says, str)
                                                           else says)]

    def unexpected(self, text):
        """The lines of TEXT, all that was written so far, that nobody expects.

        Those of an earlier call are not judged again.
        """
        lines = text.splitlines()
        new, self._judged = lines[self._judged:], len(lines)
        return [line for line in new
                if line.strip() and not any(pattern.search(line) for pattern in self._says)]

    def verdict(self, status, text, killed=""):
        """What is wrong with a QEMU that ended with STATUS and wrote TEXT; empty if nothing.

        KILLED says why it had to be killed.
        """
        wrong = []
        if killed:
            wrong.append(f"QEMU {killed}, and was killed")
        elif status != self.status:
            wrong.append(f"QEMU ended with {how(status)} and not with {how(self.status)}")
        lines = self.unexpected(text)
        if lines:
            wrong.append("QEMU wrote what nobody expects:" + "".join(f"\n    {line}"
                                                                     for line in lines))
        return "\n  ".join(wrong)
