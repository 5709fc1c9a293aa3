# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: QEMU, its monitor, and a shell on the guest's console."""

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..system import paths, polling, tools
from . import initramfs
from .ending import Judge, how
from .place import LOCAL

tools.activate()

# These come from Debian packages that may only be unpacked below build/, see activate().
from qemu.qmp import ExecuteError, QMPError            # noqa: E402
from qemu.qmp.legacy import QEMUMonitorProtocol        # noqa: E402

from .console import READY, Console, ConsoleError  # noqa: E402

# Multiplies every timeout: for machines that are much slower than the one the defaults fit.
FACTOR = float(os.environ.get("GUEST_TIMEOUT_FACTOR", "1"))


class GuestError(Exception):
    """Guest or QEMU did not do what was asked; the text holds the last words of both."""


class Refused(GuestError):
    """QEMU refused a monitor command; str() is QEMU's own message."""


@dataclass
class Config:
    """How to start a guest. Paths may be None where QEMU is to go without.

    PLACE is where it runs, see place.py. The paths are of this machine, but those in EXTRA are of
    the place. SAYS are regular expressions for what QEMU may write, see ending.py.
    """

    qemu: Path
    kernel: Path = None
    initrd: Path = None
    firmware: Path = None
    machine: str = "virt"
    accel: str = "tcg,thread=multi"
    cpu: str = "neoverse-n1"
    smp: str = "2,maxcpus=8"
    memory: str = "512M"
    console: str = "ttyAMA0"
    append: str = "quiet harness"
    extra: list = field(default_factory=list)
    place: object = LOCAL
    says: tuple = ()

    def command(self):
        """The QEMU command as a list, without monitor and console."""
        file = self.place.file
        words = [str(file(self.qemu)), "-machine", self.machine, "-accel", self.accel,
                 "-cpu", self.cpu, "-smp", self.smp, "-m", self.memory, "-display", "none", "-nic", "none",
                 "-no-user-config", "-nodefaults"]
        if self.firmware:
            words += ["-bios", str(file(self.firmware))]
        return words + self.boot_words()

    def boot_words(self):
        """The end of the command: what is booted, and EXTRA."""
        file = self.place.file
        words = []
        if self.kernel:
            words += ["-kernel", str(file(self.kernel)),
                      "-append", f"console={self.console} {self.append}".strip()]
        if self.initrd:
            words += ["-initrd", str(file(self.initrd))]
        return words + [str(word) for word in self.extra]

    def serial(self):
        """Options that make the chardev "console" the guest's serial port."""
        return ["-serial", "chardev:console"]


