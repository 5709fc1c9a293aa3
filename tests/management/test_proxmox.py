#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Proxmox VE: a guest as it starts on Arm today, and its vCPU hot-plug, which it has on x86 only.

Read in proxmox/qemu-server e6352be67f70 of 2026-08-17 (9.2.6), src/PVE: QemuServer.pm,
QemuServer/{CPUConfig,QMPHelpers,Machine}.pm; the command is that of
src/test/cfg2cmd/aarch64/simple-arm-host.conf.cmd with serial0 as display. With hot-plug, it is what
docs/management.md says that it would have to be. Left out are "+pve0" of the machine, -id and
vmgenid, which only Proxmox' own QEMU has on Arm, iSCSI, and the tap.
"""

import hashlib
import re
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import clientcase  # noqa: E402
from workbench.guest import assets, modules  # noqa: E402
from workbench.guest.cpus import SYSFS  # noqa: E402

# Seconds: QMPClient.pm:84, and for HMP QemuServer/QMPHelpers.pm:33.
QUICK, PATIENT = 5, 25
CORES = 4
# How often it looks, once a second: QemuServer.pm:4309.
UNPLUG_CHECKS, PLUG_CHECKS = 7, 12
# A disk goes with six looks: QemuServer.pm:4156.
DEVICE_CHECKS = 6
DRIVER = f"{clientcase.CPU}-arm-cpu"
DRIVERS = ("virtio_scsi", "sd_mod")
DISK = b"proxmox!" * 8192


class GivenUp(Exception):
    """Proxmox tells the user that it has given up."""


def cpu_device(number):
    """print_cpu_device, QemuServer/CPUConfig.pm:672, with the Arm type. vCPUs count from 1."""
    socket, core = divmod(number - 1, CORES)
    return f"{DRIVER},id=cpu{number},socket-id={socket},core-id={core},thread-id=0"


class ProxmoxCase(clientcase.ClientCase):
    """A test that does what Proxmox does."""

    def command(self, smp, devices=(), machine=""):
        """The Sent of a guest with -smp SMP and further -device options DEVICES."""
        folder = self.folder()
        code, variables = clientcase.flash(folder)
        words = [
            "-name", "simple,debug-threads=on", "-no-shutdown",
            "-chardev", f"socket,id=qmp-pve,path={folder}/8006.qmp,server=on,wait=off",
            "-mon", "chardev=qmp-pve,mode=control",
            "-chardev", f"socket,id=qmp-event,path={folder}/qmeventd.sock,server=on,wait=off",
            "-mon", "chardev=qmp-event,mode=control", "-pidfile", folder / "8006.pid",
            "-smbios", "type=1,uuid=7b10d7af-b932-4c66-b2c3-3996152ec465",
            "-object", '{"id":"throttle-drive-efidisk0","limits":{},"qom-type":"throttle-group"}',
            "-blockdev", f'{{"driver":"raw","file":{{"driver":"file","filename":"{code}"}},'
            '"node-name":"pflash0","read-only":true}',
            "-blockdev", '{"detect-zeroes":"on","discard":"ignore","driver":"throttle","file":'
            '{"cache":{"direct":false,"no-flush":false},"detect-zeroes":"on","discard":"ignore",'
            '"driver":"raw","file":{"cache":{"direct":false,"no-flush":false},"detect-zeroes":"on",'
            f'"discard":"ignore","driver":"file","filename":"{variables}","node-name":'
            '"e4abf08bba72d3a54b87a58d2f50906","read-only":false},"node-name":'
            '"f4abf08bba72d3a54b87a58d2f50906","read-only":false},"node-name":"drive-efidisk0",'
            '"read-only":false,"throttle-group":"throttle-drive-efidisk0"}',
            "-smp", smp]
        for device in devices:
            words += ["-device", device]
        words += [
            "-nodefaults", "-boot", "menu=on,strict=on,reboot-timeout=1000", "-nographic",
            "-cpu", clientcase.CPU, "-m", "768",
            "-device", "pci-bridge,id=pci.1,chassis_nr=1,bus=pcie.0,addr=0x1e",
            "-device", "pci-bridge,id=pci.2,chassis_nr=2,bus=pcie.0,addr=0x1f",
            "-device", "usb-ehci,id=ehci,bus=pcie.0,addr=0x1",
            "-device", "usb-tablet,id=tablet,bus=ehci.0,port=1",
            "-device", "usb-kbd,id=keyboard,bus=ehci.0,port=2",
            "-serial", "chardev:console",
            "-device", "virtio-balloon-pci,id=balloon0,bus=pcie.0,addr=0x3,free-page-reporting=on",
            "-device", "virtio-scsi-pci,id=scsihw0,bus=pcie.0,addr=0x5",
            "-netdev", "type=user,id=net0",
            "-device", "virtio-net-pci,mac=A2:C0:43:77:08:A0,netdev=net0,bus=pcie.0,addr=0x12,"
            "id=net0,rx_queue_size=1024,tx_queue_size=256,bootindex=300,host_mtu=1500,"
            "host_tunnel=off",
            "-machine", f"accel=tcg,pflash0=pflash0,pflash1=drive-efidisk0,type=virt{machine}"]
        return clientcase.Sent(qemu=self.patched, own_serial=True, words=words,
                               kernel=assets.kernel(), initrd=modules.initrd(*DRIVERS))

    def with_hotplug(self, vcpus, machine=""):
        """The Sent of a guest with "hotplug: cpu": QemuServer.pm:3385."""
        return self.command(f"1,sockets=1,cores={CORES},maxcpus={CORES}",
                            [cpu_device(number) for number in range(2, vcpus + 1)], machine)

    def hmp(self, guest, line):
        """hmp_cmd(): returns what Proxmox does not look at."""
        return self.ask(guest, PATIENT, "human-monitor-command", {"command-line": line})

    def running(self, guest):
        """How many vCPUs QEMU has."""
        return len(self.ask(guest, QUICK, "query-cpus-fast"))

    def set_vcpus(self, guest, now, wanted, checks=None):
        """qemu_cpu_hotplug, QemuServer.pm:4309: from NOW to WANTED vCPUs.

        CHECKS is how often to look in place of what Proxmox does. Returns the answers to its HMP
        commands; raises GivenUp.
        """
        # For the version of the machine.
        self.ask(guest, QUICK, "query-machines")
        answers = []
        if wanted < now:
            for number in range(now, wanted, -1):
                answers.append(self.hmp(guest, f"device_del cpu{number}"))
                if not self.poll(checks or UNPLUG_CHECKS, 1,
                                 lambda number=number: self.running(guest) == number - 1):
                    raise GivenUp(f"error unplugging cpu{number}: {answers}")
            return answers
        if self.running(guest) != now:
            raise GivenUp("vcpus in running vm does not match its configuration")
        for number in range(now + 1, wanted + 1):
            answers.append(self.hmp(guest, f"device_add driver={cpu_device(number)}"))
            if not self.poll(checks or PLUG_CHECKS, 1,
                             lambda number=number: self.running(guest) == number):
                raise GivenUp(f"error hotplugging cpu{number}: {answers}")
        return answers


class Start(ProxmoxCase):

    def test_today(self):
        """Guests without hot-plug start as with the pristine QEMU."""
        for smp in ("3,sockets=1,cores=3,maxcpus=3", f"2,sockets=1,cores={CORES},maxcpus={CORES}"):
            for machine in ("", "-11.1"):
                with self.subTest(smp=smp, machine=machine):
                    self.assert_same_start(self.command(smp, machine=machine))

    def test_first_vcpu(self):
        """With "hotplug: cpu" and one vCPU, Proxmox starts a guest on Arm today."""
        self.assert_same_start(self.with_hotplug(1))

    def test_where_hotplug_is_impossible(self):
        """A guest with more vCPUs does not start, and QEMU says why; nor with the pristine one.

        A vCPU that is plugged later is refused in HMP's answer, and Proxmox gives up.
        """
        reason = r"CPU hotplug is not available on this machine: it needs a GICv3 or GICv4, "
        config = self.with_hotplug(2, ",gic-version=2")
        self.assertFalse(self.outcome(replace(config, qemu=self.pristine)).starts)
        found = self.outcome(config)
        self.assertFalse(found.starts)
        self.assertRegex(" ".join(found.says), reason)

        guest, cpus = self.start_client(self.with_hotplug(1, ",gic-version=2"), paused=True)
        with self.assertRaisesRegex(GivenUp, f"error hotplugging cpu2.*{reason}"):
            self.set_vcpus(guest, 1, 2, checks=2)
        self.assertEqual(cpus.taken(), {0})

    def test_released_machine(self):
        """virt-11.1 refuses in HMP's answer."""
        guest, _ = self.start_client(self.with_hotplug(1, "-11.1"), paused=True)
        with self.assertRaisesRegex(GivenUp, "error hotplugging cpu2: .*Error: CPU hotplug is not "
                                    "available on this machine: it is off, "):
            self.set_vcpus(guest, 1, 2, checks=2)


