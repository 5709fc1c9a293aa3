#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""The report on a host, with hosts that are folders, and with the built QEMU."""

import errno
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import fake
from workbench import (hostcpu, hostdevices, hostkvm, hostqemu, hostreport, hosttext, paths, tools)
from workbench.hostsysfs import Tree, members

CPU = "/sys/devices/system/cpu"
NODE = "/sys/devices/system/node"
PCI = "/sys/bus/pci/devices"
COMMAND = fake.TOP / "scripts" / "host-report"
LIMITS = "Limit      Soft Limit  Hard Limit  Units\nMax locked memory  {}  {}  bytes\n"
IDS = """# comment
15b3  Mellanox Technologies
\t1019  MT28800 Family [ConnectX-5 Ex]
\t\t15b3 0008  a subsystem
144d  Samsung Electronics Co Ltd
\ta80a  NVMe SSD Controller PM9A1
C 01  Mass storage controller
\t08  not a device
"""


def smbios(name, mhz, populated=True):
    """A structure of SMBIOS type 4 with its strings."""
    fields = bytearray(0x30)
    fields[0:2] = 4, len(fields)
    fields[0x10] = 2
    fields[0x14:0x16] = struct.pack("<H", mhz)
    fields[0x18] = 0x41 if populated else 0
    return bytes(fields) + b"CPU 0\0" + name.encode() + b"\0\0"


