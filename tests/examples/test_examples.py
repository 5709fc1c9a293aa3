#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""examples/: each is valid, boots, and does what it is for."""

import hashlib
import re
import sys
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import domaincase  # noqa: E402
import example  # noqa: E402
import guestcase  # noqa: E402
import virshell  # noqa: E402
from example import FOLDER, Script  # noqa: E402
from workbench.guest import assets, modules  # noqa: E402
from workbench.guest.cpus import Cpus  # noqa: E402

DRIVERS = ("virtio_blk", "virtio_net", "virtio_scsi", "sr_mod", "xhci-pci", "usbhid",
           "hid-generic")
INPUTS = {"Keyboard", "Mouse", "Tablet"}
PORTS = 28
DISK_SIZE = 4 << 20
ISO = b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(1024))
# Classes of PCI functions.
NETWORK, DISPLAY, BRIDGE = "0x020000", "0x038000", "0x060400"
NEW = "virt-11.1-hotplug"
BOOT_SECONDS = 300
PLUG_SECONDS = 120


def persist(guest, function, *arguments):
    """Call FUNCTION(ARGUMENTS) until the guest has time for what it asks.

    A guest has a device before it is done with the slot, and libvirt waits 5 s for a vCPU. How often
    it took is said in the output, with what was refused: nobody else asks twice.
    """
    refused = []

    def done():
        try:
            function(*arguments)
        except (guestcase.Refused, virshell.Refused) as error:
            if not re.search("guest is busy|timed out|process of unplug", str(error)):
                raise
            refused.append(" ".join(str(error).split()))
            return False
        return True

    guest.wait_for(done, lambda: f"an end of {arguments}; refused: {refused}", PLUG_SECONDS)
    if refused:
        print(f"note: {' '.join(map(str, arguments))} took {len(refused) + 1} requests; refused "
              f"were: {'; '.join(dict.fromkeys(refused))}")


class ExampleCase(guestcase.GuestCase):
    """A test with what an example needs around it."""

    def images(self, folder, name="disk"):
        """Make a blank disk and a CD-ROM in FOLDER; returns their paths."""
        disk, iso = folder / f"{name}.qcow2", folder / f"{name}.iso"
        status, output = self.place.run([self.image_tool(), "create", "-q", "-f", "qcow2", disk,
                                         str(DISK_SIZE)])
        self.assertEqual(status, 0, output)
        iso.write_bytes(ISO)
        return disk, iso

    def assert_devices(self, guest):
        """The guest has all that the everyday examples have, and can use it."""
        guest.check(f"modprobe -a {' '.join(DRIVERS)}", PLUG_SECONDS)
        # Linux shows a disk a moment before it can be opened.
        guest.wait_for(lambda: guest.run("cat /dev/vda /dev/sr0 > /dev/null")[0] == 0,
                       "disk and CD-ROM", PLUG_SECONDS)
        self.assertEqual(self.size(guest, "vda"), DISK_SIZE)
        self.assertEqual(guest.check("md5sum /dev/sr0").split()[0], hashlib.md5(ISO).hexdigest())

        def inputs():
            names = guest.check("cat /proc/bus/input/devices")
            return {name for name in INPUTS if f"USB {name}" in names}

        guest.wait_for(lambda: inputs() == INPUTS, lambda: f"input devices, only {inputs()} came",
                       PLUG_SECONDS)
        self.assertEqual(self.count(guest, DISPLAY), 1, "displays")
        self.assertEqual(self.count(guest, BRIDGE), PORTS, "root ports")
        guest.check("ip address add 10.0.2.15/24 dev eth0; ip link set eth0 up")
        # The answer comes from QEMU's own network.
        guest.wait_for(lambda: guest.run("ping -c 1 -W 5 10.0.2.2")[0] == 0, "network",
                       PLUG_SECONDS)

    def count(self, guest, kind):
        """How many PCI functions of the class KIND the guest has."""
        return int(guest.check(f"cat /sys/bus/pci/devices/*/class | grep -c {kind}; true"))

    def size(self, guest, disk):
        """The size of a disk of the guest in bytes."""
        return int(guest.check(f"cat /sys/block/{disk}/size")) * 512


