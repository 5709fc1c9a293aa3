# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests with real guests share.

Environment: GUEST_QEMU names another qemu-system-aarch64 than build/patched's, GUEST_LONG=1 runs
the tests in full length, GUEST_TIMEOUT_FACTOR stretches all timeouts, and GUEST_PREFIX is what the
names of guests begin with. For GUEST_SEED see killcases.py.
"""

import os
import shutil
import signal
import unittest
from pathlib import Path

from workbench.build import emulators
from workbench.guest import assets, migration
from workbench.system import paths, tools

tools.ensure()
tools.activate()

from workbench.guest.cpus import Cpus  # noqa: E402
from workbench.guest.guest import Config, Guest  # noqa: E402,F401
from workbench.guest.qemu import GuestError, Refused  # noqa: E402,F401
from workbench.guest.place import LOCAL  # noqa: E402
from workbench.testing import tap  # noqa: E402

QEMU = Path(os.environ.get("GUEST_QEMU", paths.PATCHED / "qemu-system-aarch64"))
LONG = os.environ.get("GUEST_LONG", "0") not in ("", "0")
# What the guest reports through _OST, see the ACPI specification: the event and its outcome.
DEVICE_CHECK = 1
EJECT_REQUEST = 3
SUCCESS = 0

long_only = unittest.skipUnless(LONG, "takes long: set GUEST_LONG=1, or use the suite's long "
                                 "form (scripts/test --list)")


# What the source of a migration may write if the channel is closed while pages are sent, because
# the migration is cancelled or the destination refuses it. So does the pristine QEMU.
CHANNEL_CLOSED = (r"^\S+: failed to save SaveStateEntry with id\(name\): \d+\(ram\): -5$",
                  r"^\S+: Unable to write to (socket|command): Broken pipe$")


class GuestCase(unittest.TestCase):
    """A test that boots guests; all that it starts is ended with it. They run at PLACE."""

    maxDiff = None
    place = LOCAL
    # What the names of guests begin with: tests of the same name may run beside each other.
    prefix = os.environ.get("GUEST_PREFIX", "")

    @classmethod
    def setUpClass(cls):
        if not QEMU.exists():
            raise RuntimeError(f"{QEMU} does not exist: run scripts/build first, or name another "
                               "binary in GUEST_QEMU")

    def folder(self):
        """A temporary folder of this test, where its guests run. The path is short."""
        path = self.place.folder()
        self.addCleanup(self.place.remove, path)
        return path

    def image_tool(self):
        """The path of qemu-img where the guests run."""
        tool = QEMU.parent / "qemu-img"
        tool = tool if tool.exists() else shutil.which("qemu-img")
        if not tool:
            self.skipTest(f"there is no qemu-img in {QEMU.parent} or in PATH")
        return tool

    def plugin(self, qemu=QEMU):
        """Options for a TCG plugin that was built with QEMU; without it the test is skipped."""
        file = qemu.parent / emulators.PLUGIN
        if not file.exists():
            self.skipTest(f"no TCG plugin is built: there is no {file}")
        return ["-plugin", file]

    def disk(self):
        """Make a disk image that can hold snapshots of the machine; returns its QEMU options."""
        path = self.folder() / "vm.qcow2"
        status, output = self.place.run([self.image_tool(), "create", "-q", "-f", "qcow2", path,
                                         "1M"])
        self.assertEqual(status, 0, output)
        return ["-drive", f"if=none,id=vm,format=qcow2,file={path}"]

    def config(self, kernel=assets.DEFAULT_KERNEL, firmware=assets.DEFAULT_FIRMWARE, **changes):
        """A Config that boots the named kernel and firmware; CHANGES are fields of Config.

        FIRMWARE None is none at all, which is also without ACPI.
        """
        fields = {"qemu": QEMU, "kernel": assets.kernel(kernel), "initrd": assets.initrd(),
                  "firmware": assets.firmware(firmware).efi if firmware else None,
                  "place": self.place}
        return Config(**{**fields, **changes})

    def guest_name(self, suffix=""):
        """What a guest of this test is called, in messages and logs; SUFFIX tells them apart."""
        return self.prefix + self.id().replace("__main__.", "") + suffix

    def start(self, config=None, suffix="", **options):
        """Start a guest and return it with its Cpus; OPTIONS are those of Guest."""
        guest = Guest(config or self.config(), self.guest_name(suffix), **options)
        self.addCleanup(guest.close)
        return guest, Cpus(guest)

    def boot(self, config=None, seconds=90, **options):
        """Start a guest and wait up to SECONDS for its shell."""
        guest, cpus = self.start(config, **options)
        guest.wait_ready(seconds)
        return guest, cpus

    def start_without(self, guest, cpus, number):
        """Remove CPU NUMBER of a guest that has not started, and let that boot."""
        handle = cpus.delete(number)
        guest.qmp("cont")
        guest.wait_ready()
        if number in cpus.taken():
            # The request waits for a guest that can answer.
            cpus.wait_deleted(handle)

    def reset(self, guest):
        """Reset the machine from outside and wait until the guest is up again."""
        guest.qmp("system_reset")
        guest.wait_ready()

    def reboot(self, guest):
        """Let the guest reboot itself."""
        guest.console.send("reboot -f")
        guest.wait_ready()

    def cancel_migration(self, guest):
        """Cancel the outgoing migration of a guest and wait until that is done."""
        guest.expect(says=CHANNEL_CLOSED)
        guest.qmp("migrate_cancel")
        guest.wait_for(lambda: guest.qmp("query-migrate").get("status") == "cancelled",
                       "the migration is cancelled")

    def finish_migration(self, guest):
        """Wait until the outgoing migration of a guest is complete; let the guest go on here."""
        self.assertEqual(migration.wait_end(guest), "completed", guest.qmp("query-migrate"))
        guest.qmp("cont")

    def assert_cpus(self, cpus, numbers):
        """QEMU's slots and the guest's enabled and online lists all show exactly NUMBERS."""
        numbers = frozenset(numbers)
        view = cpus.view()
        self.assertEqual((cpus.taken(), view.online), (numbers, numbers),
                         f"QEMU's slots and the guest's online CPUs; the guest shows {view}")
        if view.enabled is not None:
            self.assertEqual(view.enabled, numbers, f"the guest shows {view}")

    def assert_sound(self, guest):
        """The guest's kernel has complained of nothing that a CPU may have to do with."""
        found = guest.run("dmesg | grep -E 'Oops|BUG|WARNING|SANITY CHECK|Unexpected|"
                          "failed to come online'")[1]
        self.assertEqual(found, "", "kernel messages of the guest")

    def wait_status(self, guest, kind, slot, source):
        """Wait until the guest says that it did what SOURCE asked of the slot, of "CPU" or "DIMM".

        ACPI 6.5, 6.3.5 (_OST). Linux may say before that an eject is in progress.
        """
        # The slot of the event is decimal text.
        wanted = {"slot-type": kind, "slot": str(slot), "source": source, "status": SUCCESS}

        def said():
            return any(wanted.items() <= event["data"]["info"].items()
                       for event in guest.events("ACPI_DEVICE_OST"))

        guest.wait_for(said, f"ACPI_DEVICE_OST for {kind} {slot}, event {source}, success")

    def assert_refused(self, pattern, function, *arguments):
        """FUNCTION(ARGUMENTS) is refused by QEMU with a message like the regular expression."""
        with self.assertRaisesRegex(Refused, pattern):
            function(*arguments)


def main(clean_up=False):
    """Run the tests of the calling file; results as TAP on standard output.

    With CLEAN_UP, what runs at the end of Python also runs when Meson's time is over, which ends
    the program by SIGTERM: for tests that start more than QEMUs, which end with their parent.
    """
    if clean_up:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    tap.main(message_log=tap.DIAGNOSTICS)
