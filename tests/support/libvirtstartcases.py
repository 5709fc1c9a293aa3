# SPDX-License-Identifier: GPL-2.0-or-later
"""What each release of libvirt does with domains whose guests never run. For a LibvirtCase.

As with libvirtcases.py, a class that says otherwise than these expects it of its release.
"""

import json
import re
import xml.etree.ElementTree as ElementTree

import guestcase
import libvirtcase
from libvirtcase import BOOT_SECONDS
from libvirtcases import NO_OPTION, NUMA, REFUSALS, VCPUS, Disk, describe_disk, root_ports


class StartCases(Disk):
    """Domains that are started and do not run."""

    # The same as in LifeCases, whose classes have it from where these have it.
    saves = None
    restores = None
    # Whether a domain can have clusters.
    clusters = True
    removes_later = True

    def test_hotplug_is_not_possible(self):
        """What virsh says where a vCPU cannot be plugged; the domain starts all the same."""
        more = "<vcpu current='2'>4</vcpu>"
        off = ("<qemu:commandline><qemu:arg value='-machine'/><qemu:arg value='cpu-hotplug=off'/>"
               "</qemu:commandline>")
        for name, changes, pattern in (
                ("gicv2", {"gic": 2}, "it needs a GICv3 or GICv4, not a GICv2"),
                ("off", {"extra": off}, "it is off, by the machine property 'cpu-hotplug'"),
                ("released", {"machine": "virt-11.1"}, "cpu hotplug is not supported"),
                ("no-more", {"vcpus": "<vcpu>2</vcpu>"},
                 "greater than max allowable vcpus for the live domain: 3 > 2")):
            with self.subTest(name):
                text = libvirtcase.describe(name, **{"vcpus": more, **changes})
                self.started(text)
                self.refused(pattern, self.daemon, "setvcpus", name, "3", "--live")
                self.assertEqual(self.daemon("vcpucount", name, "--live", "--current"), "2")

    def test_machine_version(self):
        """A new domain gets the new version, and hot-plug with it."""
        name = self.define(libvirtcase.describe("version"))
        self.addCleanup(self.daemon.end, name)
        self.assertEqual(self.daemon.xml(name).find("os/type").get("machine"),
                         "virt-11.1-hotplug")

    def test_ports(self):
        """Domains start with 28, 40 and 100 root ports, and the machine serves them all."""
        for count in (28, 40, 100):
            with self.subTest(count):
                name = self.started(libvirtcase.describe(f"ports-{count}", ports=count))
                ports = root_ports(self.daemon.xml(name))
                self.assertGreaterEqual(len(ports), count)
                for question, answer in (("pcie-root-ports", len(ports)),
                                         ("pcie-root-port-limit", 255)):
                    self.assertEqual(self.daemon("qemu-monitor-command", name, "--hmp",
                                                 f"qom-get /machine {question}"), str(answer))

    def test_no_port(self):
        """libvirt refuses a taken port, one that allows no plug, and more than there are."""
        domain = ElementTree.fromstring(libvirtcase.describe("few-ports", ports=3))
        closed = ElementTree.SubElement(domain.find("devices"), "controller", type="pci",
                                        model="pcie-root-port")
        ElementTree.SubElement(closed, "target", hotplug="off")
        name = self.started(ElementTree.tostring(domain, encoding="unicode"))
        domain = self.daemon.xml(name)
        closed, = [int(controller.get("index")) for controller in domain.findall(
            "devices/controller[@model='pcie-root-port']")
            if controller.find("target").get("hotplug") == "off"]
        ports = [port for port in root_ports(domain) if port != closed]

        def attach(number, bus=None):
            target = f"vd{chr(ord('a') + number)}"
            text = describe_disk(self.image(f"{target}.raw"), bus, target)
            self.daemon("attach-device", name, self.file(f"{target}.xml", text), "--live")

        attach(0, ports[0])
        self.refused("Attempted double use of PCI Address", attach, 1, ports[0])
        self.refused("requires hotplug capability, but the PCI controller with "
                     f"index='{closed}' doesn't support hotplug", attach, 1, closed)
        for number in range(1, len(ports)):
            attach(number)
        self.refused("No more available PCI slots", attach, len(ports))
        self.assertEqual(len(self.daemon.xml(name).findall("devices/disk")), len(ports))

    def test_clusters(self):
        """A topology with clusters, where libvirt has these; otherwise it counts without them."""
        text = libvirtcase.describe("clusters", "<vcpu current='2'>8</vcpu>",
                                    "<topology sockets='2' clusters='2' cores='2' threads='1'/>")
        if not self.clusters:
            self.refused("CPU topology doesn't match maximum vcpu count", self.define, text)
            return
        name = self.started(text)
        self.daemon("setvcpus", name, "8", "--live")
        slots = self.daemon("qemu-monitor-command", name, "--hmp", "info hotpluggable-cpus")
        self.assertEqual(slots.count('cluster-id: "1"'), 4, slots)
        self.assertEqual(slots.count("qom_path"), 8, slots)

    def test_vcpus(self):
        """vCPUs come in any order, and what libvirt itself refuses."""
        name = self.started(libvirtcase.describe("vcpus", VCPUS, NUMA))
        for number in (7, 6):
            self.daemon("setvcpu", name, str(number), "--enable", "--live")
        self.daemon("setvcpus", name, "5", "--live")
        found = {vcpu.get("id"): vcpu.get("order")
                 for vcpu in self.daemon.xml(name).findall("vcpus/vcpu")}
        self.assertEqual([found[key] for key in "01762345"],
                         ["1", "2", "3", "4", "5", None, None, None])
        slots = self.daemon("qemu-monitor-command", name, "--hmp", "info hotpluggable-cpus")
        self.assertEqual(slots.count("qom_path"), 5, slots)
        self.daemon("setvcpus", name, "4", "--config")
        self.assertEqual([self.daemon("vcpucount", name, kind, "--current")
                          for kind in ("--live", "--config")], ["5", "4"])
        for pattern, *words in REFUSALS:
            self.refused(pattern, self.daemon, words[0], name, *words[1:])
        if not self.removes_later:
            self.refused(NO_OPTION + "async", self.daemon, "setvcpus", name, "2", "--live",
                         "--async")

    def test_240(self):
        """239 vCPUs come at once."""
        name = self.started(libvirtcase.describe("many", "<vcpu current='1'>240</vcpu>"))
        self.daemon("setvcpus", name, "240", "--live", seconds=BOOT_SECONDS)
        self.assertEqual(self.daemon("vcpucount", name, "--live", "--current"), "240")
        self.assertEqual(len(set(re.findall(r"thread_id=(\d+)", self.daemon(
            "qemu-monitor-command", name, "--hmp", "info cpus")))), 240)

    def test_migration(self):
        """A domain with an added vCPU moves to another daemon and back, or stays where it was."""
        name = self.started(libvirtcase.describe("moves", "<vcpu current='2'>4</vcpu>"))
        here, there = self.daemon, self.second()
        self.addCleanup(there.end, name)
        here("setvcpus", name, "3", "--live")
        words = ("--live", name, there.uri, "--migrateuri", f"unix://{self.shared}/moves")
        if self.saves:
            self.expect("Failed to peek at channel", "shutting down, reason=crashed")
            self.refused(self.saves, here, "migrate", *words)
            self.assertEqual(here.state(name), "paused")
            return
        here("migrate", *words)
        self.assertEqual((here.state(name), there.state(name)), ("shut off", "paused"))
        self.assertEqual(there("vcpucount", name, "--live", "--current"), "3")
        there("migrate", "--live", "--p2p", name, here.uri, "--migrateuri", "tcp://127.0.0.1")
        self.assertEqual(here("vcpucount", name, "--live", "--current"), "3")

    def test_image_formats(self):
        """Which kinds of saved images can be restored, with vCPUs that were added."""
        name = self.started(libvirtcase.describe("images", "<vcpu current='2'>4</vcpu>"))
        path = self.shared / "image"
        self.addCleanup(path.unlink, missing_ok=True)
        for options, restores in ((["--image-format", "raw"], self.restores),
                                  (["--image-format", "sparse"], None),
                                  (["--image-format", "gzip"], None),
                                  (["--bypass-cache"], None)):
            if self.saves:
                pattern = f"{self.saves}|{NO_OPTION}image-format"
                self.refused(pattern, self.daemon, "save", name, path, *options)
                continue
            with self.subTest(options):
                if self.daemon.state(name) == "shut off":
                    self.daemon("start", name, "--paused")
                self.daemon("setvcpus", name, "3", "--live")
                self.daemon("save", name, path, *options)
                words = ("restore", path, "--paused", *(options if len(options) == 1 else ()))
                if restores:
                    self.refused(restores, self.daemon, *words)
                    continue
                self.daemon(*words)
                self.assertEqual(self.daemon("vcpucount", name, "--live", "--current"), "3")

    def test_models(self):
        """libvirt offers the CPU models that QEMU has, and says as QEMU does which can run."""
        text = self.daemon("domcapabilities", "--emulatorbin", guestcase.QEMU, "--arch", "aarch64",
                           "--machine", "virt", "--virttype", "qemu")
        mode = ElementTree.fromstring(text).find("cpu/mode[@name='custom']")
        self.assertEqual(mode.get("supported"), "yes")
        models = {model.text: model.get("usable") for model in mode.findall("model")}
        name = self.started(libvirtcase.describe("models"))
        answer = json.loads(self.daemon("qemu-monitor-command", name,
                                        '{"execute": "query-cpu-definitions"}'))["return"]
        usable = {True: "yes", False: "no", None: "unknown"}
        self.assertEqual(models, {model["name"]: usable[
            None if "unavailable-features" not in model else not model["unavailable-features"]]
            for model in answer})
        self.assertEqual(models["neoverse-n1"], "yes")