class Life(ProxmoxCase):
    """A guest in which hot-plug is possible."""

    def test_cpus_and_disk(self):
        """vCPUs and a disk come and go while it looks, and what happens when it gives up."""
        guest, cpus = self.start(replace(self.with_hotplug(2), says=self.warnings()))
        guest.wait_ready(clientcase.BOOT_SECONDS)
        self.assert_cpus(cpus, {0, 1})

        self.assertEqual(self.set_vcpus(guest, 2, 4), ["", ""])
        self.bring_online(cpus, 2, 3)
        self.wait_cpus(cpus, {0, 1, 2, 3})
        cpus.work({0, 1, 2, 3}, 200)
        self.assertEqual(self.set_vcpus(guest, 4, 2), ["", ""])
        self.wait_cpus(cpus, {0, 1})

        self.check_refusal(guest, cpus)
        self.check_late(guest, cpus)
        self.check_disk(guest)

    def warnings(self):
        """What the pristine QEMU writes about options that a guest without hot-plug has, too."""
        return tuple(re.escape(line) + "$"
                     for line in self.assert_same_start(self.with_hotplug(1)))

    def check_refusal(self, guest, cpus):
        """Linux keeps its last online CPU. QEMU says so at once, and Proxmox waits for nothing."""
        guest.check(f"echo 0 > {SYSFS}/cpu0/online")
        guest.events()
        with self.assertRaisesRegex(GivenUp, "error unplugging cpu2"):
            self.set_vcpus(guest, 2, 1)
        event = guest.event(("DEVICE_UNPLUG_GUEST_ERROR", "DEVICE_DELETED"))
        self.assertEqual((event["event"], event["data"]["device"]),
                         ("DEVICE_UNPLUG_GUEST_ERROR", "cpu2"))
        guest.check(f"echo 1 > {SYSFS}/cpu0/online")
        self.wait_cpus(cpus, {0, 1})
        # The configuration still says two, and that is right.
        self.assertEqual(self.running(guest), 2)

    def check_late(self, guest, cpus):
        """A guest that answers after Proxmox has given up: its configuration is wrong then, and
        right again after the next request."""
        guest.qmp("stop")
        with self.assertRaisesRegex(GivenUp, "error unplugging cpu2"):
            self.set_vcpus(guest, 2, 1, checks=2)
        guest.qmp("cont")
        cpus.wait_deleted("cpu2", clientcase.PLUG_SECONDS)
        self.wait_cpus(cpus, {0})
        with self.assertRaisesRegex(GivenUp, "does not match its configuration"):
            self.set_vcpus(guest, 2, 3)
        answer, = self.set_vcpus(guest, 2, 1)
        self.assertRegex(answer, "^Error: Device 'cpu2' not found")
        self.assertEqual(self.set_vcpus(guest, 1, 2), [""])
        self.bring_online(cpus, 1)
        self.wait_cpus(cpus, {0, 1})

    def devices(self, guest):
        """What Proxmox looks at to know whether a disk is there: vm_devices_list."""
        self.ask(guest, QUICK, "query-pci")
        found = self.ask(guest, QUICK, "query-block")
        self.ask(guest, QUICK, "query-mice")
        self.ask(guest, QUICK, "qom-list", {"path": "/machine/peripheral"})
        return {block.get("qdev", "") for block in found}

    def check_disk(self, guest):
        """A SCSI disk comes and goes: vm_deviceplug and vm_deviceunplug, QemuServer.pm."""
        path = self.folder() / "vm-8006-disk-0.raw"
        path.write_bytes(DISK)
        guest.check(f"modprobe -a {' '.join(DRIVERS)}")
        group = "throttle-drive-scsi0"
        # attach, QemuServer/Blockdev.pm:594, which first removes what may be left.
        self.assert_refused("not found", self.ask, guest, PATIENT, "object-del", {"id": group})
        self.ask(guest, PATIENT, "object-add", {"id": group, "limits": {},
                                                "qom-type": "throttle-group"})
        cache = {"direct": False, "no-flush": False}
        self.ask(guest, PATIENT, "blockdev-add", {
            "driver": "throttle", "node-name": "drive-scsi0", "read-only": False,
            "throttle-group": group, "detect-zeroes": "on", "discard": "ignore", "file": {
                "driver": "raw", "node-name": "fcd04be4259153b8293415fefa2a84c", "cache": cache,
                "read-only": False, "file": {
                    "driver": "file", "node-name": "ecd04be4259153b8293415fefa2a84c",
                    "cache": cache, "read-only": False, "filename": str(path)}}})
        self.assertEqual(self.hmp(guest, "device_add driver=scsi-hd,bus=scsihw0.0,channel=0,"
                                  "scsi-id=0,lun=0,drive=drive-scsi0,id=scsi0,"
                                  "device_id=drive-scsi0,write-cache=on"), "")
        self.assertTrue(self.poll(DEVICE_CHECKS, 1, lambda: "scsi0" in self.devices(guest)))
        guest.wait_for(lambda: guest.run("md5sum /dev/sda")[0] == 0, "the disk in the guest",
                       clientcase.PLUG_SECONDS)
        self.assertEqual(guest.check("md5sum < /dev/sda").split()[0],
                         hashlib.md5(DISK).hexdigest())

        self.assertEqual(self.hmp(guest, "device_del scsi0"), "")
        self.assertTrue(self.poll(DEVICE_CHECKS, 1, lambda: "scsi0" not in self.devices(guest)))
        # detach, QemuServer/Blockdev.pm:665.
        nodes = {node["node-name"] for node in self.ask(guest, QUICK, "query-named-block-nodes")}
        self.assertIn("drive-scsi0", nodes)
        self.ask(guest, PATIENT, "blockdev-del", {"node-name": "drive-scsi0"})
        self.ask(guest, PATIENT, "object-del", {"id": group})


if __name__ == "__main__":
    clientcase.main()
