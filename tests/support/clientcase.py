# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of management software share: its command lines, started as they are by the
patched and by the pristine QEMU, and its requests.

Each client's file says in which source and version its commands were read. Three things differ
from what the client sends: there is TCG and a named CPU model in place of KVM and "host", paths are
those of the test, and the guest has a console and a monitor of the test, too. Left out are
-daemonize, because the process is the test's, and what needs a part of the host that a test cannot
have (taps, vhost, virtiofsd).
"""

import re
import time
from dataclasses import dataclass, field, replace

import compatcase
import guestcase
from workbench.guest import assets
from workbench.guest.guest import Config, Guest
from workbench.guest.qemu import FACTOR, GuestError

# In place of "host".
CPU = "neoverse-n1"
# What the test guests' init wants, in front of the client's own kernel arguments.
APPEND = "console=ttyAMA0 quiet harness"
BOOT_SECONDS = 300
PLUG_SECONDS = 60


@dataclass
class Sent(Config):
    """A guest that a client's command starts: WORDS, without the name of the binary.

    What Config has beyond that is added behind WORDS: EXTRA, and KERNEL with INITRD where the
    client boots from a disk. OWN_SERIAL is for commands that give the chardev "console" to the
    serial port themselves.
    """

    words: list = field(default_factory=list)
    own_serial: bool = False

    def command(self):
        """The QEMU command as a list, without monitor."""
        return [str(self.qemu), *map(str, self.words), *self.boot_words()]

    def serial(self):
        """Options that make the chardev "console" the serial port, unless the client does it."""
        return [] if self.own_serial else super().serial()


@dataclass(frozen=True)
class Outcome:
    """How a command ends: whether QEMU starts, and the messages that it writes."""

    starts: bool
    says: tuple


def messages(text):
    """QEMU's messages in TEXT, without its name in front."""
    return tuple(re.findall(r"qemu-system-[^:\s]+:\s*(.*)", text))


def readconfig(path, sections):
    """Write the file PATH for -readconfig; returns PATH.

    SECTIONS is a list of (heading, {option: value}); headings may be there several times.
    """
    path.write_text("".join(
        f"[{heading}]\n" + "".join(f'{key} = "{value}"\n' for key, value in options.items()) + "\n"
        for heading, options in sections), encoding="utf-8")
    return path


def flash(folder):
    """The firmware for two flash drives: the path of its code, and of a copy of its variables."""
    firmware = assets.firmware()
    variables = folder / "vars.fd"
    variables.write_bytes(firmware.vars.read_bytes())
    return firmware.code, variables


class ClientCase(guestcase.GuestCase):
    """A test that sends what a client sends."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pristine, _ = compatcase.binaries("aarch64")
        cls.patched = guestcase.QEMU

    # --- starting ------------------------------------------------------------------------------

    def outcome(self, config):
        """How the command of CONFIG ends, with -S added; what started is ended again."""
        config = replace(config, says=(".",))
        try:
            guest = Guest(config, f"{self.id().replace('__main__.', '')}.start", paused=True)
        except GuestError as error:
            if "QEMU ended with" not in str(error):
                raise
            return Outcome(False, messages(str(error)))
        try:
            return Outcome(True, messages(guest.process.errors()))
        finally:
            guest.close()

    def assert_same_start(self, config, starts=True):
        """The command of CONFIG STARTS or not with either QEMU, and both say the same.

        Returns what they say.
        """
        pristine = self.outcome(replace(config, qemu=self.pristine))
        patched = self.outcome(replace(config, qemu=self.patched))
        self.assertEqual(patched, pristine, f"patched and pristine: {config.command()}")
        self.assertEqual(patched.starts, starts, f"{patched.says}: {config.command()}")
        return patched.says

    def start_client(self, config, like=None, **options):
        """Start the guest of CONFIG, which may say what the pristine QEMU says, too.

        LIKE is a Sent for the pristine QEMU, if that does not know all of CONFIG's command. Returns
        the guest and its Cpus; OPTIONS are those of Guest.
        """
        says = tuple(re.escape(line) + "$" for line in self.assert_same_start(like or config))
        return self.start(replace(config, qemu=self.patched, says=says), **options)

    # --- requests ------------------------------------------------------------------------------

    def ask(self, guest, seconds, command, arguments=None):
        """guest.qmp(), and a note if that took longer than SECONDS, which the client waits."""
        begin = time.monotonic()
        try:
            return guest.qmp(command, arguments)
        finally:
            took = time.monotonic() - begin
            if took > seconds:
                print(f"note: {command} took {took:.1f} s, and the client waits {seconds} s")

    def poll(self, checks, pause, function):
        """Call FUNCTION up to CHECKS times with PAUSE seconds between; True once it returns true.

        A client that looks at its watch; the pauses are stretched with all timeouts.
        """
        for number in range(checks):
            if number:
                time.sleep(pause * FACTOR)
            if function():
                return True
        return False

    # --- the guest -----------------------------------------------------------------------------

    def bring_online(self, cpus, *numbers):
        """What an agent or udev does in the guest: put added CPUs online."""
        for number in numbers:
            cpus.wait_enabled(number, PLUG_SECONDS)
            cpus.bring_online(number)

    def wait_gone(self, guest, *names):
        """Wait until QEMU has let go the devices NAMES, in any order."""
        for name in names:
            guest.event("DEVICE_DELETED", PLUG_SECONDS, device=name)

    def wait_cpus(self, cpus, numbers):
        """Wait until the guest has exactly the CPUs NUMBERS enabled and online, as QEMU has."""
        cpus.wait_view(f"CPUs {sorted(numbers)}", PLUG_SECONDS, enabled=numbers, online=numbers)
        self.assert_cpus(cpus, numbers)


main = guestcase.main