class Host:
    """A folder that looks like a host's files."""

    def __init__(self, folder, arch, cpus, nodes=1):
        self.root = Path(folder)
        self.file("/proc/sys/kernel/arch", arch)
        self.file("/proc/sys/kernel/osrelease", "6.12.41")
        self.file("/proc/self/limits", LIMITS.format(8 << 20, "unlimited"))
        self.file("/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n")
        for name in ("online", "possible"):
            self.file(f"{CPU}/{name}", f"0-{cpus - 1}")
        for cpu in range(cpus):
            self.file(f"{CPU}/cpu{cpu}/topology/thread_siblings_list", cpu)
            self.file(f"{CPU}/cpu{cpu}/topology/physical_package_id", cpu * nodes // cpus)
            self.file(f"{CPU}/cpu{cpu}/topology/cluster_id", -1)
        for node in range(nodes):
            first, last = node * cpus // nodes, (node + 1) * cpus // nodes - 1
            self.file(f"{NODE}/node{node}/cpulist", f"{first}-{last}")
            self.file(f"{NODE}/node{node}/meminfo", f"Node {node} MemTotal:  134217728 kB\n"
                      f"Node {node} MemFree:   100000000 kB\n")
        self.file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
        (self.root / "sys/kernel/iommu_groups").mkdir(parents=True)

    def file(self, name, content):
        """Make a file with a text, bytes or a number."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())

    def link(self, name, target):
        """Make a relative symbolic link to TARGET, as sysfs has them; both are names."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(self.root / target.lstrip("/"), path.parent))

    def device(self, address, code, ids, driver=None, group=None, vfio_dev=None):
        """Make a PCI device."""
        folder = f"/sys/devices/pci0000:00/{address}"
        self.file(f"{folder}/class", f"0x{code}")
        vendor, device = ids.split(":")
        self.file(f"{folder}/vendor", f"0x{vendor}")
        self.file(f"{folder}/device", f"0x{device}")
        self.link(f"{PCI}/{address}", folder)
        if driver:
            self.link(f"{folder}/driver", f"/sys/bus/pci/drivers/{driver}")
        if vfio_dev:
            self.file(f"{folder}/vfio-dev/{vfio_dev}/dev", "510:0")
        if group is not None:
            self.link(f"{folder}/iommu_group", f"/sys/kernel/iommu_groups/{group}")
            self.link(f"/sys/kernel/iommu_groups/{group}/devices/{address}", folder)

    def huge_pages(self, kib, *nodes):
        """A pool with (total, free) of each node."""
        pool = f"hugepages/hugepages-{kib}kB"
        folders = {"/sys/kernel/mm": [sum(column) for column in zip(*nodes)]}
        folders |= {f"{NODE}/node{node}": pair for node, pair in enumerate(nodes)}
        for folder, (total, free) in folders.items():
            self.file(f"{folder}/{pool}/nr_hugepages", total)
            self.file(f"{folder}/{pool}/free_hugepages", free)


def arm_server(folder):
    """Two sockets, SMMUs, a group that is viable and one that is not, a NIC with SR-IOV."""
    host = Host(folder, "aarch64", 8, nodes=2)
    for cpu in range(8):
        host.file(f"{CPU}/cpu{cpu}/regs/identification/midr_el1", "0x00000000413fd0c1")
        host.file(f"{CPU}/cpu{cpu}/topology/cluster_id", cpu // 2)
        host.file(f"{CPU}/cpu{cpu}/topology/cluster_cpus_list", f"{cpu & ~1}-{cpu | 1}")
    host.file("/sys/firmware/dmi/tables/DMI", b"\x01\x04\0\0\0\0" + smbios("None", 1, False)
              + smbios("Ampere(R) Altra(R) Processor", 3000))
    for address in ("0x000000f0", "0x000000f1"):
        (host.root / f"sys/class/iommu/smmu3.{address}").mkdir(parents=True)
    host.device("0000:00:00.0", "060000", "1def:e100", group=0)
    host.device("0000:00:01.0", "060400", "1def:e101", "pcieport", group=10)
    host.device("0000:01:00.0", "010802", "144d:a80a", group=9)
    host.device("0000:02:00.0", "020000", "15b3:1019", "mlx5_core", group=11)
    for number in range(2):
        host.device(f"0000:02:00.{number + 2}", "020000", "15b3:101a", "vfio-pci",
                    group=12 + number, vfio_dev=f"vfio{number}")
        host.link(f"/sys/devices/pci0000:00/0000:02:00.0/virtfn{number}",
                  f"/sys/devices/pci0000:00/0000:02:00.{number + 2}")
    host.file(f"{PCI}/0000:02:00.0/sriov_totalvfs", 7)
    host.file(f"{PCI}/0000:02:00.0/sriov_numvfs", 2)
    host.device("0000:04:00.0", "0c0330", "1912:0014")
    host.device("0000:03:00.0", "020000", "14e4:1657", "vfio-pci", group=2)
    host.device("0000:03:00.1", "020000", "14e4:1657", "tg3", group=2)
    host.huge_pages(2048, (512, 500), (512, 512))
    host.huge_pages(1048576, (0, 0), (0, 0))
    host.file("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", 65535)
    host.file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N")
    host.file("/sys/module/vfio_pci/refcnt", 0)
    host.file("/sys/module/kvm/refcnt", 0)
    host.file("/dev/vfio/12", "")
    host.file("/dev/vfio/devices/vfio0", "")
    host.file("/usr/share/misc/pci.ids", IDS)
    return host


class HostCase(unittest.TestCase):

    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def report(self, host):
        """What is found, and the text with single spaces, whose width is checked."""
        found = hostreport.collect(host.root)
        json.dumps(found)
        text = hosttext.render(found)
        for line in text.splitlines():
            self.assertLess(len(line), 100, line)
        return found, " ".join(text.split())

    def assertWords(self, text, *words):
        for word in words:
            self.assertIn(word, text)


class ArmServer(HostCase):

    def setUp(self):
        super().setUp()
        self.found, self.text = self.report(arm_server(self.folder))

    def test_cpus(self):
        self.assertEqual(self.found["host"], {
            "arch": "aarch64", "kernel": "6.12.41",
            "cpus": [{"name": "Arm Neoverse-N1 r3p1", "midr": "0x413fd0c1", "cpus": 8}],
            "product": "Ampere(R) Altra(R) Processor",
            "frequency": {"mhz": 3000, "source": "SMBIOS"}})
        self.assertEqual(self.found["topology"], {
            "online": "0-7", "possible": "0-7", "sockets": 2, "clusters": 4, "cores": 8,
            "threads": 8})
        self.assertEqual(self.found["numa"][1], {"node": 1, "cpus": "4-7",
                                                 "memory_kib": 134217728, "free_kib": 100000000})
        self.assertWords(self.text, "Arm Neoverse-N1 r3p1 × 8 (MIDR 0x413fd0c1)", "3000 MHz",
                         "2 sockets, 4 clusters, 8 cores, 8 threads",
                         "node 1 CPUs 4-7; 128 GiB, 95.4 GiB free")

    def test_groups(self):
        """In order of their numbers; a device without driver is no obstacle, a bridge neither."""
        iommu = self.found["iommu"]
        self.assertEqual({unit["kind"] for unit in iommu["units"]}, {"SMMUv3"})
        self.assertEqual([(group["group"], group["viable"]) for group in iommu["groups"]],
                         [(0, True), (2, False), (9, True), (10, True), (11, False), (12, True),
                          (13, True)])
        self.assertEqual(iommu["groups"][1]["blockers"], ["0000:03:00.1"])
        self.assertEqual(iommu["groups"][2]["devices"], [{
            "address": "0000:01:00.0", "class": "0108", "class_name": "NVMe controller",
            "vendor": "144d", "device": "a80a",
            "name": "Samsung Electronics Co Ltd NVMe SSD Controller PM9A1", "driver": None,
            "vfio": False, "blocks": False}])
        self.assertWords(
            self.text, "SMMUv3 × 2", "only bridges in groups 0, 10",
            "group 2 not viable: 0000:03:00.1 (tg3) still uses a host driver",
            "group 9 viable, but nothing is on VFIO yet", "group 12 viable, ready for a guest",
            "0000:01:00.0 - NVMe controller 144d:a80a Samsung", "no group no IOMMU serves these",
            "0000:04:00.0 - USB controller 1912:0014", "/driver_override")
        self.assertEqual([device["address"] for device in iommu["ungrouped"]], ["0000:04:00.0"])

    def test_sriov(self):
        nic = self.found["sriov"][0]
        self.assertEqual((nic["vfs"], nic["vfs_possible"]), (2, 7))
        self.assertEqual(nic["device"]["driver"], "mlx5_core")
        self.assertEqual(nic["functions"], [
            {"address": f"0000:02:00.{number + 2}", "driver": "vfio-pci", "group": 12 + number}
            for number in range(2)])
        self.assertWords(self.text, "2 of 7 VFs in use", "0000:02:00.3 vfio-pci group 13")
        self.assertNotIn("sriov_numvfs", self.text)

    def test_memory(self):
        self.assertEqual(self.found["huge_pages"][0], {
            "size_kib": 2048, "total": 1024, "free": 1012,
            "nodes": [{"node": 0, "total": 512, "free": 500},
                      {"node": 1, "total": 512, "free": 512}]})
        self.assertEqual(self.found["transparent_huge_pages"], "madvise")
        self.assertEqual(self.found["locked_memory"], {"soft_kib": 8192, "hard_kib": None,
                                                       "exempt": False})
        self.assertEqual(self.found["vfio"], {
            "modules": ["vfio_iommu_type1", "vfio_pci"], "dma_entry_limit": 65535,
            "allow_unsafe_interrupts": False,
            "nodes": [{"path": "/dev/vfio/12", "usable": True},
                      {"path": "/dev/vfio/devices/vfio0", "usable": True}]})
        self.assertWords(
            self.text, "1024, 1012 free (node 0: 512, 500 free, node 1: 512, 512 free)",
            "pages of 1 GiB 0, 0 free", "8 MiB, may be raised without limit; with VFIO it must be",
            "up to 65535 (dma_entry_limit)")

    def test_not_asked(self):
        """Of another host's files neither KVM nor QEMU is asked, and the report says so."""
        self.assertIsNone(self.found["kvm"]["usable"])
        self.assertIsNone(self.found["qemu"]["binary"])
        self.assertEqual({item["what"] for item in self.found["unseen"]},
                         {"KVM", "what QEMU can do", "GIC versions of KVM"})
        self.assertWords(self.text, "no answer not asked: --qemu FILE", "SMCCC filter unknown")


class OtherHosts(HostCase):

    def test_no_iommu(self):
        host = Host(self.folder, "aarch64", 2)
        host.device("0000:00:01.0", "010601", "1b4b:9235", "ahci")
        found, text = self.report(host)
        iommu = found["iommu"]
        self.assertEqual((iommu["units"], iommu["groups"]), ([], []))
        self.assertEqual([device["driver"] for device in iommu["ungrouped"]], ["ahci"])
        self.assertNotIn("no group", text)
        self.assertEqual(found["sriov"], [])
        self.assertEqual(found["vfio"]["nodes"], [])
        self.assertWords(text, "there is no SMMU, or it is off in firmware or kernel",
                         "no device has it", "neither /dev/vfio nor /dev/iommu",
                         "limits of vfio_iommu_type1: the module is not loaded",
                         "nominal frequency of the CPUs: neither cpufreq")

    def test_x86(self):
        host = Host(self.folder, "x86_64", 4)
        host.file("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Xeon 1\n\n" * 4)
        host.file(f"{CPU}/cpu0/cpufreq/base_frequency", 2100000)
        host.file(f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq", 3900000)
        host.file("/sys/module/kvm_intel/parameters/nested", "Y")
        (host.root / "sys/class/iommu/dmar0").mkdir(parents=True)
        for cpu in range(4):
            host.file(f"{CPU}/cpu{cpu}/topology/thread_siblings_list", f"{cpu & 1},{cpu & 1 | 2}")
            host.file(f"{CPU}/cpu{cpu}/topology/cluster_id", 65535)
        found, text = self.report(host)
        self.assertEqual(found["host"]["cpus"], [{"name": "Xeon 1", "midr": None, "cpus": 4}])
        self.assertEqual(found["host"]["frequency"]["mhz"], 2100)
        self.assertIs(found["kvm"]["nested"], True)
        self.assertIsNone(found["topology"]["clusters"])
        self.assertWords(text, "units Intel VT-d", "1 socket, 2 cores, 4 threads", "nested yes")
        self.assertNotIn("SMCCC", text)

    def test_unreadable(self):
        """What may not be read is said once, for many CPUs as well, and the rest is there."""
        host = arm_server(self.folder)
        read = Path.read_bytes

        def deny(path):
            if path.name in ("DMI", "midr_el1", "dma_entry_limit", "meminfo"):
                raise PermissionError(errno.EACCES, "Permission denied")
            return read(path)

        with mock.patch.object(Path, "read_bytes", deny):
            found, text = self.report(host)
        unseen = {item["what"]: item["why"] for item in found["unseen"]}
        for what in ("/sys/firmware/dmi/tables/DMI", f"{CPU}/cpu*/regs/identification/midr_el1",
                     f"{NODE}/node*/meminfo",
                     "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"):
            self.assertEqual(unseen.get(what), "Permission denied; root may read it", what)
        self.assertIn("SMBIOS may not be read", unseen["nominal frequency of the CPUs"])
        self.assertIsNone(found["host"]["frequency"])
        self.assertIsNone(found["numa"][0]["memory_kib"])
        self.assertEqual(len(found["iommu"]["groups"]), 7)
        self.assertWords(text, "CPU unknown", "VFIO mappings unknown", "node 0 CPUs 0-3; unknown")

    def test_nothing(self):
        """An empty folder is a host of which nothing is known."""
        found, text = self.report(type("Empty", (), {"root": self.folder}))
        self.assertEqual(found["host"]["cpus"], [])
        self.assertGreater(len(found["unseen"]), 8)
        self.assertWords(text, "architecture unknown", "IOMMU groups: the kernel has no /sys")


class Rules(HostCase):

    def test_blockers(self):
        """As hw/vfio/host-device.c of the series decides."""
        host = Host(self.folder, "aarch64", 1)
        cases = {
            "0000:00:00.0": (("020000", "1:1", None), False, False),
            "0000:00:00.1": (("020000", "1:1", "igb"), True, False),
            "0000:00:00.2": (("020000", "1:1", "pci-stub"), False, False),
            "0000:00:00.3": (("060400", "1:1", "pcieport"), False, False),
            "0000:00:00.4": (("060100", "1:1", "lpc_ich"), True, False),
            "0000:00:00.5": (("020000", "1:1", "mlx5_vfio_pci"), False, True),
            "0000:00:00.6": (("020000", "1:1", "nvgrace_gpu"), True, False),
        }
        tree = Tree(host.root)
        names = hostdevices.PciNames(tree)
        for address, (arguments, blocks, vfio) in cases.items():
            host.device(address, *arguments)
            device = hostdevices.describe(tree, f"{PCI}/{address}", names)
            self.assertEqual((device["blocks"], device["vfio"]), (blocks, vfio), arguments)
        host.device("0000:00:00.7", "020000", "1:1", "nvgrace_gpu", vfio_dev="vfio0")
        device = hostdevices.describe(tree, f"{PCI}/0000:00:00.7", names)
        self.assertEqual((device["blocks"], device["vfio"]), (False, True))

    def test_platform_device(self):
        """A device that is not PCI's has an address and a driver."""
        host = Host(self.folder, "aarch64", 1)
        folder = "/sys/devices/platform/ARMH0061:00"
        host.file(f"{folder}/uevent", "")
        host.link(f"{folder}/driver", "/sys/bus/amba/drivers/pl061_gpio")
        host.link("/sys/kernel/iommu_groups/0/devices/ARMH0061:00", folder)
        found, text = self.report(host)
        device = found["iommu"]["groups"][0]["devices"][0]
        self.assertEqual((device["class"], device["driver"], device["blocks"]),
                         (None, "pl061_gpio", True))
        self.assertWords(text, "ARMH0061:00 (pl061_gpio) still uses a host driver")

    def test_midr(self):
        for midr, name in ((0x410fd4f1, "Arm Neoverse-V2 r0p1"), (0xc00fac30, "Ampere Ampere-1"),
                           (0x481fd010, "HiSilicon TSV110"), (0x410ff000, "Arm part 0xf00"),
                           (0x000f0510, "emulated QEMU max r0p0"),
                           (0x7f0f0510, "implementer 0x7f part 0x051")):
            self.assertIn(name, hostcpu.midr_name(midr))

    def test_smbios(self):
        """The module's entries come first, and a table that is cut off does no harm."""
        host = Host(self.folder, "aarch64", 1)
        host.file("/sys/firmware/dmi/tables/DMI", smbios("Cut", 1000)[:-2])
        self.assertEqual(hostcpu.processor(Tree(host.root)), (None, None))
        host.file("/sys/firmware/dmi/entries/4-0/raw", smbios("Whole", 2600))
        self.assertEqual(hostcpu.processor(Tree(host.root)),
                         ("Whole", {"mhz": 2600, "source": "SMBIOS"}))

    def test_lists(self):
        self.assertEqual(members("0-2,8"), [0, 1, 2, 8])
        self.assertEqual(members(""), [])


class Kvm(unittest.TestCase):

    def ask(self, arch, answers, filters=True, opened=None):
        """Ask a KVM that answers to capabilities with ANSWERS."""
        def ioctl(_descriptor, request, argument=0):
            if request == 0xae00:
                return 12
            if request == 0xae01:
                self.assertEqual(argument, answers.get(165, 0))
                return 77
            if request == 0xae03:
                return answers.get(argument, 0)
            self.assertEqual((request, argument), (0x4018aee3, bytes(24)))
            if not filters:
                raise OSError(errno.ENXIO, "no such attribute")
            return 0

        with mock.patch.multiple(hostkvm.os, open=mock.Mock(side_effect=opened, return_value=76),
                                 close=mock.DEFAULT), \
                mock.patch.object(hostkvm.fcntl, "ioctl", ioctl):
            tree = Tree()
            return hostkvm.ask(tree, arch), tree.unseen

    def test_arm(self):
        answers = {9: 128, 66: 512, 165: 48, 240: 1}
        kvm, unseen = self.ask("aarch64", answers)
        self.assertEqual(kvm, {"usable": True, "reason": None, "vcpus_recommended": 128,
                               "vcpus_max": 512, "nested": True, "smccc_filter": True})
        self.assertEqual(unseen, {})
        self.assertIs(self.ask("aarch64", answers, filters=False)[0]["smccc_filter"], False)

    def test_not_usable(self):
        for number, words in ((errno.ENOENT, "EL2"), (errno.ENODEV, "cannot be opened")):
            kvm, unseen = self.ask("aarch64", {}, opened=OSError(number, os.strerror(number)))
            self.assertIs(kvm["usable"], False)
            self.assertIn(words, kvm["reason"])
            self.assertIn("what KVM can do", unseen)
        with mock.patch.object(hostkvm.os, "stat", return_value=mock.Mock(st_mode=0o20660,
                                                                         st_gid=0)):
            kvm, _ = self.ask("aarch64", {}, opened=PermissionError(errno.EACCES, "denied"))
        self.assertIn("mode 0660 and belongs to group root", kvm["reason"])


class Qemu(unittest.TestCase):

    def test_bad_programs(self):
        for program, words in (("/bin/false", "does not answer"), (__file__ + ".none", "No such")):
            answers = hostqemu.ask(program, None, False)
            self.assertIn(words, answers["error"])
            self.assertIsNone(answers["cpu_hotplug"])

    def test_no_library(self):
        with mock.patch.object(hostqemu.tools, "activate"), \
                mock.patch.dict(sys.modules, {"qemu.qmp": None}):
            self.assertIn("python3-qemu-qmp", hostqemu.ask("/bin/true", None, False)["error"])

    def test_texts(self):
        """What a QEMU without the series cannot say is not said to be missing."""
        answers = {**hostqemu.nothing(None), "binary": "q", "version": "10.0.0",
                   "accelerator": "kvm", "cpu_hotplug": {"active": False, "reason": "no"},
                   "cpu_models": {"known": 36, "runnable": None}}
        found = {"qemu": answers, "kvm": {"usable": True}}
        text = dict(hosttext._qemu(found))
        self.assertIn("unknown to this QEMU", text["PCIe root ports"])
        self.assertIn("unknown to this QEMU", text["CPU models"])
        self.assertEqual(text["vCPU hot-plug"], "not active on virt: no")
        answers["cpu_models"] = {"known": 36, "runnable": ["host", "max"]}
        self.assertEqual(dict(hosttext._qemu(found))["CPU models"],
                         "2 of 36 can run: host, max")

    def test_real(self):
        """The built QEMU with TCG, with firmware and without; it ends."""
        if not paths.QEMU_BINARY.exists():
            self.skipTest(f"{paths.QEMU_BINARY} is not built")
        tools.ensure()
        started = []

        def start(*arguments, **options):
            started.append(hostqemu_process(*arguments, **options))
            return started[-1]

        hostqemu_process = hostqemu.Process
        # Any file will do: the machine never runs.
        with tempfile.NamedTemporaryFile() as firmware, \
                mock.patch.object(hostqemu, "Process", start):
            firmware.write(bytes(4096))
            firmware.flush()
            answers = hostqemu.ask(paths.QEMU_BINARY, firmware.name, False)
            without = hostqemu.ask(paths.QEMU_BINARY, None, False)
        self.assertIsNone(answers["error"])
        self.assertEqual(answers["cpu_hotplug"], {"active": True, "reason": None})
        self.assertEqual(answers["max_pcie_root_ports"], 255)
        self.assertIn("max", answers["cpu_models"]["runnable"])
        self.assertRegex(answers["version"], r"^\d+\.\d+\.\d+")
        self.assertIs(without["cpu_hotplug"]["active"], False)
        self.assertRegex(without["cpu_hotplug"]["reason"], "^it needs UEFI firmware")
        self.assertEqual([process.status() is None for process in started], [False, False])


class Command(HostCase):

    def run_command(self, *arguments):
        return subprocess.run([tools.PYTHON, COMMAND, *map(str, arguments)], text=True,
                              capture_output=True, check=False)

    def test_this_machine(self):
        """Text of this machine, whatever it is; nothing but the report is written."""
        done = self.run_command()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        titles = [line for line in done.stdout.splitlines() if line[:1].strip()]
        self.assertEqual(titles, ["Host", "KVM", "QEMU", "CPUs and NUMA", "IOMMU", "SR-IOV",
                                  "Memory and VFIO", "Not seen"])
        self.assertIn(os.uname().release, done.stdout)

    def test_json(self):
        host = arm_server(self.folder)
        done = self.run_command("--json", "--root", host.root)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout), hostreport.collect(host.root))

    def test_usage(self):
        for arguments in (("--qemu", "/none"), ("--firmware", "/none"), ("--root", __file__),
                          ("--what",)):
            done = self.run_command(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(arguments[0], done.stderr)


if __name__ == "__main__":
    fake.main()
