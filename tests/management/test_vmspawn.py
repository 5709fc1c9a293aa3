#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""systemd-vmspawn: root ports for what it has and for what it plugs, and a disk in one of them.

Read in systemd/systemd, release 262, src/vmspawn: vmspawn.c, vmspawn-util.h, vmspawn-qmp.h and
vmspawn-qmp.c. Left out are the tap, virtiofsd and vsock, and the descriptors of add-fd, which are
paths here.
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import clientcase  # noqa: E402
from workbench.guest import assets, modules  # noqa: E402

SPARE = 10              # VMSPAWN_PCIE_HOTPLUG_SPARES, vmspawn-qmp.h:9
FIRST_SLOT, FUNCTIONS, MOST = 0x10, 8, 120      # vmspawn.c:119
CONTENT = b"vmspawn!" * 8192
DRIVERS = ("virtio_blk",)
PATIENT = 60            # it has no limit of its own


def ports(built_in):
    """The sections of BUILT_IN ports and the spare ones: vmspawn.c:2444 and 3674."""
    found = []
    for number in range(built_in + SPARE):
        slot, function = divmod(number, FUNCTIONS)
        name = (f"vmspawn-pcieport-{number}" if number < built_in
                else f"vmspawn-hotplug-pci-root-port-{number - built_in}")
        options = {"driver": "pcie-root-port", "chassis": number + 1, "slot": number + 1,
                   "addr": f"0x{FIRST_SLOT + slot:x}.{function}"}
        if function == 0:
            options["multifunction"] = "on"
        found.append((f'device "{name}"', options))
    return found


class Vmspawn(clientcase.ClientCase):

    def command(self, built_in=2, machine=None):
        """The Sent of a guest with BUILT_IN ports; MACHINE changes options of the machine."""
        folder = self.folder()
        code, variables = clientcase.flash(folder)
        conf = clientcase.readconfig(folder / "qemu.conf", [
            ("machine", {"type": "virt", "cxl": "on", **(machine or {})}),
            ("smp-opts", {"cpus": "2"}),
            ("memory", {"size": "1024M"}),
            ('object "rng0"', {"qom-type": "rng-random", "filename": "/dev/urandom"}),
            ('device "rng-device0"', {"driver": "virtio-rng-pci", "rng": "rng0"}),
            ("drive", {"if": "pflash", "format": "raw", "readonly": "on", "file": code}),
            ("drive", {"if": "pflash", "format": "raw", "file": variables}),
            *ports(built_in)])
        return clientcase.Sent(
            qemu=self.patched, kernel=assets.kernel(), initrd=modules.initrd(*DRIVERS), words=[
                "-accel", "tcg", "-cpu", "max", "-nographic", "-nodefaults", "-readconfig", conf])

    def add_disk(self, guest, number, port, path, serial):
        """Attach a disk, number NUMBER of this guest: vmspawn_qmp_add_block_device."""
        name = f"vmspawn-{number}"
        self.ask(guest, PATIENT, "blockdev-add", {
            "node-name": f"{name}-file-0", "driver": "file", "filename": str(path),
            "cache": {"direct": False, "no-flush": False}})
        self.ask(guest, PATIENT, "blockdev-add", {
            "node-name": f"{name}-storage", "driver": "raw", "file": f"{name}-file-0"})
        self.ask(guest, PATIENT, "device_add", {
            "driver": "virtio-blk-pci", "drive": f"{name}-storage", "id": f"{name}-disk",
            "serial": serial, "bus": port})

    def remove_disk(self, guest, number):
        """Detach it: vmspawn_qmp_remove_block_device, and what follows DEVICE_DELETED."""
        name = f"vmspawn-{number}"
        self.ask(guest, PATIENT, "device_del", {"id": f"{name}-disk"})
        guest.event("DEVICE_DELETED", PATIENT, device=f"{name}-disk")
        self.ask(guest, PATIENT, "blockdev-del", {"node-name": f"{name}-storage"})
        self.ask(guest, PATIENT, "blockdev-del", {"node-name": f"{name}-file-0"})

    def disks(self, guest):
        """{serial number: checksum} of the disks in the guest."""
        lines = guest.check(
            "for d in /sys/block/vd*; do [ -e $d ] || continue\n"
            "until sum=$(md5sum < /dev/${d##*/}); do usleep 20000; done 2> /dev/null\n"
            "echo $(cat $d/serial) $sum; done", clientcase.PLUG_SECONDS)
        return {line.split()[0]: line.split()[1] for line in lines.splitlines()}

    def wait_disks(self, guest, *names):
        """The guest has the disks NAMES, and can read them."""
        wanted = dict.fromkeys(names, hashlib.md5(CONTENT).hexdigest())
        guest.wait_for(lambda: self.disks(guest) == wanted,
                       lambda: f"disks {names}, has {self.disks(guest)}", clientcase.PLUG_SECONDS)

    def test_disks(self):
        """A disk at a built-in port before the guest runs; others come and go at spare ones."""
        path = self.folder() / "disk.raw"
        path.write_bytes(CONTENT)
        guest, _ = self.start_client(self.command(), paused=True)
        self.add_disk(guest, 0, "vmspawn-pcieport-0", path, "root")
        guest.qmp("cont")
        guest.wait_ready(clientcase.BOOT_SECONDS)
        guest.check(f"modprobe -a {' '.join(DRIVERS)}")
        self.wait_disks(guest, "root")
        found = guest.check("cat /sys/bus/pci/devices/*/class | grep -c 0x060400")
        self.assertEqual(int(found), 2 + SPARE, "root ports")

        # Each has an own copy: one file cannot be written by two.
        for number in (1, 2):
            copy = path.with_name(f"disk{number}.raw")
            copy.write_bytes(CONTENT)
            self.add_disk(guest, number, f"vmspawn-hotplug-pci-root-port-{number - 1}", copy,
                          f"disk{number}")
        self.wait_disks(guest, "root", "disk1", "disk2")
        self.remove_disk(guest, 1)
        self.wait_disks(guest, "root", "disk2")
        copy = path.with_name("disk1.raw")
        self.add_disk(guest, 3, "vmspawn-hotplug-pci-root-port-0", copy, "disk3")
        self.wait_disks(guest, "root", "disk2", "disk3")
        self.remove_disk(guest, 2)
        self.remove_disk(guest, 3)
        self.wait_disks(guest, "root")

    def test_same_start(self):
        """All of its guests start as with the pristine QEMU, up to the most ports."""
        for built_in in (0, 6, MOST - SPARE):
            for machine in ({}, {"gic-version": "3"}, {"type": "virt-11.1"}, {"cxl": "off"}):
                with self.subTest(built_in=built_in, machine=machine):
                    self.check_start(built_in, machine)

    def check_start(self, built_in, machine):
        """One of them. Ports beyond the limit of the machine are what ours warns about."""
        config = self.command(built_in, machine)
        pristine = self.outcome(replace(config, qemu=self.pristine))
        patched = self.outcome(config)
        self.assertEqual((patched.starts, pristine.starts), (True, True))
        more = [line for line in patched.says if line not in pristine.says]
        self.assertEqual(pristine.says, tuple(line for line in patched.says if line not in more))
        for line in more:
            self.assertRegex(line, r"^warning: This machine can serve \d+ PCIe root ports "
                             rf"because of .*, and there are {built_in + SPARE}: ")
        # Unless it is asked for GICv3, TCG has a GICv2.
        limited = built_in == MOST - SPARE and machine.get("gic-version") != "3"
        self.assertEqual(len(more), int(limited), f"{machine}: {more}")


if __name__ == "__main__":
    clientcase.main()
