#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""KubeVirt and OpenStack Nova: their domains in a real libvirt, and what they then ask of it.

Read in kubevirt/kubevirt d923fdb815cd of 2026-08-22 (pkg/virt-launcher/virtwrap/converter with its
testdata/domain_arm64.xml, pkg/virt-launcher/virtwrap/manager.go) and openstack/nova 00a030403f67
of 2026-08-21 (nova/virt/libvirt/driver.py and config.py). The domains are of type qemu with a named
CPU model, and paths are those of the test. Left out are their networks and displays.

What libvirt makes of Nova's ports was read in release 11.3.0 of libvirt/libvirt,
tests/qemuxmlconfdata/aarch64-virt-headless.aarch64-latest.args.
"""

import hashlib
import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import clientcase  # noqa: E402
import compatcase  # noqa: E402
import domaincase  # noqa: E402
import guestcase  # noqa: E402
import virshell  # noqa: E402
from workbench.guest import assets, modules  # noqa: E402
from workbench.guest.cpus import Cpus  # noqa: E402

DRIVERS = ("virtio_blk",)
CONTENT = b"content!" * 8192
BRIDGE = "0x060400"
# libvirt gives a domain of type qemu this one, and one of KVM the newest.
WITHOUT_GIC, WITH_GIC3 = "", "<gic version='3'/>"


class ManagedCase(domaincase.DomainCase):
    """A test with domains that run with either QEMU."""

    def domain(self, text, binary=None):
        """The element of the domain TEXT, with firmware, kernel and BINARY in it."""
        domain = ElementTree.fromstring(text)
        firmware = assets.firmware()
        boot = domain.find("os")
        boot.find("loader").text = str(firmware.code)
        boot.find("nvram").set("template", str(firmware.vars))
        for tag, value in (("kernel", assets.kernel()), ("initrd", modules.initrd(*DRIVERS)),
                           ("cmdline", clientcase.APPEND)):
            ElementTree.SubElement(boot, tag).text = str(value)
        emulator = ElementTree.Element("emulator")
        emulator.text = str(binary or guestcase.QEMU)
        domain.find("devices").insert(0, emulator)
        return domain

    def pristine(self):
        """The path of the pristine QEMU."""
        binary, _ = compatcase.binaries("aarch64")
        self.require_executable(binary)
        return binary

    def disk(self, name):
        """The path of a disk image that holds CONTENT."""
        return self.file(f"{name}.img", CONTENT)

    def serials(self, guest):
        """{serial number: checksum} of the disks in the guest; those without one as "-"."""
        lines = guest.check(
            "for d in /sys/block/vd*; do [ -e $d ] || continue\n"
            "until sum=$(md5sum < /dev/${d##*/}); do usleep 20000; done 2> /dev/null\n"
            "serial=$(cat $d/serial); echo ${serial:--} $sum; done", clientcase.PLUG_SECONDS)
        return {line.split()[0]: line.split()[1] for line in lines.splitlines()}

    def wait_disks(self, guest, *serials):
        """The guest has disks with these serial numbers, and can read them."""
        wanted = dict.fromkeys(serials, hashlib.md5(CONTENT).hexdigest())
        guest.wait_for(lambda: self.serials(guest) == wanted,
                       lambda: f"disks {serials}, has {self.serials(guest)}",
                       clientcase.PLUG_SECONDS)


class KubeVirt(ManagedCase):

    def text(self, name, sockets, gic, cpus=1):
        """The domain of a guest with CPUS of SOCKETS vCPUs: configureCPUTopology and
        configureVCPUs, converter/compute/cpu.go:59. With one socket it is what Arm has today."""
        vcpus = "" if sockets == 1 else "<vcpus>" + "".join(
            f"<vcpu id='{number}' enabled='{'yes' if number < cpus else 'no'}' "
            f"hotpluggable='{'yes' if number else 'no'}'></vcpu>"
            for number in range(sockets)) + "</vcpus>"
        return f"""<domain type="qemu"
            xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
          <name>{name}</name>
          <memory unit="b">536870912</memory>
          <os>
            <type arch="aarch64" machine="virt">hvm</type>
            <smbios mode="sysinfo"></smbios>
            <loader readonly="yes" secure="no" type="pflash"></loader>
            <nvram></nvram>
          </os>
          <sysinfo type="smbios">
            <system>
              <entry name="uuid">e4686d2c-6e8d-4335-b8fd-81bee22f4814</entry>
              <entry name="manufacturer">KubeVirt</entry>
            </system>
          </sysinfo>
          <uuid>e4686d2c-6e8d-4335-b8fd-81bee22f4814</uuid>
          <devices>
            <channel type="unix">
              <target name="org.qemu.guest_agent.0" type="virtio"></target>
            </channel>
            <controller type="usb" index="0" model="none"></controller>
            <controller type="virtio-serial" index="0" model="virtio-non-transitional"></controller>
            <memballoon model="virtio-non-transitional" freePageReporting="on">
              <stats period="10"></stats>
            </memballoon>
            <disk device="disk" type="file" model="virtio-non-transitional">
              <source file="{self.disk(name)}"></source>
              <target bus="virtio" dev="vda"></target>
              <driver error_policy="stop" name="qemu" type="raw" iothread="1" discard="unmap">
              </driver>
              <alias name="ua-myvolume"></alias>
            </disk>
            <serial type="unix">
              <target port="0"></target>
              <source mode="bind" path="{self.virsh.folder}/{name}-serial0"></source>
            </serial>
            <console type="pty">
              <target type="serial" port="0"></target>
            </console>
            <rng model="virtio-non-transitional">
              <backend model="random">/dev/urandom</backend>
            </rng>
          </devices>
          <clock offset="utc"></clock>
          <features><acpi></acpi>{gic}</features>
          <cpu mode="custom"><model>{clientcase.CPU}</model>
            <topology sockets="{sockets}" cores="1" threads="1"></topology>
          </cpu>
          <vcpu placement="static">{sockets}</vcpu>
          {vcpus}
          <iothreads>1</iothreads>
        </domain>"""

    def set_sockets(self, name, count):
        """hotplugCPU, pkg/virt-handler/migration-target.go:1088: it calls this for the running
        guest and its configuration, after a migration."""
        self.virsh("setvcpus", name, str(count), "--live", "--config")

    def test_life(self):
        """With hot-plug as on x86, vCPUs are added. KubeVirt never removes one."""
        name = "mynamespace_testvmi"
        guest = self.boot_domain(self.domain(self.text(name, 4, WITH_GIC3)),
                                 clientcase.BOOT_SECONDS)
        cpus = Cpus(guest)
        cpus.wait_view("one vCPU", enabled={0}, online={0})
        guest.check(f"modprobe -a {' '.join(DRIVERS)}")
        self.wait_disks(guest, "-")
        self.set_sockets(name, 3)
        for number in (1, 2):
            cpus.wait_enabled(number, clientcase.PLUG_SECONDS)
            cpus.bring_online(number)
        cpus.wait_view("three vCPUs", enabled=range(3), online=range(3))
        cpus.work(range(3), 200)
        for scope in ("--live", "--config"):
            self.assertEqual(self.virsh("vcpucount", name, "--current", scope), "3")
        domaincase.validate(self, self.file("dump.xml", self.virsh("dumpxml", name)))

    def test_same_start(self):
        """Domains of Arm today, and those for hot-plug, start with the pristine QEMU and ours."""
        for number, binary in enumerate((guestcase.QEMU, self.pristine())):
            for sockets in (1, 4):
                for gic in (WITHOUT_GIC, WITH_GIC3):
                    name = f"vmi-{number}-{sockets}-{len(gic)}"
                    text = self.text(name, sockets, gic).replace(
                        "e4686d2c-6e8d-4335-b8fd-81bee22f4814",
                        f"e4686d2c-6e8d-4335-b8fd-81bee22f{number}{sockets}{len(gic):02}")
                    self.start_domain(self.domain(text, binary))
        # Nor is there a difference in what is refused, but for the reason.
        self.assertRaisesRegex(virshell.Refused, "CPU hotplug is not available on this machine: it "
                               "needs a GICv3 or GICv4, not a GICv2; use 'gic-version=3'",
                               self.set_sockets, f"vmi-0-4-{len(WITHOUT_GIC)}", 2)
        self.assertRaisesRegex(virshell.Refused, "hotplug is not supported",
                               self.set_sockets, f"vmi-1-4-{len(WITH_GIC3)}", 2)


def libvirt_ports(count):
    """The options that libvirt makes of COUNT root ports without address and index."""
    words = []
    for number in range(count):
        slot, function = divmod(number, 8)
        slot += 1
        options = {"driver": "pcie-root-port", "port": 8 * slot + function, "chassis": number + 1,
                   "id": f"pci.{number + 1}", "bus": "pcie.0"}
        if function == 0:
            options["multifunction"] = True
        options["addr"] = f"{slot:#x}" + (f".{function:#x}" if function else "")
        words += ["-device", json.dumps(options)]
    return words


class Nova(ManagedCase):
    """num_pcie_ports, of which Nova allows 28: nova/conf/libvirt.py:846."""

    def text(self, name, count, gic):
        """The domain of an instance: _guest_add_pcie_root_ports, driver.py:7650."""
        ports = "<controller type='pci' model='pcie-root-port'/>" * count
        return f"""<domain type="qemu">
          <name>{name}</name>
          <memory>524288</memory>
          <vcpu>2</vcpu>
          <os>
            <type arch="aarch64" machine="virt">hvm</type>
            <loader type="pflash" readonly="yes"></loader>
            <nvram></nvram>
          </os>
          <features><acpi/>{gic}</features>
          <cpu mode="custom" match="exact"><model>{clientcase.CPU}</model>
            <topology sockets="2" cores="1" threads="1"/></cpu>
          <clock offset="utc"/>
          <devices>
            <disk type="file" device="disk">
              <driver name="qemu" type="raw" cache="writethrough"/>
              <source file="{self.disk(name)}"/>
              <target bus="virtio" dev="vda"/>
            </disk>
            <controller type="usb" model="none"/>
            <controller type="pci" model="pcie-root"/>{ports}
            <serial type="pty"/>
            <console type="pty"><target type="serial"/></console>
            <memballoon model="virtio"><stats period="10"/></memballoon>
            <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
          </devices>
        </domain>"""

    def volume(self, serial, target, address=""):
        """The file of a volume: attach_volume, driver.py, LibvirtConfigGuestDisk."""
        return self.file(f"{serial}.xml", f"""<disk type="file" device="disk">
            <driver name="qemu" type="raw" cache="writethrough"/>
            <source file="{self.disk(serial)}"/>
            <target bus="virtio" dev="{target}"/>
            <serial>{serial}</serial>{address}</disk>""")

    def check_volumes(self, count, gic, address=""):
        """Volumes come and go in a guest with COUNT ports. ADDRESS is of one of them."""
        name = "instance-00000001"
        guest = self.boot_domain(self.domain(self.text(name, count, gic)), clientcase.BOOT_SECONDS)
        guest.check(f"modprobe -a {' '.join(DRIVERS)}")
        self.wait_disks(guest, "-")
        found = guest.check(f"cat /sys/bus/pci/devices/*/class | grep -c {BRIDGE}")
        self.assertEqual(int(found), count, "root ports")
        volumes = {"volume1": self.volume("volume1", "vdb", address),
                   "volume2": self.volume("volume2", "vdc")}
        for path in volumes.values():
            self.virsh("attach-device", name, path, "--live", "--config")
        self.wait_disks(guest, "-", *volumes)
        for path in volumes.values():
            self.virsh("detach-device", name, path, "--config")
            self.virsh("detach-device", name, path, "--live")
        guest.wait_for(lambda: "volume" not in self.virsh("domblklist", name),
                       "libvirt to have let the volumes go", clientcase.PLUG_SECONDS)
        self.wait_disks(guest, "-")

    def test_28(self):
        """The most that Nova allows, with the GICv2 that libvirt chooses without KVM."""
        self.check_volumes(28, WITHOUT_GIC)

    def test_40(self):
        """More, and the last of them works."""
        self.check_volumes(40, WITH_GIC3, '<address type="pci" domain="0x0000" bus="0x28" '
                           'slot="0x00" function="0x0"/>')

    def test_more(self):
        """libvirt starts domains with up to 248 ports, and QEMU has no complaint."""
        for count in (40, 100, 248):
            name = self.start_domain(self.domain(self.text(f"instance-{count}", count, WITH_GIC3)))
            told = [int(self.virsh("qemu-monitor-command", name, "--hmp",
                                   f"qom-get /machine {prop}"))
                    for prop in ("pcie-root-ports", "pcie-root-port-limit")]
            self.assertEqual(told, [count, 255])


class NovaPorts(clientcase.ClientCase):
    """What libvirt writes for Nova's ports, with either QEMU."""

    def test_same_start(self):
        """All start with both. Ours warns of ports beyond the limit of a GICv2, which is 32."""
        for count in (1, 28, 40, 100, 248):
            for gic in (2, 3):
                with self.subTest(count=count, gic=gic):
                    self.check(count, gic)

    def check(self, count, gic):
        """One of them."""
        config = clientcase.Sent(qemu=self.patched, words=[
            "-no-user-config", "-nodefaults", "-display", "none",
            "-machine", f"virt,usb=off,gic-version={gic},dump-guest-core=off", "-accel", "tcg",
            "-cpu", clientcase.CPU, "-m", "512", "-smp", "2,sockets=2,cores=1,threads=1",
            "-boot", "strict=on", *libvirt_ports(count)])
        if gic == 3 or count <= 32:
            self.assertEqual(self.assert_same_start(config), ())
            return
        self.assertEqual(self.outcome(replace(config, qemu=self.pristine)),
                         clientcase.Outcome(True, ()))
        found = self.outcome(config)
        self.assertTrue(found.starts)
        self.assertRegex("\n".join(found.says), r"^warning: This machine can serve 32 PCIe root "
                         rf"ports because of .*, and there are {count}: hotplug behind the surplus "
                         r"ones may not work; use 'gic-version=3' and 'msi=its' ")


if __name__ == "__main__":
    clientcase.main(clean_up=True)
