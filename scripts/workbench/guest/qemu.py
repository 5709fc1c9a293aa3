# SPDX-License-Identifier: GPL-2.0-or-later
"""A running QEMU: started, asked through its monitor, ended, and judged by how it ends.

What runs a QEMU uses this, with or without a guest in it. The one exception is hostreport/qmp.py,
which must do without the library for QMP.
"""

import asyncio
import os
import time

from ..system import polling, tools
from .ending import Judge, how
from .place import LOCAL

tools.activate()

# These come from Debian packages that may only be unpacked below build/, see activate().
from qemu.qmp import ExecuteError, QMPError            # noqa: E402
from qemu.qmp.legacy import QEMUMonitorProtocol        # noqa: E402

# Multiplies every timeout: for machines that are much slower than the one the defaults fit.
FACTOR = float(os.environ.get("GUEST_TIMEOUT_FACTOR", "1"))

_BROKEN = (QMPError, OSError, EOFError)
_END = 60           # seconds that QEMU may take to end when told to quit


def option(arguments, kind="driver"):
    """The text of an option that does what the monitor does with ARGUMENTS, a dictionary.

    That is a -device for the arguments of device_add; with "qom-type" for KIND it is an -object for
    those of object-add.
    """
    words = [str(arguments[kind])]
    for key, value in arguments.items():
        if key != kind:
            words.append(f"{key}={'on' if value is True else value}")
    return ",".join(words)


class GuestError(Exception):
    """Guest or QEMU did not do what was asked; the text holds the last words of both."""


class Refused(GuestError):
    """QEMU refused a monitor command; str() is QEMU's own message."""


