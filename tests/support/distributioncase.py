# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests with a real distribution share: Debian guests that boot from their own disk, by
firmware in flash and their own boot loader."""

import shutil

import guestcase
from example import FOLDER as EXAMPLES
from guestcase import GuestError, LONG, Refused, long_only, main  # noqa: F401
from sharedguest import SharedGuest

from workbench.distribution import image
from workbench.guest import assets
from workbench.guest.guest import Config, Guest

BOOT_SECONDS = 400
RULE = EXAMPLES / "80-hotplug-cpu.rules"
RULES = "/etc/udev/rules.d"
MEMORY = "2G"


class DistributionCase(guestcase.GuestCase):
    """A test with Debian in the guest. boot() gives a root shell without network."""

    def installed(self, folder=None, extra=(), **changes):
        """A Config of a guest with a disk of its own, as installed; EXTRA are further options.

        The disk and the variables of the firmware are in FOLDER, by default a new one that ends
        with the test. Those of an earlier guest are used again if they are there.
        """
        folder = folder or self.folder()
        firmware = assets.firmware()
        disk, variables = folder / "disk.qcow2", folder / "vars.fd"
        if not disk.exists():
            shutil.copyfile(firmware.vars, variables)
            status, output = self.place.run([
                self.image_tool(), "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
                image.disk(), disk])
            self.assertEqual(status, 0, output)
        fields = {"qemu": guestcase.QEMU, "memory": MEMORY, "place": self.place}
        options = ["-drive", f"if=pflash,format=raw,readonly=on,file={firmware.code}",
                   "-drive", f"if=pflash,format=raw,file={variables}",
                   # A disk that ends with the test need not be safe from a crash of the host.
                   "-drive", f"if=none,id=root,format=qcow2,cache=unsafe,file={disk}",
                   "-device", "virtio-blk-pci,drive=root,serial=root"]
        return Config(**{**fields, **changes}, extra=[*options, *extra])

    def boot(self, config=None, seconds=BOOT_SECONDS, **options):
        """Start a guest and wait up to SECONDS for its shell."""
        guest, cpus = self.start(config or self.installed(), **options)
        guest.attach(seconds)
        self.settle(guest)
        return guest, cpus

    def settle(self, guest):
        """Wait until systemd has started all that it is to start; returns how that went."""
        return guest.run("systemctl is-system-running --wait", BOOT_SECONDS)[1]

    def put(self, guest, path, text, mode="644"):
        """Write TEXT, with lines of less than 4 KiB, to the file PATH of the guest."""
        guest.check(f"mkdir -p {path.rpartition('/')[0]} && "
                    f"cat > {path} <<'end-of-file'\n{text.rstrip()}\nend-of-file\n"
                    f"chmod {mode} {path}")

    def add_rule(self, guest):
        """Give the guest the udev rule of examples/."""
        self.put(guest, f"{RULES}/{RULE.name}", RULE.read_text(encoding="utf-8"))
        guest.check("udevadm control --reload")

    def remove_rule(self, guest):
        """Take the rule back."""
        guest.check(f"rm -f {RULES}/{RULE.name}; udevadm control --reload")

    def wait_online(self, cpus, numbers):
        """Wait until the guest has exactly the CPUs NUMBERS, and has put them online by itself."""
        cpus.wait_view("CPUs online without being told", seconds=60, enabled=numbers,
                       online=numbers)

    def assert_sound(self, guest):
        """The guest's kernel has complained of nothing, and no service has failed."""
        self.assertEqual(guest.run("dmesg | grep -E 'Oops|BUG|WARNING|rcu.*stall|"
                                   "failed to come online'")[1], "", "kernel messages")
        self.assertEqual(guest.run("systemctl --failed --plain --no-legend")[1], "",
                         "units that failed")


class SharedCase(SharedGuest, DistributionCase):
    """A class whose tests take turns with the guest of shared(), which boots for a minute.

    OPTIONS are what installed() takes.
    """

    options = {}

    def start_shared(self, name):
        folder = self.place.folder()
        self.addClassCleanup(self.place.remove, folder)
        return Guest(self.installed(folder, **self.options), name)

    def wait_shared(self, guest):
        guest.attach(BOOT_SECONDS)
        self.settle(guest)

    def restore(self, guest, cpus, start):
        guest.events()
        for number in sorted(cpus.taken() - start):
            cpus.wait_deleted(cpus.delete(number))
        for number in sorted(start - cpus.taken()):
            cpus.plug(number)
        self.remove_rule(guest)
        cpus.wait_view("CPUs as at the start", online=start)
