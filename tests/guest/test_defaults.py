#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The binary as a new user starts it: from the build folder, with default devices and short
options, none of which name a file of another package."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from workbench.build import datafiles  # noqa: E402
from workbench.guest import assets, modules  # noqa: E402
from workbench.guest.guest import Config  # noqa: E402


@dataclass
class Short(Config):
    """A Config with nothing but what a user must say; EXTRA is the rest."""

    def command(self):
        return [str(self.qemu), "-M", self.machine, "-cpu", self.cpu, "-display", "none",
                *self.boot_words()]


class Defaults(guestcase.GuestCase):
    """It finds its option ROMs and its firmware by itself."""

    def short(self, **changes):
        """A Config of which most is left to QEMU."""
        return Short(qemu=guestcase.QEMU, cpu="max", **changes)

    def test_nothing(self):
        """With a machine and a CPU only, the machine has a network card, and starts."""
        guest, _ = self.start(self.short(), paused=True)
        self.assertIn("virtio-net-pci", guest.hmp("info qtree"))
        self.assertEqual(guest.qmp("query-status")["status"], "prelaunch")

    def test_boot(self):
        """Firmware by its name, a network and a disk each by one short option, and CPUs."""
        folder = self.folder()
        status, output = self.place.run([self.image_tool(), "create", "-q", "-f", "qcow2",
                                         folder / "disk.qcow2", "64M"])
        self.assertEqual(status, 0, output)
        guest, cpus = self.boot(self.short(
            kernel=assets.kernel(), initrd=modules.initrd("virtio_net", "virtio_blk"),
            extra=["-m", "512M", "-smp", "2,maxcpus=4", "-bios", "QEMU_EFI.fd", "-nic", "user",
                   "-drive", f"file={folder / 'disk.qcow2'}"]))
        guest.check("modprobe virtio_net; modprobe virtio_blk; "
                    "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0", 60)
        guest.wait_for(lambda: guest.run("ping -c 1 -W 5 10.0.2.2")[0] == 0,
                       "an answer from the network", 60)
        self.assertEqual(guest.check("cat /sys/block/vda/size").strip(), str(64 * 2048))
        cpus.plug(2)
        self.assert_cpus(cpus, {0, 1, 2})

    def test_descriptor(self):
        """What management software reads of the firmware names files that are there."""
        data = datafiles.inside(guestcase.QEMU.parent)
        described = json.loads((data / datafiles.DESCRIPTOR).read_text())
        for part in ("executable", "nvram-template"):
            file = Path(described["mapping"][part]["filename"])
            self.assertEqual(file.stat().st_size, 64 << 20, file)
        # QEMU's documents use the names alone.
        guest, _ = self.start(self.short(extra=[
            "-drive", f"if=pflash,format=raw,readonly=on,file={data}/edk2-aarch64-code.fd"]),
            paused=True)
        self.assertIn("edk2-aarch64-code.fd", guest.hmp("info block"))


if __name__ == "__main__":
    guestcase.main()