class CommandLine(ExampleCase):

    def test_virt(self):
        """All devices are there; a vCPU and a device come and go."""
        folder = self.folder()
        disk, iso = self.images(folder)
        firmware = assets.firmware()
        guest, cpus = self.start(Script(
            qemu=guestcase.QEMU, kernel=assets.kernel(), initrd=modules.initrd(*DRIVERS),
            script=FOLDER / "virt.sh", variables={
                "DISK": disk, "ISO": iso, "CODE": firmware.code, "VARS": firmware.vars,
                "NVRAM": folder / "vars.fd"}))
        guest.wait_ready(BOOT_SECONDS)
        self.assert_devices(guest)
        cpus.plug(2)
        self.assert_cpus(cpus, range(3))
        cpus.unplug(2)
        self.assert_cpus(cpus, range(2))
        last = f"hotplug{PORTS - 1}"
        guest.qmp("device_add", {"driver": "virtio-net-pci", "id": "more", "bus": last,
                                 "romfile": ""})
        guest.wait_for(lambda: self.count(guest, NETWORK) == 2, f"a device behind {last}",
                       PLUG_SECONDS)
        persist(guest, guest.qmp, "device_del", {"id": "more"})
        guest.event("DEVICE_DELETED", PLUG_SECONDS, device="more")


class Valid(unittest.TestCase):

    def test_all(self):
        """libvirt's schema allows each domain."""
        names = sorted(FOLDER.glob("*.xml"))
        self.assertEqual(len(names), 2)
        for path in names:
            with self.subTest(path.name):
                domaincase.validate(self, path)


