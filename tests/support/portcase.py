# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of PCIe root ports share: guests with ports, and disks that can be told apart."""

import hashlib

import guestcase
from workbench.guest import assets, modules, qemu

DISK_SIZE = 4096
# A few hundred ports take minutes to boot where the machine has other work, too.
BOOT_SECONDS = 600
PLUG_SECONDS = 120
# Options for a root port of any machine, and for come_and_go()
PORT = ("-device", "pcie-root-port,id=rp,bus=pcie.0,chassis=1,slot=1")
# Hot-plug by ACPI instead of PCI Express
ACPI = ("-global", "acpi-ged.acpi-pci-hotplug-with-bridge-support=on")


class Disks:
    """COUNT small disks: block nodes disk0, disk1, ..., windows of one file below FOLDER.

    options is what QEMU needs to have them, sums has the checksum of each one's content by its
    name.
    """

    def __init__(self, folder, count):
        contents = [hashlib.sha512(b"%d" % number).digest() * (DISK_SIZE // 64)
                    for number in range(count)]
        image = folder / "disks"
        image.write_bytes(b"".join(contents))
        self.sums = {f"disk{number}": hashlib.md5(content).hexdigest()
                     for number, content in enumerate(contents)}
        self.options = ["-blockdev",
                        f"driver=file,node-name=image,read-only=on,filename={image}"]
        for number in range(count):
            self.options += ["-blockdev", f"driver=raw,node-name=disk{number},file=image,"
                             f"read-only=on,offset={number * DISK_SIZE},size={DISK_SIZE}"]


def null_disk(size, *more):
    """Options of a backend for disk(0, ...): SIZE bytes that read as zeroes. MORE goes with it."""
    return ["-blockdev", ",".join([f"driver=null-co,node-name=disk0,size={size},read-zeroes=on",
                                   *more])]


def disk(number, port, driver="virtio-blk-pci"):
    """The arguments of device_add for disk NUMBER behind PORT. Its serial number is its name."""
    name = f"disk{number}"
    return {"driver": driver, "id": name, "drive": name, "serial": name, "bus": port}


def option(arguments):
    """The -device option that does what device_add does with ARGUMENTS."""
    return ["-device", qemu.option(arguments)]


def come_and_go(guest, times=4):
    """Have a device behind PORT come and go, TIMES times. Raises GuestError."""
    listed = "grep -q 0x1044 /sys/bus/pci/devices/*/device"
    for number in range(times):
        ident = f"rng{number}"
        guest.qmp("device_add", {"driver": "virtio-rng-pci", "id": ident, "bus": "rp"})
        guest.check(f"until {listed}; do usleep 20000; done", 60)
        guest.delete_device(ident)
        guest.event("DEVICE_DELETED", 60, device=ident)
        guest.check(f"while {listed}; do usleep 20000; done", 60)


class PortCase(guestcase.GuestCase):
    """A test with guests that have root ports."""

    drivers = ("virtio_blk",)

    def config(self, kernel=assets.DEFAULT_KERNEL, firmware=assets.DEFAULT_FIRMWARE, **changes):
        """A Config whose guest can use what is plugged, and keeps all that it logs."""
        fields = {"smp": "2", "initrd": modules.initrd(*self.drivers),
                  "append": "quiet harness log_buf_len=16M"}
        return super().config(kernel, firmware, **{**fields, **changes})

    def boot(self, config=None, **options):
        """Start a guest, wait for its shell and load the drivers; returns the guest."""
        guest, _ = self.start(config, **options)
        self.wait_ready(guest)
        return guest

    def wait_ready(self, guest):
        """Wait for the shell and load the drivers."""
        guest.wait_ready(BOOT_SECONDS)
        guest.check(f"modprobe -a {' '.join(self.drivers)}", PLUG_SECONDS)

    # --- disks ---------------------------------------------------------------------------------

    def found(self, guest):
        """{serial number: checksum of the content} of all virtio disks that the guest has."""
        # Linux shows a disk a moment before it can be opened.
        lines = guest.check(
            "for d in /sys/block/vd*; do [ -e $d ] || continue\n"
            "until sum=$(md5sum < /dev/${d##*/}); do usleep 20000; done 2> /dev/null\n"
            "echo $(cat $d/serial) $sum; done", PLUG_SECONDS)
        return {line.split()[0]: line.split()[1] for line in lines.splitlines()}

    def count(self, guest):
        """How many virtio disks the guest has."""
        return int(guest.check("ls /sys/block | grep -c ^vd; true"))

    def assert_disks(self, guest, disks, names):
        """The guest finds exactly the disks NAMES of DISKS, and can read them."""
        names = set(names)
        # They come one by one; what they hold is read once.
        guest.wait_for(lambda: self.count(guest) == len(names),
                       lambda: f"{len(names)} disks in the guest, which has {self.count(guest)}; "
                       + self.messages(guest), PLUG_SECONDS)
        self.assertEqual(self.found(guest), {name: disks.sums[name] for name in names})

    def functions(self, guest):
        """The PCI functions that the guest has, by address."""
        return guest.check("ls /sys/bus/pci/devices").split()

    def remove(self, guest, *names):
        """Take the devices NAMES away, all at once; returns when QEMU has let them go."""
        for name in names:
            guest.delete_device(name)
        for name in names:
            guest.event("DEVICE_DELETED", PLUG_SECONDS, device=name)

    def check_plug(self, guest, disks, number, port, others=()):
        """Plug disk NUMBER behind PORT, read it, and remove it; OTHERS are there all along."""
        guest.qmp("device_add", disk(number, port))
        self.assert_disks(guest, disks, {*others, f"disk{number}"})
        self.remove(guest, f"disk{number}")
        self.assert_disks(guest, disks, others)

    # --- the guest's kernel log ----------------------------------------------------------------

    def messages(self, guest):
        """The latest kernel messages, for failure messages."""
        text = guest.run("dmesg | tail -n 12")[1]
        return "its last kernel messages:\n    " + text.replace("\n", "\n    ")

    def without_room(self, guest, kind=""):
        """Lines of the log about windows and BARs that got no room; KIND is "io" or "mem"."""
        return guest.run(f"dmesg | grep -E '\\[{kind}.*(failed to assign|no space)'",
                         PLUG_SECONDS)[1].splitlines()

    # --- the machine ---------------------------------------------------------------------------

    def assert_ports(self, guest, count, limit):
        """QEMU says that there are COUNT root ports, and can be LIMIT."""
        told = [guest.qmp("qom-get", {"path": "/machine", "property": name})
                for name in ("pcie-root-ports", "pcie-root-port-limit")]
        self.assertEqual(told, [count, limit])
