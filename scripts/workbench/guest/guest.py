# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: a QEMU that boots something, with a shell on the guest's console."""

import contextlib
import socket
from dataclasses import dataclass, field
from pathlib import Path

from ..system import paths
from . import initramfs
from .console import READY, Console, ConsoleError
from .place import LOCAL
from .qemu import FACTOR, GuestError, Qemu


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
                 "-cpu", self.cpu, "-smp", self.smp, "-m", self.memory, "-display", "none",
                 "-nic", "none", "-no-user-config", "-nodefaults"]
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


class Guest(Qemu):
    """A running QEMU with a console. Use it in a with statement, which ends it in every case.

    CONFIG is a Config, NAME is used for messages and the log file. PAUSED starts QEMU with -S. The
    rest is as with Qemu.
    """

    def __init__(self, config, name="guest", paused=False, detached=False):
        self.config = config
        self.console = None
        self._socket = None
        folder = paths.LOGS / "guest"
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.console.log"
        super().__init__(config.command() + config.serial() + (["-S"] if paused else []), name,
                         config.place, ("console",), self.log, detached, config.says)

    def connected(self, channel, connection):
        self._socket = connection
        self.console = Console(connection, self.name, None if self.place.writes_log else self.log)

    def disconnect(self):
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Wakes the thread that reads; close() alone would not.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def last_words(self):
        shown = "" if self.console is None else self.console.last_lines()
        return shown + super().last_words()

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
        place = self.place.describe()
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
