# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest whose monitor is recorded."""

import json
import time

from ..guest.guest import Guest
from ..guest.qemu import GuestError


class RecordedGuest(Guest):
    """A Guest; all that is said on its monitor is written to the file RECORD.

    But not the answers to queries: that would be a gigabyte in some hours.
    """

    def __init__(self, config, name, record, paused=False):
        self._start = time.monotonic()
        self._record = open(record, "w", encoding="utf-8")
        super().__init__(config, name, paused)

    def _write(self, sign, what):
        if not self._record.closed:
            self._record.write(f"{time.monotonic() - self._start:10.3f} {sign} {what}\n")
            self._record.flush()

    def qmp(self, command, arguments=None):
        self._write(">", f"{command} {json.dumps(arguments) if arguments else ''}".rstrip())
        try:
            answer = super().qmp(command, arguments)
        except GuestError as error:
            self._write("!", str(error))
            raise
        if not command.startswith(("query-", "qom-")):
            self._write("<", json.dumps(answer))
        return answer

    def _collect(self, seconds=0.0):
        known = len(self._events)
        try:
            super()._collect(seconds)
        finally:
            for event in self._events[known:]:
                self._write("*", f"{event['event']} {json.dumps(event.get('data', {}))}")

    def close(self, force=False):
        try:
            super().close(force)
        finally:
            self._write("-", "closed")
            self._record.close()