class Libvirt(domaincase.DomainCase, ExampleCase):
    """The domains in a real libvirt, with what this machine has instead of an Arm host's."""

    def adapted(self, name):
        """The domain of the example NAME as an element, changed for this machine."""
        disk, iso = self.images(self.virsh.folder)
        domain = example.domain(name, modules.initrd(*DRIVERS), disk)
        domain.set("type", "qemu")
        domain.find("devices/emulator").text = str(guestcase.QEMU)
        domain.find("cpu").set("mode", "custom")
        ElementTree.SubElement(domain.find("cpu"), "model").text = "neoverse-n1"
        for source in domain.findall("devices/disk[@device='cdrom']/source"):
            source.set("file", str(iso))
        self.virsh.hand_over(disk, iso)
        return domain

    def assert_valid(self, name):
        """What libvirt makes of the running domain is valid."""
        domaincase.validate(self, self.file("dump.xml", self.virsh("dumpxml", name)))

    def test_virt(self):
        """All devices are there; vCPUs and a disk come and go by virsh."""
        guest = self.boot_domain(self.adapted("virt.xml"), BOOT_SECONDS)
        self.assert_devices(guest)
        cpus = Cpus(guest)

        persist(guest, self.virsh, "setvcpus", "virt", 4, "--live")
        for number in (2, 3):
            cpus.wait_enabled(number)
            cpus.bring_online(number)
        self.assert_online(cpus, 4)
        persist(guest, self.virsh, "setvcpus", "virt", 2, "--live")
        self.assert_online(cpus, 2)

        disk, _ = self.images(self.virsh.folder, "more")
        self.virsh.hand_over(disk)
        device = self.file("device.xml", f"""<disk type='file' device='disk'>
            <driver name='qemu' type='qcow2'/><source file='{disk}'/>
            <target dev='vdb' bus='virtio'/></disk>""")
        self.virsh("attach-device", "virt", device, "--live")
        guest.wait_for(lambda: guest.run("ls /dev/vdb")[0] == 0, "the attached disk", PLUG_SECONDS)
        self.assertEqual(self.size(guest, "vdb"), DISK_SIZE)
        self.assert_valid("virt")
        persist(guest, self.virsh, "detach-device", "virt", device, "--live")
        guest.wait_for(lambda: "vdb" not in self.virsh("domblklist", "virt"),
                       "libvirt to have let go the disk", PLUG_SECONDS)
        self.assertNotEqual(guest.run("ls /dev/vdb")[0], 0)
        self.assert_valid("virt")

    def minimal(self, name, machine, vcpus, gic):
        """A domain without devices as an element. VCPUS is the element of that name."""
        firmware = assets.firmware()
        return ElementTree.fromstring(f"""<domain type='qemu'>
            <name>{name}</name><memory unit='MiB'>256</memory>{vcpus}
            <os><type arch='aarch64' machine='{machine}'>hvm</type>
              <loader readonly='yes' type='pflash'>{firmware.code}</loader>
              <nvram template='{firmware.vars}'/></os>
            <features><acpi/><gic version='{gic}'/></features>
            <cpu mode='custom'><model>neoverse-n1</model></cpu>
            <devices><emulator>{guestcase.QEMU}</emulator>
              <controller type='usb' model='none'/><memballoon model='none'/></devices>
            </domain>""")

    def machine_of(self, name):
        """The machine type that libvirt has for the domain NAME."""
        domain = ElementTree.fromstring(self.virsh("dumpxml", name))
        return domain.find("os/type").get("machine")

    def test_machine_versions(self):
        """A new domain gets the new version, and one of a released version keeps it.

        Each starts, also if its machine cannot have CPU hot-plug: libvirt asks for the slots
        whenever the version has hotpluggable CPUs, and a domain does not start without an answer.
        """
        more = "<vcpu current='2'>4</vcpu>"
        for machine, version, vcpus, gic, free in (
                ("virt", NEW, more, 3, 2), ("virt", NEW, more, 2, None),
                ("virt", NEW, "<vcpu>2</vcpu>", 3, None), ("virt", NEW, "<vcpu>2</vcpu>", 2, None),
                ("virt-11.1", "virt-11.1", more, 3, None),
                ("virt-11.1", "virt-11.1", "<vcpu>2</vcpu>", 2, None)):
            name = f"d-{machine}-{gic}-{len(vcpus)}"
            path = self.file(f"{name}.xml", self.minimal(name, machine, vcpus, gic))
            self.virsh("define", path)
            self.assertEqual(self.machine_of(name), version)
            self.virsh("start", name, "--paused", seconds=120)
            self.assertEqual(self.machine_of(name), version)
            if free:
                self.virsh("setvcpus", name, "4", "--live")
                self.assertEqual(self.virsh("vcpucount", name, "--current", "--live"), "4")
            elif vcpus is more:
                self.assertRaises(virshell.Refused, self.virsh, "setvcpus", name, "4", "--live")
            # Not ended here: libvirt 9.0 may hang if it ends a domain right after "setvcpus".

    def assert_online(self, cpus, count):
        """COUNT vCPUs are online in the guest, and libvirt counts as many."""
        cpus.wait_view(f"{count} vCPUs", enabled=range(count), online=range(count))
        self.assertEqual(self.virsh("vcpucount", "virt", "--current", "--live"), str(count))

    def test_more_ports(self):
        """The arguments that virt.xml has in a comment raise the limit."""
        text = (FOLDER / "virt.xml").read_text(encoding="utf-8")
        _, start, rest = text.partition("<qemu:commandline ")
        arguments = ElementTree.fromstring(start + rest.partition("-->")[0])
        domain = self.adapted("virt.xml")
        domain.append(arguments)
        devices = domain.find("devices")
        for _ in range(64 - PORTS):
            ElementTree.SubElement(devices, "controller", type="pci", model="pcie-root-port")
        path = self.file("domain.xml", domain)
        domaincase.validate(self, path)
        self.virsh("define", path)
        self.virsh("start", "virt", "--paused", seconds=120)
        for name in ("max-pcie-root-ports", "pcie-root-port-limit", "pcie-root-ports"):
            answer = self.virsh("qemu-monitor-command", "virt", "--hmp",
                                f"qom-get /machine {name}")
            self.assertEqual(answer, "64", name)

    def test_passthrough(self):
        """libvirt takes the domain and gives the function a port of its own."""
        self.virsh("define", self.file("domain.xml", self.adapted("passthrough.xml")))
        domain = ElementTree.fromstring(self.virsh("dumpxml", "passthrough"))
        device = domain.find("devices/hostdev")
        self.assertEqual(device.find("driver").get("name"), "vfio")
        bus = int(device.find("address").get("bus"), 16)
        port = domain.find(f"devices/controller[@model='pcie-root-port'][@index='{bus}']")
        self.assertIsNotNone(port, f"bus {bus}")


if __name__ == "__main__":
    guestcase.main(clean_up=True)
