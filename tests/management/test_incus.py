#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Incus: what it asks when its daemon starts, how it starts a guest, and how it changes one.

Read in lxc/incus be7afc5df39f of 2026-08-22, internal/server/instance/drivers: driver_qemu.go,
driver_qemu_templates.go, driver_qemu_bus.go and qmp/commands.go. Left out are the sandbox, 9p and
SPICE, which a build of QEMU may lack, and vsock.
"""

import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import clientcase  # noqa: E402
import guestcase  # noqa: E402
from workbench.guest import assets, modules  # noqa: E402
from workbench.guest.qemu import FACTOR, Qemu  # noqa: E402

# Seconds that Incus waits for an answer: qmp/qmp.go:269.
PATIENT, QUICK = 30, 0.5
MAXCPUS = 8             # that of a host with eight CPUs: driver_qemu_machine.go:205
# Of guests for which hot-plug is not possible: how they differ, and how QEMU refuses to add a vCPU.
NOT_POSSIBLE = {
    "GICv2": ({"machine": {"gic-version": "2"}},
              r"^CPU hotplug is not available on this machine: it needs a GICv3 or GICv4, not a "
              r"GICv2; use 'gic-version=3'$"),
    "-kernel in raw.qemu": ({"firmware": False},
                            r"^CPU hotplug is not available on this machine: it needs UEFI "
                            r"firmware, to pass ACPI tables to the guest; use -bios, or pflash$"),
    "cpu-hotplug=off in raw.qemu": ({"machine": {"cpu-hotplug": "off"}},
                                    r"^CPU hotplug is not available on this machine: it is off, by "
                                    r"the machine property 'cpu-hotplug' "),
    # The version that a stateful guest was stored with.
    "virt-11.1": ({"machine": {"type": "virt-11.1"}},
                  r"^machine does not support hot-plugging CPUs$"),
}


def port(number):
    """The section of root port NUMBER: driver_qemu_templates.go:319 and driver_qemu_bus.go:36."""
    slot, function = divmod(number, 8)
    options = {"addr": f"{slot + 1:x}.{function}", "bus": "pcie.0", "chassis": number,
               "driver": "pcie-root-port"}
    if function == 0:
        options["multifunction"] = "on"
    return f'device "qemu_pcie{number}"', options


def device(name, driver, bus, function, **options):
    """The section of a device behind a port. The first function says that there may be others."""
    several = {"multifunction": "on"} if (bus, function) == (0, 0) else {}
    return f'device "{name}"', {"addr": f"00.{function}", "bus": f"qemu_pcie{bus}",
                                "driver": driver, **several, **options}


class IncusCase(clientcase.ClientCase):
    """A test that does what Incus does."""

    # --- when its daemon starts ----------------------------------------------------------------

    def probe(self, binary):
        """The features that Incus finds: checkFeatures, driver_qemu.go:10711."""
        folder = self.folder()
        (folder / "blank").touch()
        asked = {
            "io_uring": ("blockdev-add", {"node-name": "incus_feature-check", "driver": "file",
                                          "filename": str(folder / "blank"), "aio": "io_uring"}),
            "cpu_hotplug": ("query-hotpluggable-cpus", {}),
            "spice": ("query-spice", {}),
            "plan9": ("device-list-properties", {"typename": "virtio-9p-pci"}),
            "virtio-sound": ("device-list-properties", {"typename": "virtio-sound-pci"}),
            "virtio-vga": ("device-list-properties", {"typename": "virtio-vga"}),
        }
        features = set()
        with Qemu([binary, "-S", "-nographic", "-nodefaults", "-no-user-config",
                   "-chardev", f"socket,id=monitor,path={folder}/monitor,server=on,wait=off",
                   "-qmp", "chardev:monitor", "-machine", "virt",
                   "-drive", f"if=pflash,format=raw,readonly=on,file={assets.firmware().code}"],
                  f"{self.id()} {binary}") as qemu:
            for feature, (command, arguments) in asked.items():
                try:
                    self.ask(qemu, QUICK, command, arguments)
                except guestcase.Refused:
                    continue
                features.add(feature)
        return features

    # --- when a guest starts -------------------------------------------------------------------

    def sections(self, folder, smp, machine, firmware):
        """The file for -readconfig: generateQemuConfig, driver_qemu.go:4040.

        MACHINE changes options of the machine. Without FIRMWARE it is as with -kernel in raw.qemu.
        """
        found = [
            ("machine", {"accel": "tcg", "gic-version": "max", "graphics": "off",
                         "memory-backend": "mach-virt.ram", "type": "virt", "usb": "off",
                         **machine}),
            ("boot-opts", {"strict": "on"}),
            ("memory", {"maxmem": "1024M", "size": "512M", "slots": 8}),
            ("smp-opts", smp),
            ('object "mach-virt.ram"', {"qom-type": "memory-backend-memfd", "share": "on",
                                        "size": "512M"}),
        ]
        if firmware:
            code, variables = clientcase.flash(folder)
            found += [("drive", {"file": code, "format": "raw", "if": "pflash", "readonly": "on",
                                 "unit": 0}),
                      ("drive", {"file": variables, "format": "raw", "if": "pflash", "unit": 1})]
        return found + [
            ('chardev "monitor"', {"backend": "socket", "path": folder / "qemu.monitor",
                                   "server": "on", "wait": "off"}),
            ('device "qemu_vmcoreinfo"', {"driver": "vmcoreinfo"}),
            port(0),
            device("qemu_balloon", "virtio-balloon-pci", 0, 0),
            ('object "qemu_rng"', {"filename": "/dev/urandom", "qom-type": "rng-random"}),
            device("dev-qemu_rng", "virtio-rng-pci", 0, 1, rng="qemu_rng"),
            device("qemu_keyboard", "virtio-keyboard-pci", 0, 2),
            device("qemu_tablet", "virtio-tablet-pci", 0, 3),
            # Function 4 is vsock's.
            device("dev-qemu_serial", "virtio-serial-pci", 0, 5),
            ('chardev "qemu_serial-chardev"', {"backend": "ringbuf", "size": "16384B"}),
            ('device "qemu_serial"', {"bus": "dev-qemu_serial.0", "chardev": "qemu_serial-chardev",
                                      "driver": "virtserialport",
                                      "name": "org.linuxcontainers.incus"}),
            ('device "qemu_serial_legacy"', {"bus": "dev-qemu_serial.0",
                                             "driver": "virtserialport",
                                             "name": "org.linuxcontainers.lxd"}),
            device("qemu_usb", "qemu-xhci", 0, 6, p2=8, p3=8),
            ('audiodev "qemu_sound-audiodev"', {"driver": "none"}),
            device("qemu_sound", "virtio-sound-pci", 0, 7, audiodev="qemu_sound-audiodev"),
            port(1),
            device("qemu_scsi", "virtio-scsi-pci", 1, 0, num_queues=MAXCPUS),
            port(2),
            device("qemu_gpu", "virtio-gpu-pci", 2, 0),
            # Spare ones.
            *(port(number) for number in range(3, 11)),
        ]

    def command(self, smp, machine=None, firmware=True, **changes):
        """The Sent of a guest: driver_qemu.go:1854. CHANGES are fields of it."""
        folder = self.folder()
        conf = clientcase.readconfig(folder / "qemu.conf", self.sections(
            folder, smp, machine or {}, firmware))
        # -daemonize is left out: the process is the test's.
        return clientcase.Sent(
            qemu=self.patched, own_serial=True, kernel=assets.kernel(),
            initrd=modules.initrd("virtio_net"), **changes, words=[
                "-S", "-name", "guest", "-uuid", "2a7e5a0b-9ad4-4a3a-8c4e-6d2a4a1b7d10",
                "-cpu", clientcase.CPU, "-nographic", "-serial", "chardev:console",
                "-qmp", "chardev:monitor", "-nodefaults", "-no-user-config", "-readconfig", conf,
                "-pidfile", folder / "qemu.pid", "-D", folder / "qemu.log",
                "-smbios", "type=2,manufacturer=LinuxContainers,product=Incus"])

    def command_for(self, features, limit, **changes):
        """The Sent of a guest with limits.cpu=LIMIT: getCPUOpts, driver_qemu.go:4581.

        It depends on the FEATURES of probe(). CHANGES are arguments of command().
        """
        cpus = 1 if "cpu_hotplug" in features else limit
        return self.command({"cpus": cpus, "maxcpus": MAXCPUS}, **changes)

    def bring_up(self, guest, features, limit):
        """From the first request to the start of the guest: driver_qemu.go:2191 to 2310."""
        if "cpu_hotplug" in features and limit > 1:
            self.set_cpus(guest, limit)
        self.ask(guest, PATIENT, "system_reset")
        self.ask(guest, QUICK, "set-action", {"shutdown": "poweroff", "reboot": "reset",
                                              "panic": "exit-failure"})
        self.ask(guest, PATIENT, "cont")

    # --- when limits.cpu is set ----------------------------------------------------------------

    def set_cpus(self, guest, count):
        """setCPUs, driver_qemu.go:11147. Returns the ids of the devices, as sent."""
        slots = self.ask(guest, QUICK, "query-hotpluggable-cpus")
        free = [slot for slot in slots if "qom-path" not in slot]
        plugged = [slot for slot in slots
                   if slot.get("qom-path", "").startswith("/machine/peripheral")]
        there = len(plugged) + 1
        sent = []
        for slot in free[:max(count - there, 0)]:
            props = slot["props"]
            sent.append(f"cpu{props['socket-id']}{props['core-id']}{props['thread-id']}")
            self.ask(guest, PATIENT, "device_add", {
                "id": sent[-1], "driver": slot["type"], "core-id": props["core-id"],
                "socket-id": props["socket-id"], "thread-id": props["thread-id"]})
        for slot in plugged[:max(there - count, 0)]:
            sent.append(slot["qom-path"].rpartition("/")[2])
            self.ask(guest, PATIENT, "device_del", {"id": sent[-1]})
        if there > count:
            time.sleep(FACTOR)
        if there != count:
            # To pin their threads.
            self.ask(guest, QUICK, "query-cpus-fast")
        return sent


class Probe(IncusCase):

    def test_features(self):
        """Incus finds with the patched QEMU what it finds with the pristine one, and hot-plug."""
        pristine, patched = self.probe(self.pristine), self.probe(self.patched)
        self.assertNotIn("cpu_hotplug", pristine)
        self.assertEqual(patched, pristine | {"cpu_hotplug"})


class Start(IncusCase):
    """Guests that Incus starts: those that start with the pristine QEMU start with ours, with one
    difference."""

    features = {"cpu_hotplug"}

    def test_not_by_hotplug(self):
        """Guests whose CPUs are all given to -smp: pinned, with a topology, without the feature."""
        fixed = {"cpus": 4, "sockets": 1, "cores": 4, "threads": 1}
        for smp in (fixed, {"cpus": 3, "maxcpus": MAXCPUS}, {"cpus": 1, "maxcpus": MAXCPUS}):
            for machine in ({}, {"gic-version": "2"}, {"type": "virt-11.1"}):
                with self.subTest(smp=smp, machine=machine):
                    self.assert_same_start(self.command(smp, machine))

    def test_where_hotplug_is_impossible(self):
        """The one difference: Incus takes the answer to its probe for each guest, and such a guest
        does not start if it has several vCPUs. Without the probe's answer it does, as with the
        pristine QEMU, and so does one with one vCPU."""
        for number, (name, (changes, message)) in enumerate(NOT_POSSIBLE.items()):
            with self.subTest(name):
                if "cpu-hotplug" not in changes.get("machine", {}):
                    self.assert_same_start(self.command_for(set(), 3, **changes))
                    self.assert_same_start(self.command_for(self.features, 1, **changes))
                guest, _ = self.start(self.command_for(self.features, 3, **changes), f".{number}")
                self.assert_refused(message, self.bring_up, guest, self.features, 3)
                # Incus ends it.
                guest.close()
                guest, _ = self.start(self.command_for(self.features, 1, **changes), f".{number}")
                self.bring_up(guest, self.features, 1)
                self.assertEqual(guest.qmp("query-status")["status"], "running")
                guest.close()


class Life(IncusCase):
    """A guest in which hot-plug is possible."""

    def test_cpus_and_network(self):
        """vCPUs added before the guest runs, then more, then fewer; a network card and back."""
        features = self.probe(self.patched)
        guest, cpus = self.start_client(self.command_for(features, 3))
        self.bring_up(guest, features, 3)
        guest.wait_ready(clientcase.BOOT_SECONDS)
        # The list begins with the highest slot.
        self.assert_cpus(cpus, {0, 6, 7})

        self.assertEqual(self.set_cpus(guest, 5), ["cpu050", "cpu040"])
        self.bring_online(cpus, 4, 5)
        self.wait_cpus(cpus, {0, 4, 5, 6, 7})
        self.assertEqual(self.set_cpus(guest, 5), [])
        cpus.work({0, 4, 5, 6, 7}, 200)

        removed = self.set_cpus(guest, 2)
        self.assertEqual(removed, ["cpu070", "cpu060", "cpu050"])
        # Incus does not wait for them.
        self.wait_gone(guest, *removed)
        self.wait_cpus(cpus, {0, 4})
        self.assertEqual(self.set_cpus(guest, 3), ["cpu070"])
        self.bring_online(cpus, 7)
        self.wait_cpus(cpus, {0, 4, 7})

        self.check_network(guest)

    def free_port(self, guest):
        """The first free port: getPCIHotplug, driver_qemu.go:3044."""
        for found in self.ask(guest, QUICK, "query-pci")[0]["devices"]:
            if (found["qdev_id"] not in ("", "qemu_iommu")
                    and not found.get("pci_bridge", {}).get("devices")):
                return found["qdev_id"]
        self.fail("query-pci shows no free port")
        return None

    def pci_ids(self, guest):
        """The ids of all PCI devices, as query-pci has them."""
        return {behind["qdev_id"] for found in self.ask(guest, QUICK, "query-pci")[0]["devices"]
                for behind in found.get("pci_bridge", {}).get("devices", ())}

    def check_network(self, guest):
        """A card is attached, used and detached: driver_qemu.go:2982, 3228 and 5503."""
        bus = self.free_port(guest)
        self.assertEqual(bus, "qemu_pcie3")
        guest.check("modprobe virtio_net")
        queues = max(len(self.ask(guest, QUICK, "query-cpus-fast")), 2)
        # In place of a tap.
        self.ask(guest, QUICK, "netdev_add", {"id": "incus_eth0", "type": "user"})
        self.ask(guest, PATIENT, "device_add", {
            "id": "dev-incus_eth0", "bus": bus, "addr": "00.0", "driver": "virtio-net-pci",
            "mq": True, "vectors": 2 * queues + 2, "netdev": "incus_eth0",
            "mac": "10:66:6a:00:00:01"})
        guest.wait_for(lambda: guest.run("ip link set eth0 up")[0] == 0, "the network card",
                       clientcase.PLUG_SECONDS)
        guest.check("ip address add 10.0.2.15/24 dev eth0; ping -c 1 -W 20 10.0.2.2", 60)

        self.ask(guest, PATIENT, "device_del", {"id": "dev-incus_eth0"})
        self.ask(guest, QUICK, "netdev_del", {"id": "incus_eth0"})
        # Ten seconds, every other one.
        self.assertTrue(self.poll(6, 2, lambda: "dev-incus_eth0" not in self.pci_ids(guest)),
                        f"the card is still there; {guest.last_words()}")
        self.assertNotEqual(guest.run("ls -d /sys/class/net/eth0")[0], 0)
        self.assertEqual(self.free_port(guest), bus)


if __name__ == "__main__":
    clientcase.main()