class Guest:
    """A running QEMU. Use it in a with statement, which ends it in every case.

    CONFIG is a Config, NAME is used for messages and the log file. PAUSED starts QEMU with -S.
    With DETACHED the guest is not ended by close() and Python's end but goes on.
    Raises GuestError with QEMU's own message when QEMU does not start, and from close() when it
    ends or has written something in another way than expect() was told.
    """

    def __init__(self, config, name="guest", paused=False, detached=False):
        self.config = config
        self.name = name
        self._detached = detached
        self._events = []
        self._marks = {}
        self.monitor = None
        self.console = None
        self.process = None
        self._socket = None
        self._judge = Judge(config.says)
        self._closed = False
        log_folder = paths.LOGS / "guest"
        log_folder.mkdir(parents=True, exist_ok=True)
        self.log = log_folder / f"{name}.console.log"
        command = config.command() + config.serial() + [
            "-object", "monitor-qmp,id=qmp-object,chardev=qmp"]
        if paused:
            command.append("-S")
        self._started = config.place.start(command, self.log, detached)
        try:
            self.process = self._started.process
            self.folder = self._started.folder
            self._connect()
        except BaseException:
            self.close(force=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        # After a failure nobody wants a detached guest.
        self.close(force=kind is not None)

    # --- monitor -------------------------------------------------------------------------------

    def _connect(self):
        try:
            self._socket = self._started.console(60 * FACTOR)
        except OSError as error:
            raise self._failure(f"QEMU does not open its console ({error})") from None
        log = None if self.config.place.writes_log else self.log
        self.console = Console(self._socket, self.name, log)
        self.monitor = QEMUMonitorProtocol(self._started.monitor)
        self.monitor.settimeout(120 * FACTOR)
        try:
            # The library's connect() waits for the greeting for ever.
            self.monitor._sync(self.monitor._qmp.connect(self.monitor._address), 60 * FACTOR)
        except (QMPError, OSError, EOFError, asyncio.TimeoutError) as error:
            self.monitor = None
            raise self._failure(f"QEMU does not answer on its monitor ({error!r})") from None

    def _failure(self, what):
        text = f"{self.name}: {what}"
        if self.process is not None:
            status = self.process.wait(0.5)
            if status is not None:
                text += f"\n  QEMU ended with {how(status)}"
            if self.process.errors():
                text += f"\n  QEMU wrote: {self.process.errors()}"
        if self.console is not None:
            text += self.console.last_lines()
        return GuestError(text + self.config.place.describe())

    def qmp(self, command, arguments=None):
        """Run the monitor COMMAND with the dictionary ARGUMENTS and return its answer.

        Raises Refused with QEMU's message, GuestError when QEMU is gone or does not answer.
        """
        try:
            return self.monitor.cmd(command, **(arguments or {}))
        except ExecuteError as error:
            raise Refused(str(error)) from None
        except asyncio.TimeoutError:
            raise self._failure(f"no answer from QEMU to {command}") from None
        except (QMPError, OSError, EOFError) as error:
            raise self._failure(f"the monitor broke at {command} ({error!r})") from None

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
        except (QMPError, OSError, EOFError) as error:
            raise self._failure(f"the monitor broke ({error!r})") from None

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
                raise self._failure(f"no event {' or '.join(names)} {data or ''} within "
                                    f"{seconds * FACTOR:.0f} s; events that came: {others}")
            self._collect(left)

    # --- console -------------------------------------------------------------------------------

    def wait_ready(self, seconds=90):
        """Wait until the guest's shell is there; return the kernel release. Raises GuestError."""
        try:
            match = self.console.wait_text(READY, seconds * FACTOR, "sign of a booted guest")
            return match.group(1)
        except ConsoleError as error:
            raise self._console_failure(error) from None

    def attach(self, seconds=90):
        """Wait for a root shell's prompt and take that shell over, until release().

        For guests without our own initial RAM disk, and for those that a person is to use later.
        Needs stty, cat, chmod and a writable /tmp in the guest. Raises GuestError.
        """
        tty = f"/dev/{self.config.console}"
        try:
            self.console.wait_text(r"[\r\n][^\r\n]{0,80}[#$] (\x1b\[6n)?$", seconds * FACTOR,
                                   "root shell's prompt on the console")
            self.console.send(f"stty -echo; echo guest-re''ady $(uname -r); sh {tty} < /dev/null; "
                              "stty echo")
        except ConsoleError as error:
            raise self._console_failure(error) from None
        release = self.wait_ready(30)
        folder = "/tmp/virt-hotplug"
        self.check(f"mkdir -p {folder}; PATH=$PATH:{folder}")
        for script in initramfs.GUEST_FILES.iterdir():
            if script.name != "init":
                path = f"{folder}/{script.name}"
                self.check(f"cat > {path} <<'end-of-script'\n{script.read_text()}end-of-script\n"
                           f"chmod +x {path}")
        return release

    def release(self):
        """Give the shell that attach() took back to whoever uses the console next."""
        self.console.send("exit")

    def _console_failure(self, error):
        status = self.process.wait(0.5)
        place = self.config.place.describe()
        if status is None and not self.process.errors():
            return GuestError(f"{error}{place}")
        return GuestError(f"{error}\n  QEMU status: {status}, QEMU wrote: {self.process.errors()}"
                          f"{place}")

    def run(self, command, seconds=30):
        """Run a shell command in the guest; return (exit status, output). Raises GuestError."""
        try:
            return self.console.run(command, seconds * FACTOR)
        except ConsoleError as error:
            raise self._console_failure(error) from None

    def check(self, command, seconds=30):
        """Like run(), but raises GuestError unless the exit status is 0; returns the output."""
        status, output = self.run(command, seconds)
        if status:
            raise GuestError(f"{self.name}: {command!r} in the guest ended with status {status}:"
                             f"\n{output}")
        return output

    def wait_for(self, condition, wanted, seconds=20):
        """Call CONDITION until it returns something true, and return that.

        WANTED, a text or a function that makes one, says in the GuestError after SECONDS what did
        not come.
        """
        result = polling.until(condition, seconds * FACTOR)
        if not result:
            text = wanted() if callable(wanted) else wanted
            raise self._failure(f"not within {seconds * FACTOR:.0f} s: {text}")
        return result

    # --- end -----------------------------------------------------------------------------------

    def expect(self, status=None, says=()):
        """Say how this QEMU ends if not with exit status 0, and which lines it may write.

        SAYS is a regular expression or several. STATUS is negative for a signal.
        """
        self._judge.expect(status, says)

    def judge(self):
        """Raise GuestError if QEMU has ended, or has written what nobody expects, since last time.

        For guests that are used by several tests.
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
            raise self._failure(f"QEMU still runs after {seconds * FACTOR:.0f} s")
        return status

    def close(self, force=False):
        """End the guest and remove its sockets; a detached one is only let go. Harmless if done.

        Raises GuestError if QEMU does not end by itself when told to quit, if its exit status is
        not the expected one, or if it wrote something that is not expected. FORCE is for after a
        failure: nothing is judged.
        """
        if self._closed:
            return
        self._closed = True
        keep = self._detached and not force
        killed = self._quit(keep)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Wakes the thread that reads; close() alone would not.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        if keep:
            return
        wrong = ""
        if self.process is not None:
            if self.process.wait((5 if force or killed else 30) * FACTOR) is None:
                killed = killed or f"goes on for {30 * FACTOR:.0f} s when told to quit"
            self.process.kill()
            if not force:
                wrong = self._judge.verdict(self.process.status(), self.process.errors(), killed)
                if wrong:
                    wrong += self.config.place.describe()
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
        except (QMPError, OSError, EOFError):
            # It may be gone before it has answered; its status says whether that was right.
            pass
        try:
            self.monitor.close()
        except (QMPError, OSError, EOFError, asyncio.TimeoutError):
            pass
        self.monitor = None
        return wrong