class Qemu:
    """A QEMU with a monitor. Use it in a with statement, which ends it in every case.

    COMMAND is run at PLACE, see place.py. NAME is for messages. CHANNELS are names of further
    chardevs, which are connected with this program and handed to connected(); LOG is the file for
    all that comes through the one called "console". SAYS are regular expressions for what QEMU may
    write, see ending.py. With DETACHED it is not ended by close() and Python's end but goes on.
    Raises GuestError with QEMU's own message when QEMU does not start, and from close() when it
    ends or has written something in another way than expect() was told.
    """

    def __init__(self, command, name, place=LOCAL, channels=(), log=None, detached=False, says=()):
        self.name = name
        self.place = place
        self.monitor = None
        self.process = None
        self._detached = detached
        self._events = []
        self._judge = Judge(says)
        self._closed = False
        self.command = [*map(str, command), "-object", "monitor-qmp,id=qmp-object,chardev=qmp"]
        self._started = place.start(self.command, (*channels, "qmp"), log, detached)
        try:
            self.process = self._started.process
            self.folder = self._started.folder
            for channel in channels:
                self.connected(channel, self._connect(channel))
            self._greet()
        except BaseException:
            self.close(force=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        # After a failure nobody wants a detached one.
        self.close(force=kind is not None)

    # --- what a subclass may do -----------------------------------------------------------------

    def connected(self, channel, connection):
        """The socket CONNECTION is that of CHANNEL. Called before QEMU has answered."""

    def disconnect(self):
        """Close what connected() was given; it may not have come."""

    def last_words(self):
        """What a message about a failure ends with."""
        return self.place.describe()

    # --- start ---------------------------------------------------------------------------------

    def _connect(self, channel):
        try:
            return self._started.connection(channel, 60 * FACTOR)
        except OSError as error:
            raise self.failure(f"QEMU does not open its {channel} ({error})") from None

    def _greet(self):
        connection = self._connect("qmp")
        monitor = QEMUMonitorProtocol(connection)
        monitor.settimeout(120 * FACTOR)
        try:
            # The library's connect() waits for the greeting for ever.
            monitor._sync(monitor._qmp.connect(monitor._address), 60 * FACTOR)
        except (*_BROKEN, asyncio.TimeoutError) as error:
            connection.close()
            raise self.failure(f"QEMU does not answer on its monitor ({error!r})") from None
        self.monitor = monitor

    # --- monitor -------------------------------------------------------------------------------

    def qmp(self, command, arguments=None):
        """Run the monitor COMMAND with the dictionary ARGUMENTS and return its answer.

        Raises Refused with QEMU's message, GuestError when QEMU is gone or does not answer.
        """
        try:
            return self.monitor.cmd(command, **(arguments or {}))
        except ExecuteError as error:
            raise Refused(str(error)) from None
        except asyncio.TimeoutError:
            raise self.failure(f"no answer from QEMU to {command}") from None
        except _BROKEN as error:
            raise self.failure(f"the monitor broke at {command} ({error!r})") from None

    def hmp(self, line):
        """Run LINE in QEMU's human monitor and return what it prints."""
        return self.qmp("human-monitor-command", {"command-line": line})

    def _collect(self, seconds=0.0):
        """Wait up to SECONDS for an event, then take over all that have come."""
        # The library reads the monitor only while it waits, so never wait for nothing.
        wait = max(seconds, 0.005)
        try:
            while True:
                self._events.append(self.monitor.pull_event(float(wait)))
                wait = 0.005
        except asyncio.TimeoutError:
            pass
        except _BROKEN as error:
            raise self.failure(f"the monitor broke ({error!r})") from None

    def events(self, name=None):
        """Take all events that have come and were not taken; with NAME only those so named."""
        self._collect()
        taken = [event for event in self._events if name in (None, event["event"])]
        self._events = [event for event in self._events if event not in taken]
        return taken

    def event(self, names, seconds=20, **data):
        """Wait for one of the events NAMES (one or a tuple) whose data hold DATA, and take it.

        Raises GuestError after SECONDS (times the factor) and says which events came instead.
        """
        names = (names,) if isinstance(names, str) else names
        deadline = time.monotonic() + seconds * FACTOR
        while True:
            self._collect()
            for position, event in enumerate(self._events):
                found = event.get("data", {})
                if event["event"] in names and all(found.get(key) == value
                                                   for key, value in data.items()):
                    return self._events.pop(position)
            left = deadline - time.monotonic()
            if left <= 0:
                others = [(event["event"], event.get("data")) for event in self._events]
                raise self.failure(f"no event {' or '.join(names)} {data or ''} within "
                                   f"{seconds * FACTOR:.0f} s; events that came: {others}")
            self._collect(left)

    def wait_for(self, condition, wanted, seconds=20):
        """Call CONDITION until it returns something true, and return that.

        WANTED, a text or a function that makes one, says in the GuestError after SECONDS what did
        not come.
        """
        result = polling.until(condition, seconds * FACTOR)
        if not result:
            text = wanted() if callable(wanted) else wanted
            raise self.failure(f"not within {seconds * FACTOR:.0f} s: {text}")
        return result

    def wait_threads(self, numbers):
        """Wait until the number of QEMU's threads is one of NUMBERS. Raises GuestError.

        Linux shows a thread that QEMU has waited for a moment longer.
        """
        self.wait_for(lambda: self.process.threads() in numbers,
                      lambda: f"threads of QEMU: {self.process.threads()}, expected: {numbers}")

    def delete_device(self, ident, seconds=60):
        """device_del of a PCI device, up to SECONDS again while the guest is busy with its slot.

        A guest shows a device that was plugged before it is done with that. What becomes of the
        request is not waited for. Raises Refused for another reason, GuestError after SECONDS.
        """
        def accepted():
            try:
                self.qmp("device_del", {"id": ident})
            except Refused as error:
                if "guest is busy" not in str(error):
                    raise
                return False
            return True

        self.wait_for(accepted, f"the guest to be done with the slot of {ident}", seconds)

    def failure(self, what):
        """A GuestError that says WHAT went wrong, and what is known of it."""
        text = f"{self.name}: {what}"
        if self.process is not None:
            status = self.process.wait(0.5)
            if status is not None:
                text += f"\n  QEMU ended with {how(status)}"
            if self.process.errors():
                text += f"\n  QEMU wrote: {self.process.errors()}"
        return GuestError(text + self.last_words())

    # --- end -----------------------------------------------------------------------------------

    def expect(self, status=None, says=()):
        """Say how this QEMU ends if not with exit status 0, and which lines it may write.

        SAYS is a regular expression or several. STATUS is negative for a signal.
        """
        self._judge.expect(status, says)

    def judge(self):
        """Raise GuestError if QEMU has ended, or has written what nobody expects, since last time.

        For one that is used by several tests.
        """
        status = self.process.status()
        wrong = [f"QEMU ended with {how(status)}"] if status is not None else []
        wrong += [f"QEMU wrote what nobody expects: {line}"
                  for line in self._judge.unexpected(self.process.errors())]
        if wrong:
            raise GuestError(f"{self.name}: " + "\n  ".join(wrong))

    def wait_end(self, seconds=30):
        """Wait until QEMU ends; return its exit status. Raises GuestError if it goes on."""
        status = self.process.wait(seconds * FACTOR)
        if status is None:
            raise self.failure(f"QEMU still runs after {seconds * FACTOR:.0f} s")
        return status

    def close(self, force=False):
        """End QEMU and remove its sockets; a detached one is only let go. Harmless if done.

        Raises GuestError if QEMU does not end by itself when told to quit, if its exit status is
        not the expected one, or if it wrote something that is not expected. FORCE is for after a
        failure: nothing is judged.
        """
        if self._closed:
            return
        self._closed = True
        keep = self._detached and not force
        killed = self._quit(keep)
        self.disconnect()
        if keep:
            return
        wrong = ""
        if self.process is not None:
            if self.process.wait((5 if force or killed else _END) * FACTOR) is None:
                killed = killed or f"goes on for {_END * FACTOR:.0f} s when told to quit"
            self.process.kill()
            if not force:
                wrong = self._judge.verdict(self.process.status(), self.process.errors(), killed)
                if wrong:
                    wrong += self.place.describe()
        self._started.clean()
        if wrong:
            raise GuestError(f"{self.name}: {wrong}")

    def _quit(self, keep):
        """Tell QEMU to end unless KEEP, and leave the monitor; returns what goes wrong."""
        wrong = ""
        if self.monitor is None:
            return wrong
        try:
            self.monitor.settimeout(20 * FACTOR)
            if not keep and self.process.status() is None:
                self.monitor.cmd("quit")
        except asyncio.TimeoutError:
            wrong = "does not answer when told to quit"
        except _BROKEN:
            # It may be gone before it has answered; its status says whether that was right.
            pass
        try:
            self.monitor.close()
        except (*_BROKEN, asyncio.TimeoutError):
            pass
        self.monitor = None
        return wrong
