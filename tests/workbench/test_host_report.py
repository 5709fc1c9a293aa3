#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""The report on a host, with hosts that are folders, and with the built QEMU."""

import ast
import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.hostreport import collect, cpus, devices, kvm  # noqa: E402
from workbench.hostreport import qemu, qmp, render, verdict  # noqa: E402
from workbench.hostreport.sysfs import Tree, members  # noqa: E402
from workbench.system import paths, tools  # noqa: E402

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
    # Max Speed is that of the socket, Current Speed that of the CPU.
    fields[0x14:0x18] = struct.pack("<HH", 4000, mhz)
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

    def device(self, address, code, ids, driver=None, group=None, vfio_dev=None, header=None):
        """Make a PCI device; HEADER is the byte of its configuration space with the type of it."""
        folder = f"/sys/devices/pci0000:00/{address}"
        self.file(f"{folder}/class", f"0x{code}")
        vendor, device = ids.split(":")
        self.file(f"{folder}/vendor", f"0x{vendor}")
        self.file(f"{folder}/device", f"0x{device}")
        self.link(f"{PCI}/{address}", folder)
        if driver:
            self.link(f"{folder}/driver", f"/sys/bus/pci/drivers/{driver}")
        if header is not None:
            self.file(f"{folder}/config", bytes(14) + bytes([header]) + bytes(49))
        if vfio_dev:
            self.file(f"{folder}/vfio-dev/{vfio_dev}/dev", "510:0")
        if group is not None:
            self.link(f"{folder}/iommu_group", f"/sys/kernel/iommu_groups/{group}")
            self.link(f"/sys/kernel/iommu_groups/{group}/devices/{address}", folder)

    def bind(self, address, driver=None):
        """Give a PCI device another driver, or none."""
        folder = self.root / f"sys/devices/pci0000:00/{address}"
        if (folder / "driver").is_symlink():
            (folder / "driver").unlink()
        shutil.rmtree(folder / "vfio-dev", ignore_errors=True)
        if driver:
            self.link(f"/sys/devices/pci0000:00/{address}/driver", f"/sys/bus/pci/drivers/{driver}")

    def block(self, name, parent, **files):
        """Make a disk below PARENT, with FILES such as dev="259:0" and folders of partitions."""
        self.link(f"/sys/block/{name}", f"{parent}/{name}")
        for file, content in files.items():
            self.file(f"{parent}/{name}/{file}", content)

    def process(self, pid, name, *nodes):
        """Make a process that has NODES open."""
        self.file(f"/proc/{pid}/comm", name)
        folder = self.root / f"proc/{pid}/fd"
        folder.mkdir()
        for number, node in enumerate(nodes):
            (folder / str(number)).symlink_to(node)

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
    nic = "/sys/devices/pci0000:00/0000:02:00.0"
    host.file(f"{nic}/numa_node", 1)
    for name, value in (("current_link_speed", "8.0 GT/s PCIe"), ("current_link_width", 8),
                        ("max_link_speed", "16.0 GT/s PCIe"), ("max_link_width", 16)):
        host.file(f"{nic}/{name}", value)
    host.file(f"{nic}/net/enp2s0/flags", "0x1003")
    host.link("/sys/class/net/enp2s0", f"{nic}/net/enp2s0")
    host.file("/sys/devices/virtual/net/lo/flags", "0x9")
    host.link("/sys/class/net/lo", "/sys/devices/virtual/net/lo")
    host.file("/sys/devices/pci0000:00/0000:01:00.0/numa_node", -1)
    host.file("/sys/devices/pci0000:00/0000:01:00.0/modalias", "pci:v0000144Dd0000A80Asv0000144D")
    host.file("/lib/modules/6.12.41/modules.alias",
              "alias vfio_pci:v*d* vfio_pci\nalias pci:v0000144Dd0000A80Asv* nvme\n")
    host.block("nvme0n1", "/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0", dev="259:0")
    host.file("/proc/cmdline", "root=/dev/sda1 quiet")
    host.file("/proc/interrupts", " 30:  1  0  ITS-PCI-MSIX-0000:01:00.0   0 Edge  nvme0q0\n")
    host.file("/proc/self/mountinfo", "22 1 8:2 / / rw shared:1 - ext4 /dev/sda2 rw")
    host.process(1, "systemd", "/dev/null")
    host.process(77, "qemu-system-aar", "/dev/null", "/dev/vfio/vfio", "/dev/vfio/13")
    host.process(78, "sh", "/dev/null")
    host.file("/sys/class/vfio/12/dev", "240:0")
    host.file("/sys/class/vfio-dev/vfio0/dev", "510:0")
    host.file("/dev/vhost-net", "")
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
        found = collect.collect(host.root)
        json.dumps(found)
        text = render.render(found)
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
            "arch": "aarch64", "kernel": "6.12.41", "command_line": "root=/dev/sda1 quiet",
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
            "host_driver": "nvme", "bridge": False, "vfio": False, "blocks": False,
            "numa_node": None, "link": None, "interfaces": [],
            "disks": [{"name": "nvme0n1", "used": []}]}])
        self.assertIs(iommu["msi_isolated"], True)
        self.assertWords(
            self.text, "SMMUv3 × 2", "only bridges in groups 0, 10",
            "group 2 not viable: 0000:03:00.1 (tg3) still uses a host driver",
            "group 9 viable, but nothing is on VFIO yet", "group 12 viable, ready for a guest",
            "0000:01:00.0 - NVMe controller 144d:a80a Samsung", "no group no IOMMU serves these",
            "0000:04:00.0 - USB controller 1912:0014", "/driver_override")
        self.assertEqual([device["address"] for device in iommu["ungrouped"]], ["0000:04:00.0"])

    def test_use(self):
        """What the host does with a device, and where it is."""
        card = self.found["sriov"][0]["device"]
        self.assertEqual(card["link"], {"speed": "8.0 GT/s PCIe", "width": 8,
                                        "max_speed": "16.0 GT/s PCIe", "max_width": 16})
        self.assertEqual((card["numa_node"], card["interfaces"], card["host_driver"]),
                         (1, [{"name": "enp2s0", "used": True}], "mlx5_core"))
        used = {group["group"]: group["used_by"] for group in self.found["iommu"]["groups"]}
        self.assertEqual(used[13], [{"pid": 77, "name": "qemu-system-aar"}])
        self.assertEqual(used[12], [])
        self.assertEqual(self.found["vhost_net"], {"path": "/dev/vhost-net", "usable": True})
        self.assertWords(
            self.text, "node 1; 8.0 GT/s ×8 (at most 16.0 GT/s ×16); enp2s0 (up)",
            "driver of the host: nvme; nvme0n1", "command line root=/dev/sda1 quiet",
            "group 13 in use by process 77 (qemu-system-aar)", "vhost-net usable",
            "interrupts isolated")

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
            "allow_unsafe_interrupts": False, "groups": True,
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
        """As the kernel decides, and hw/vfio/host-device.c of the series for most devices."""
        host = Host(self.folder, "aarch64", 1)
        cases = {
            "0000:00:00.0": (("020000", "1:1", None), False, False),
            "0000:00:00.1": (("020000", "1:1", "igb"), True, False),
            "0000:00:00.2": (("020000", "1:1", "pci-stub"), False, False),
            "0000:00:00.3": (("060400", "1:1", "pcieport"), False, False),
            "0000:00:00.4": (("060100", "1:1", "lpc_ich"), True, False),
            "0000:00:00.5": (("020000", "1:1", "mlx5_vfio_pci"), False, True),
            "0000:00:00.6": (("020000", "1:1", "nvgrace_gpu"), True, False),
            "0000:00:02.0": (("060700", "1:1", None), False, False),
            # Linux 5.19 and newer have one driver that bridges may keep.
            "0000:00:02.1": (("060400", "1:1", "shpchp"), True, False),
            "0000:00:02.2": (("060400", "1:1", "pci-stub"), False, False),
        }
        tree = Tree(host.root)
        facts = devices.Facts(tree, "6.12.41")
        for address, (arguments, blocks, vfio) in cases.items():
            host.device(address, *arguments)
            device = devices.describe(tree, f"{PCI}/{address}", facts)
            self.assertEqual((device["blocks"], device["vfio"]), (blocks, vfio), arguments)
        host.device("0000:00:00.7", "020000", "1:1", "nvgrace_gpu", vfio_dev="vfio0")
        device = devices.describe(tree, f"{PCI}/0000:00:00.7", facts)
        self.assertEqual((device["blocks"], device["vfio"]), (False, True))
        host.device("0000:00:01.0", "060400", "1:1", "pcieport")
        (host.root / "sys/devices/pci0000:00/0000:00:01.0/class").unlink()
        device = devices.describe(tree, f"{PCI}/0000:00:01.0", facts)
        self.assertEqual((device["blocks"], device["class"]), (False, None))

    def test_header_type(self):
        """It tells what is a bridge; the class does so only where the header is not readable."""
        host = Host(self.folder, "x86_64", 1)
        tree = Tree(host.root)
        facts = devices.Facts(tree, "6.12.41")
        cases = (("060400", None, True), ("060400", 0x01, True), ("060400", 0x81, True),
                 ("060400", 0x00, False), ("060400", 0xff, True), ("060700", None, True),
                 ("060700", 0x82, True), ("060900", None, True), ("060100", None, False),
                 ("060100", 0x80, False), ("068000", None, False), ("068000", 0x01, True),
                 ("020000", 0xff, False), ("020000", 0x00, False))
        for number, (code, header, bridge) in enumerate(cases):
            address = f"0000:00:{number:02x}.0"
            host.device(address, code, "1:1", header=header)
            self.assertIs(devices.describe(tree, f"{PCI}/{address}", facts)["bridge"], bridge,
                          (code, header))

    def test_locked_memory(self):
        """CAP_IPC_LOCK counts in the first user namespace only."""
        host = Host(self.folder, "aarch64", 1)
        for capabilities, uids, exempt in (
                ("0000000000000000", "         0          0 4294967295", False),
                ("000001ffffffffff", "         0          0 4294967295", True),
                ("000001ffffffffff", "         0     100000      65536", False),
                ("000001ffffffffff", "         0       1000          1\n"
                 "         1     100000      65536", False),
                ("000001ffffffffff", None, True)):
            host.file("/proc/self/status", f"Name:\tx\nCapEff:\t{capabilities}\n")
            if uids is None:
                (host.root / "proc/self/uid_map").unlink()
            else:
                host.file("/proc/self/uid_map", uids)
            found, text = self.report(host)
            self.assertIs(found["locked_memory"]["exempt"], exempt, (capabilities, uids))
            self.assertEqual("does not count for this user" in text, exempt)

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
            self.assertIn(name, cpus.midr_name(midr))

    def test_smbios(self):
        """The module's entries come first, and a table that is cut off does no harm."""
        host = Host(self.folder, "aarch64", 1)
        host.file("/sys/firmware/dmi/tables/DMI", smbios("Cut", 1000)[:-2])
        self.assertEqual(cpus.processor(Tree(host.root)), (None, None))
        host.file("/sys/firmware/dmi/entries/4-0/raw", smbios("Whole", 2600))
        self.assertEqual(cpus.processor(Tree(host.root)),
                         ("Whole", {"mhz": 2600, "source": "SMBIOS"}))

    def test_lists(self):
        self.assertEqual(members("0-2,8"), [0, 1, 2, 8])
        self.assertEqual(members(""), [])


class Verdict(HostCase):

    def setUp(self):
        super().setUp()
        self.host = arm_server(self.folder)

    def judge(self, address):
        """The verdict, and its text with single spaces."""
        judged = verdict.judge(collect.collect_devices(self.host.root), address)
        json.dumps(judged)
        return judged, " ".join(render.render_verdict(judged).split())

    def refused(self, address, *words):
        judged, text = self.judge(address)
        self.assertEqual(judged["verdict"], "no", text)
        self.assertEqual((judged["bind"], judged["qemu"], judged["libvirt"]), ([], [], None))
        self.assertWords(text, f"{address} cannot be given to a guest.", *words)

    def test_ready(self):
        judged, text = self.judge("0000:02:00.2")
        self.assertEqual((judged["verdict"], judged["bind"], judged["group"]), ("ready", [], 12))
        self.assertEqual(judged["qemu"], [
            "-device", "pcie-root-port,id=port1,chassis=1",
            "-device", "vfio-pci,host=0000:02:00.2,bus=port1"])
        self.assertEqual(judged["libvirt"].splitlines()[2].strip(),
                         "<address domain='0x0000' bus='0x02' slot='0x00' function='0x2'/>")
        # It comes back each time that the functions are made.
        self.assertEqual(judged["boot"], [
            f"echo 0 > {PCI}/0000:02:00.0/sriov_drivers_autoprobe",
            f"echo 2 > {PCI}/0000:02:00.0/sriov_numvfs", "modprobe vfio-pci",
            f"echo vfio-pci > {PCI}/0000:02:00.2/driver_override",
            "echo 0000:02:00.2 > /sys/bus/pci/drivers_probe"])
        self.assertWords(text, "IOMMU group 12: 0000:02:00.2")

    def test_bind(self):
        judged, text = self.judge("0000:01:00.0")
        self.assertEqual(judged["bind"], [
            "modprobe vfio-pci", f"echo vfio-pci > {PCI}/0000:01:00.0/driver_override",
            "echo 0000:01:00.0 > /sys/bus/pci/drivers_probe"])
        self.assertEqual(judged["give_back"], [
            "modprobe nvme", f"echo > {PCI}/0000:01:00.0/driver_override",
            f"echo 0000:01:00.0 > {PCI}/0000:01:00.0/driver/unbind",
            "echo 0000:01:00.0 > /sys/bus/pci/drivers_probe"])
        self.assertEqual(judged["boot"], [
            "driverctl set-override 0000:01:00.0 vfio-pci",
            "# or, without driverctl, for all of that kind (1 device), and then make the initial "
            "RAM disk anew:",
            "echo options vfio-pci ids=144d:a80a >> /etc/modprobe.d/vfio.conf",
            "echo softdep nvme pre: vfio-pci >> /etc/modprobe.d/vfio.conf"])
        self.assertWords(text, "driver of the host: nvme; nvme0n1", "Give it back to the host")

    def test_shared_group(self):
        """What the host uses of the group is bound as well."""
        judged, text = self.judge("0000:03:00.0")
        self.assertEqual((judged["verdict"], judged["addresses"]),
                         ("bind", ["0000:03:00.0", "0000:03:00.1"]))
        self.assertWords(text, "0000:03:00.1 (Ethernet controller, tg3) is in the same IOMMU "
                         "group, and the host loses it as well")
        self.assertEqual(judged["bind"], [
            "modprobe vfio-pci", f"echo vfio-pci > {PCI}/0000:03:00.1/driver_override",
            f"echo 0000:03:00.1 > {PCI}/0000:03:00.1/driver/unbind",
            "echo 0000:03:00.1 > /sys/bus/pci/drivers_probe"])

    def test_shared_group_again(self):
        """Once all of a group is taken, all of it is to be given back, and taken at each start."""
        self.host.bind("0000:03:00.1", "vfio-pci")
        judged, _ = self.judge("0000:03:00.0")
        self.assertEqual((judged["verdict"], judged["bind"]), ("ready", []))
        for address in judged["addresses"]:
            self.assertIn(f"driverctl set-override {address} vfio-pci", judged["boot"])
            self.assertIn(f"echo {address} > {PCI}/{address}/driver/unbind", judged["give_back"])
        # Without driver now, it may have one after the next start.
        self.host.bind("0000:03:00.1")
        self.host.file(f"{PCI}/0000:03:00.1/modalias", "pci:v000014E4d00001657sv")
        self.host.file("/lib/modules/6.12.41/modules.alias", "alias pci:v000014E4d00001657sv* tg3")
        judged, _ = self.judge("0000:03:00.0")
        self.assertEqual(judged["verdict"], "ready")
        self.assertIn("driverctl set-override 0000:03:00.1 vfio-pci", judged["boot"])
        self.assertNotIn("0000:03:00.1", " ".join(judged["give_back"]))

    def chipset(self, code="060100", driver="lpc_ich", header=0x80):
        """A sound device that is on VFIO already, with a bridge in its group."""
        self.host.device("0000:00:1f.0", code, "8086:a30e", driver, group=20, header=header)
        self.host.device("0000:00:1f.3", "040300", "8086:a348", "vfio-pci", group=20, header=0x80)
        self.host.file(f"{PCI}/0000:00:1f.0/modalias", "pci:v00008086d0000A30Esv")
        self.host.file("/lib/modules/6.12.41/modules.alias",
                       f"alias pci:v00008086d0000A30Esv* {driver}")

    def test_bridge_of_host(self):
        """One to ISA keeps its group from VFIO, as any device without a bridge's header."""
        self.chipset()
        judged, text = self.judge("0000:00:1f.3")
        self.assertEqual((judged["verdict"], judged["addresses"]),
                         ("bind", ["0000:00:1f.0", "0000:00:1f.3"]))
        stub = ["modprobe pci-stub", f"echo pci-stub > {PCI}/0000:00:1f.0/driver_override",
                f"echo 0000:00:1f.0 > {PCI}/0000:00:1f.0/driver/unbind",
                "echo 0000:00:1f.0 > /sys/bus/pci/drivers_probe"]
        self.assertEqual(judged["bind"], stub)
        self.assertWords(text, "once all devices of its IOMMU group are taken from the host",
                         "0000:00:1f.0 (ISA bridge, lpc_ich) is in the same IOMMU group",
                         "pci-stub takes the place of its driver")
        found, report = self.report(self.host)
        self.assertEqual([group["blockers"] for group in found["iommu"]["groups"]
                          if group["group"] == 20], [["0000:00:1f.0"]])
        self.assertWords(report, "group 20 not viable: 0000:00:1f.0 (lpc_ich) still uses a host")
        # Both are taken and given back.
        self.host.bind("0000:00:1f.3", "snd_hda_intel")
        judged, _ = self.judge("0000:00:1f.3")
        self.assertEqual(judged["verdict"], "bind")
        self.assertEqual(judged["bind"], [
            "modprobe vfio-pci", *stub, f"echo vfio-pci > {PCI}/0000:00:1f.3/driver_override",
            f"echo 0000:00:1f.3 > {PCI}/0000:00:1f.3/driver/unbind",
            "echo 0000:00:1f.3 > /sys/bus/pci/drivers_probe"])
        self.host.bind("0000:00:1f.3", "vfio-pci")
        self.host.bind("0000:00:1f.0", "pci-stub")
        judged, _ = self.judge("0000:00:1f.3")
        self.assertEqual((judged["verdict"], judged["bind"], judged["reasons"]),
                         ("ready", [], []))
        self.assertEqual(judged["give_back"][:2],
                         ["modprobe lpc_ich", f"echo > {PCI}/0000:00:1f.0/driver_override"])
        self.assertEqual(judged["boot"], [
            "driverctl set-override 0000:00:1f.0 pci-stub",
            "driverctl set-override 0000:00:1f.3 vfio-pci",
            "# or, without driverctl, for all of that kind (2 devices), and then make the initial "
            "RAM disk anew:",
            "echo options vfio-pci ids=8086:a348 >> /etc/modprobe.d/vfio.conf",
            "# (where pci-stub is no module, instead: pci-stub.ids=8086:a30e on the kernel's "
            "command line)",
            "echo options pci-stub ids=8086:a30e >> /etc/modprobe.d/vfio.conf",
            "echo softdep lpc_ich pre: pci-stub >> /etc/modprobe.d/vfio.conf"])
        # Without driver it is no obstacle.
        self.host.bind("0000:00:1f.0")
        judged, _ = self.judge("0000:00:1f.3")
        self.assertEqual((judged["verdict"], judged["reasons"]), ("ready", []))

    def test_bridge_to_cpus(self):
        self.chipset(code="060000", driver="ie31200_edac", header=None)
        judged, text = self.judge("0000:00:1f.3")
        self.assertEqual((judged["verdict"], judged["bind"][0]), ("bind", "modprobe pci-stub"))
        self.assertWords(text, "0000:00:1f.0 (host bridge, ie31200_edac) is in the same")
        # Nothing that can be given away is in a group with these only.
        self.host.device("0000:00:1e.0", "060100", "8086:1", "lpc_ich", group=21)
        self.assertWords(self.report(self.host)[1], "only bridges in groups 0, 10, 21")

    def test_bridge_of_host_itself(self):
        """VFIO has nothing against giving away that one, either."""
        self.chipset()
        judged, text = self.judge("0000:00:1f.0")
        self.assertEqual((judged["verdict"], judged["bind"][:2]), (
            "bind", ["modprobe vfio-pci", f"echo vfio-pci > {PCI}/0000:00:1f.0/driver_override"]))
        self.assertWords(text, "it is a part of the host itself (ISA bridge)")

    def test_bridge_by_class_only(self):
        """Some endpoints have the class of a bridge: an NVSwitch."""
        self.host.device("0000:00:1f.0", "068000", "10de:1af1", "vfio-pci", group=20, header=0)
        self.host.device("0000:00:1f.1", "068000", "10de:1af1", "nvidia", group=21)
        judged, text = self.judge("0000:00:1f.0")
        self.assertEqual((judged["verdict"], judged["addresses"]), ("ready", ["0000:00:1f.0"]))
        self.assertEqual(judged["qemu"][-1], "vfio-pci,host=0000:00:1f.0,bus=port1")
        self.assertEqual(self.judge("0000:00:1f.1")[0]["bind"][1],
                         f"echo vfio-pci > {PCI}/0000:00:1f.1/driver_override")
        self.assertWords(self.report(self.host)[1], "only bridges in groups 0, 10 ",
                         "group 20 viable, ready for a guest", "0000:00:1f.0 vfio-pci bridge")
        self.host.device("0000:00:1f.2", "068000", "1:1", "pcieport", group=22, header=1)
        self.refused("0000:00:1f.2", "it is a bridge to other PCI devices")

    def test_bridge_with_driver(self):
        """Of those for PCI bridges, only pcieport may stay (Linux 5.19 and newer)."""
        self.host.device("0000:00:1e.0", "060400", "1b36:000e", "shpchp", group=20, header=1)
        self.host.device("0000:00:1f.3", "020000", "8086:10d3", "vfio-pci", group=20, header=0)
        judged, text = self.judge("0000:00:1f.3")
        self.assertEqual((judged["verdict"], judged["bind"][:2]), (
            "bind", ["modprobe pci-stub", f"echo pci-stub > {PCI}/0000:00:1e.0/driver_override"]))
        self.assertWords(text, "0000:00:1e.0 (PCI bridge, shpchp) is in the same IOMMU group")
        self.host.bind("0000:00:1e.0", "pci-stub")
        judged, _ = self.judge("0000:00:1f.3")
        self.assertEqual(judged["verdict"], "ready")
        self.assertIn(f"echo > {PCI}/0000:00:1e.0/driver_override", judged["give_back"])
        self.host.bind("0000:00:1e.0", "pcieport")
        judged, _ = self.judge("0000:00:1f.3")
        self.assertEqual((judged["verdict"], judged["addresses"]), ("ready", ["0000:00:1f.3"]))
        self.assertNotIn("0000:00:1e.0", " ".join(judged["give_back"] + judged["boot"]))

    def test_other_bus(self):
        """What is in the group but not PCI's only has to lose its driver."""
        folder = "/sys/devices/platform/ARMH0061:00"
        self.host.link(f"{folder}/driver", "/sys/bus/amba/drivers/pl061_gpio")
        self.host.link("/sys/kernel/iommu_groups/12/devices/ARMH0061:00", folder)
        judged, text = self.judge("0000:02:00.2")
        unbind = ("echo ARMH0061:00 > "
                  "/sys/kernel/iommu_groups/12/devices/ARMH0061:00/driver/unbind")
        self.assertEqual((judged["verdict"], judged["bind"]), ("bind", [unbind]))
        self.assertEqual(judged["boot"][-1], unbind)
        self.assertNotIn("ARMH0061:00", " ".join(judged["give_back"]))
        self.assertWords(text, "ARMH0061:00 (pl061_gpio) is in the same IOMMU group", "not PCI's")

    def test_stub(self):
        """pci-stub keeps a device from the host, but does not give it to anybody."""
        self.host.bind("0000:01:00.0", "pci-stub")
        judged, _ = self.judge("0000:01:00.0")
        self.assertEqual(judged["verdict"], "bind")
        self.assertIn(f"echo 0000:01:00.0 > {PCI}/0000:01:00.0/driver/unbind", judged["bind"])
        self.host.bind("0000:03:00.1", "pci-stub")
        self.assertEqual(self.judge("0000:03:00.0")[0]["verdict"], "ready")

    def test_group_of_card_and_functions(self):
        """Without ACS, functions are in the group of their card, and end with its driver."""
        group = "/sys/kernel/iommu_groups/11"
        for number in (2, 3):
            address = f"0000:02:00.{number}"
            folder = f"/sys/devices/pci0000:00/{address}"
            (self.host.root / folder.lstrip("/") / "iommu_group").unlink()
            self.host.link(f"{folder}/iommu_group", group)
            self.host.link(f"{group}/devices/{address}", folder)
            shutil.rmtree(self.host.root / f"sys/kernel/iommu_groups/{10 + number}")
        self.host.bind("0000:02:00.3", "mlx5_core")
        (self.host.root / "proc/77/fd/2").unlink()
        self.refused("0000:02:00.2", "its physical function 0000:02:00.0 is in the same IOMMU "
                     "group, with the driver mlx5_core, without which it has no virtual functions")
        self.assertNotIn("given away instead", self.judge("0000:02:00.2")[1])
        judged, text = self.judge("0000:02:00.0")
        self.assertEqual(judged["verdict"], "bind")
        self.assertNotIn("given away instead", text)
        self.assertEqual(judged["bind"][1], f"echo 0 > {PCI}/0000:02:00.0/sriov_numvfs")
        for commands in (judged["bind"], judged["give_back"], judged["boot"]):
            self.assertNotIn("0000:02:00.3", " ".join(commands))

    def test_give_back_function(self):
        """A function gets no driver as long as its card says so, which the recipe had made it."""
        judged, _ = self.judge("0000:02:00.2")
        self.assertIn(f"echo 0 > {PCI}/0000:02:00.0/sriov_drivers_autoprobe", judged["boot"])
        self.assertEqual(judged["give_back"], [
            f"echo 1 > {PCI}/0000:02:00.0/sriov_drivers_autoprobe",
            f"echo > {PCI}/0000:02:00.2/driver_override",
            f"echo 0000:02:00.2 > {PCI}/0000:02:00.2/driver/unbind",
            "echo 0000:02:00.2 > /sys/bus/pci/drivers_probe"])
        for address in ("0000:01:00.0", "0000:02:00.0"):
            self.assertNotIn("autoprobe", " ".join(self.judge(address)[0]["give_back"]))

    def unknown(self, address, status, what, *words):
        """The verdict as far as can be seen, and what could not be."""
        judged, text = self.judge(address)
        self.assertEqual(judged["verdict"], status)
        self.assertIn(what, [item["what"] for item in judged["unseen"]])
        self.assertWords(text, ", as far as can be seen.", f"Not seen {what}:", *words)

    def test_unseen_processes(self):
        """A device that is on VFIO may be in use by a process that only root sees."""
        judged, text = self.judge("0000:02:00.2")
        self.assertEqual((judged["reasons"], judged["unseen"]), ([], []))
        self.assertNotIn("Not seen", text)
        iterdir = Path.iterdir

        def deny(path):
            if path.name == "fd":
                raise PermissionError(errno.EACCES, "Permission denied")
            return iterdir(path)

        with mock.patch.object(Path, "iterdir", deny):
            self.unknown("0000:02:00.2", "ready", "/proc/*/fd",
                         "whether a process has it is not known (/proc/*/fd: Permission denied; "
                         "root may read it)")
            # A function of this one is on VFIO.
            self.unknown("0000:02:00.0", "bind", "/proc/*/fd",
                         "whether a process has a virtual function of 0000:02:00.0 is not known")
            # No process can have what is not on VFIO.
            judged, text = self.judge("0000:01:00.0")
            self.assertEqual((judged["reasons"], judged["unseen"]), ([], []))
            found, text = self.report(self.host)
            groups = {group["group"]: group["used_by"] for group in found["iommu"]["groups"]}
            self.assertEqual((groups[12], groups[9]), (None, []))
            self.assertWords(text, "group 12 viable, ready for a guest, if no process has it")
        # Nor are all seen without the first, as with hidepid= or in a copy of some.
        shutil.rmtree(self.host.root / "proc/1")
        self.unknown("0000:02:00.2", "ready", "processes", "not all are in /proc")
        self.refused("0000:02:00.3", "process 77 (qemu-system-aar) has it")

    def test_unseen_outside(self):
        namespace = self.host.root / "proc/self/ns/pid"
        namespace.parent.mkdir()
        namespace.symlink_to("pid:[4026531836]")
        self.assertEqual(self.judge("0000:02:00.2")[0]["unseen"], [])
        namespace.unlink()
        namespace.symlink_to("pid:[4026532001]")
        self.unknown("0000:02:00.2", "ready", "processes", "as in a container")

    def test_unseen_interrupts(self):
        self.host.file("/proc/interrupts", " 24:  1  XT-PIC  x\n")
        self.unknown("0000:02:00.2", "ready", "isolation of interrupts",
                     "whether the interrupts (MSI) of devices are isolated, without which VFIO "
                     "refuses them, is not known (isolation of interrupts: /proc/interrupts does")
        self.host.file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y")
        self.assertEqual(self.judge("0000:02:00.2")[0]["unseen"], [])

    def test_unseen_mounts(self):
        (self.host.root / "proc/self/mountinfo").unlink()
        self.unknown("0000:01:00.0", "bind", "/proc/self/mountinfo",
                     "whether the host uses the disk nvme0n1 of 0000:01:00.0 is not known")
        self.assertEqual(self.judge("0000:02:00.2")[0]["unseen"], [])

    def test_unseen_regions(self):
        """Whatever else of the group cannot be read is named."""
        self.host.file("/sys/kernel/iommu_groups/12/reserved_regions", "")
        read = Path.read_bytes

        def deny(path):
            if path.parts[-2:] == ("12", "reserved_regions"):
                raise PermissionError(errno.EACCES, "Permission denied")
            return read(path)

        with mock.patch.object(Path, "read_bytes", deny):
            self.unknown("0000:02:00.2", "ready", "/sys/kernel/iommu_groups/12/reserved_regions",
                         "whether the firmware wants memory to stay mapped for a device of its "
                         "IOMMU group is not known")
            self.assertEqual(self.judge("0000:01:00.0")[0]["unseen"], [])

    def test_physical_function(self):
        self.refused("0000:02:00.0",
                     "process 77 (qemu-system-aar) has its virtual function 0000:02:00.3")
        (self.host.root / "proc/77/fd/2").unlink()
        judged, text = self.judge("0000:02:00.0")
        self.assertEqual(judged["bind"][1], f"echo 0 > {PCI}/0000:02:00.0/sriov_numvfs")
        self.assertWords(text, "the host uses the interface enp2s0 of 0000:02:00.0, and loses it",
                         "has 2 virtual functions, which end before it can be bound")

    def test_token(self):
        (self.host.root / "sys/devices/pci0000:00/0000:02:00.0/driver").unlink()
        self.host.link("/sys/devices/pci0000:00/0000:02:00.0/driver",
                       "/sys/bus/pci/drivers/vfio-pci")
        self.assertWords(self.judge("0000:02:00.2")[1], "QEMU needs the vf-token")

    def test_refused(self):
        group = "/sys/kernel/iommu_groups/9"
        self.refused("0000:02:00.3", "process 77 (qemu-system-aar) has it")
        self.refused("0000:00:01.0", "it is a bridge to other PCI devices")
        self.host.file(f"{group}/reserved_regions", "0x8000000 0x80fffff direct-relaxable")
        self.assertEqual(self.judge("0000:01:00.0")[0]["verdict"], "bind")
        self.host.file(f"{group}/reserved_regions", "0x8000000 0x80fffff direct\n0x0 0x1 msi")
        self.refused("0000:01:00.0", "the firmware wants memory to stay mapped")
        self.host.file(f"{group}/name", "vfio-noiommu")
        self.refused("0000:01:00.0", "enable_unsafe_noiommu_mode")
        self.assertIn("group 9 without IOMMU", self.report(self.host)[1])

    def test_no_iommu(self):
        """Without a group there is none; but an SMMU may make one for the first driver."""
        judged, text = self.judge("0000:04:00.0")
        self.assertEqual(judged["verdict"], "bind")
        self.assertWords(text, "it has no IOMMU group yet")
        self.host.file("/proc/interrupts", " 30:  1  0  GICv2m-PCI-MSIX-0000:01:00.0  0 Edge\n")
        self.refused("0000:04:00.0", "the interrupts (MSI) of devices are not isolated")
        shutil.rmtree(self.host.root / "sys/class/iommu")
        self.refused("0000:04:00.0", "no IOMMU serves it: there is none (no SMMU)")

    def test_interrupts(self):
        self.host.file("/proc/interrupts", " 30:  1  0  GICv2m-PCI-MSIX-0000:01:00.0  0 Edge\n")
        self.refused("0000:01:00.0", "the interrupts (MSI) of devices are not isolated")
        self.assertWords(self.report(self.host)[1], "interrupts not isolated, so VFIO refuses")
        self.host.file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y")
        self.assertEqual(self.judge("0000:01:00.0")[0]["verdict"], "bind")
        for text, isolated in (("IR-PCI-MSIX-0000:01:00.0  0-edge", True), ("XT-PIC", None),
                               ("IO-APIC   2-edge", False), ("IR-IO-APIC  2-edge", True)):
            self.host.file("/proc/interrupts", f" 24:  1  {text}  x\n")
            found = collect.collect_devices(self.host.root)
            self.assertIs(found["iommu"]["msi_isolated"], isolated, text)

    def test_disks(self):
        """A disk that is in use is not given away, by whatever name it is mounted."""
        disk = "/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1"
        self.host.file(f"{disk}/nvme0n1p2/dev", "259:2")
        mounts = "22 1 {} / {} rw shared:1 - {} {} rw\n"
        for numbers, point, kind, source in (("259:2", "/", "ext4", "/dev/root"),
                                             ("0:30", "/home", "btrfs", "/dev/nvme0n1p2")):
            self.host.file("/proc/self/mountinfo", mounts.format(numbers, point, kind, source))
            self.refused("0000:01:00.0",
                         f"the host uses nvme0n1 of 0000:01:00.0: nvme0n1p2 at {point}")
        self.host.file("/proc/self/mountinfo", mounts.format("8:2", "/", "ext4", "/dev/sda2"))
        self.assertEqual(self.judge("0000:01:00.0")[0]["verdict"], "bind")
        self.host.file("/proc/swaps", "Filename Type\n/dev/nvme0n1p2 partition 1 0 -2\n")
        self.refused("0000:01:00.0", "nvme0n1p2 for swap")
        self.host.file("/proc/swaps", "Filename Type\n")
        self.host.file(f"{disk}/nvme0n1p2/holders/dm-0/x", "")
        self.refused("0000:01:00.0", "nvme0n1p2 by dm-0")

    def test_shared_disk(self):
        """A disk of an NVMe subsystem belongs to each of its controllers."""
        subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0"
        (self.host.root / "sys/block/nvme0n1").unlink()
        self.host.block("nvme0n1", subsystem, dev="259:0")
        self.host.link("/sys/class/nvme-subsystem/nvme-subsys0", subsystem)
        self.host.link(f"{subsystem}/nvme0", "/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0")
        self.host.file("/proc/self/mountinfo", "22 1 259:0 / /data rw - xfs /dev/nvme0n1 rw\n")
        self.refused("0000:01:00.0", "the host uses nvme0n1 of 0000:01:00.0: nvme0n1 at /data")

    def test_only_iommufd(self):
        """A kernel without nodes for groups, and a node that this user may not open."""
        shutil.rmtree(self.host.root / "sys/class/vfio")
        self.assertIn("vfio-pci,host=0000:02:00.2,bus=port1,iommufd=iommufd0",
                      self.judge("0000:02:00.2")[0]["qemu"])
        self.assertWords(self.report(self.host)[1], "QEMU needs iommufd")
        with mock.patch.object(os, "access", return_value=False):
            self.assertWords(self.judge("0000:02:00.2")[1], "this user may not open /dev/vfio/12")


class OldPython(unittest.TestCase):
    """A host may have nothing newer than Python 3.6."""

    # What came later and is of use in such a program: names of methods, functions and arguments
    NEWER = {"removeprefix", "removesuffix", "reconfigure", "capture_output", "missing_ok",
             "is_relative_to", "nullcontext", "create_server", "dataclass", "walk_up",
             "fromisoformat", "cached_property", "batched", "pairwise", "prod", "text",
             "hardlink_to"}

    def files(self):
        """The command and the modules that it imports, directly or not."""
        waiting, found = [COMMAND], set()
        while waiting:
            path = waiting.pop()
            found.add(path)
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom):
                    continue
                top = path.parents[node.level - 1] if node.level else paths.SCRIPTS
                source = top.joinpath(*(node.module or "").split("."))
                modules = [source.with_suffix(".py")] + [source / f"{alias.name}.py"
                                                         for alias in node.names]
                waiting += [module for module in modules
                            if module.exists() and module not in found]
        return sorted(found)

    def test_language(self):
        files = self.files()
        self.assertIn("qmp.py", [path.name for path in files])
        self.assertLess(len(files), 16, files)      # not half of the workbench
        for path in files:
            tree = ast.parse(path.read_text(), str(path), feature_version=(3, 6))
            for node in ast.walk(tree):
                name = getattr(node, "attr", None) or getattr(node, "arg", None)
                # Of these names, tree.text() and ast's own are no harm.
                if name == "text" and not isinstance(node, ast.keyword):
                    continue
                self.assertNotIn(name, self.NEWER, f"{path}:{getattr(node, 'lineno', '')}")
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                    [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                self.assertFalse({"dataclasses", "graphlib", "tomllib", "qemu"}
                                 & {name.partition(".")[0] for name in names}, path)

    def version(self, program):
        """(major, minor) of a Python, or None for what does not run, as a shim of pyenv may."""
        try:
            done = subprocess.run([program, "-c", "import sys; print(*sys.version_info[:2])"],
                                  check=False, text=True, stdin=subprocess.DEVNULL, timeout=30,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            return None
        words = done.stdout.split()
        if done.returncode or len(words) != 2 or not all(map(str.isdigit, words)):
            return None
        return tuple(map(int, words))

    def older(self, folders, newest):
        """The Pythons in FOLDERS from 3.6 on that are older than NEWEST, one of each, by age."""
        found = []
        for minor in range(6, newest[1]):
            programs = [f"{folder}/python3.{minor}" for folder in folders]
            found += [program for program in programs if os.path.exists(program)
                      and self.version(program) == (3, minor)][:1]
        return found

    def test_run(self):
        """All older ones of this machine give the same output."""
        root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
        folders = os.environ["PATH"].split(":") + sorted(map(str, root.glob("versions/3.*/bin")))
        programs = self.older(folders, self.version(tools.PYTHON))
        if not programs:
            self.skipTest(f"there is no Python here that is older than {tools.PYTHON}, neither in "
                          f"PATH nor in {root}/versions")
        with tempfile.TemporaryDirectory() as folder:
            host = arm_server(folder)
            for arguments in ((), ("--json",), ("--device", "01:00.0"), ("--device", "03:00.0")):
                new, *others = [subprocess.run(
                    [program, COMMAND, *arguments, "--root", host.root], check=False,
                    capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
                    for program in (tools.PYTHON, *programs)]
                self.assertEqual(new.stderr, b"")
                for program, old in zip(programs, others):
                    with self.subTest(python=program, arguments=arguments):
                        self.assertEqual((old.returncode, old.stderr), (new.returncode, b""))
                        self.assertEqual(old.stdout, new.stdout)

    def test_older(self):
        """What only has the name of an older Python is none."""
        with tempfile.TemporaryDirectory() as folder:
            for number, (name, script) in enumerate((
                    ("python3.6", "exit 127"), ("python3.7", "echo 3 11"),
                    ("python3.6", "echo 3 6"), ("python3.6", "echo 3 6"),
                    ("python3.8", "echo Python 3.8.2"), ("python3.9", "echo 3 9"),
                    ("python3.11", "echo 3 11"))):
                program = Path(folder) / str(number) / name
                program.parent.mkdir()
                program.write_text(f"#!/bin/sh\n{script}\n")
                program.chmod(0o755)
            folders = [f"{folder}/{number}" for number in range(7)]
            self.assertEqual(self.older(folders, (3, 11)),
                             [f"{folder}/2/python3.6", f"{folder}/5/python3.9"])
            self.assertEqual(self.older(folders, (3, 6)), [])


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

        with mock.patch.multiple(kvm.os, open=mock.Mock(side_effect=opened, return_value=76),
                                 close=mock.DEFAULT), \
                mock.patch.object(kvm.fcntl, "ioctl", ioctl):
            tree = Tree()
            return kvm.ask(tree, arch), tree.unseen

    def test_arm(self):
        answers = {9: 128, 66: 512, 165: 48, 240: 1}
        answer, unseen = self.ask("aarch64", answers)
        self.assertEqual(answer, {"usable": True, "reason": None, "vcpus_recommended": 128,
                                  "vcpus_max": 512, "nested": True, "smccc_filter": True})
        self.assertEqual(unseen, {})
        self.assertIs(self.ask("aarch64", answers, filters=False)[0]["smccc_filter"], False)

    def test_not_usable(self):
        for number, words in ((errno.ENOENT, "EL2"), (errno.ENODEV, "cannot be opened")):
            answer, unseen = self.ask("aarch64", {}, opened=OSError(number, os.strerror(number)))
            self.assertIs(answer["usable"], False)
            self.assertIn(words, answer["reason"])
            self.assertIn("what KVM can do", unseen)
        with mock.patch.object(kvm.os, "stat", return_value=mock.Mock(st_mode=0o20660,
                                                                      st_gid=0)):
            answer, _ = self.ask("aarch64", {}, opened=PermissionError(errno.EACCES, "denied"))
        self.assertIn("mode 0660 and belongs to group root", answer["reason"])


class Qemu(unittest.TestCase):

    def test_bad_programs(self):
        for program, words in (("/bin/false", "does not answer"), (__file__ + ".none", "No such")):
            answers = qemu.ask(program, None, False)
            self.assertIn(words, answers["error"])
            self.assertIsNone(answers["cpu_hotplug"])

    def talk(self, script, seconds=10):
        """What a QEMU answers that is a shell SCRIPT whose descriptor 3 is the monitor."""
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "qemu"
            # The number of the descriptor is in: -chardev socket,id=qmp,fd=N -qmp chardev:qmp
            program.write_text("#!/bin/bash\nfd=${2##*=}\neval \"exec 3<&$fd\"\n" + script + "\n")
            program.chmod(0o755)
            with qmp.asked([program], seconds) as execute:
                return execute("query-version", verbose=True)

    def test_monitor(self):
        """The own client skips events, and tells refusals, silence and the end of QEMU apart."""
        greet = ("echo '{\"QMP\": {}}' >&3; read -u 3 line; echo '{\"event\": \"RESUME\"}' >&3; "
                 "echo '{\"return\": {}}' >&3; read -u 3 line; ")
        self.assertEqual(self.talk(greet + "echo '{\"event\": \"STOP\"}' >&3; "
                                   "echo \"{\\\"return\\\": $line}\" >&3; read line"),
                         {"execute": "query-version", "arguments": {"verbose": True}})
        with self.assertRaisesRegex(qmp.Refused, "^no such thing$"):
            self.talk(greet + "echo '{\"error\": {\"desc\": \"no such thing\"}}' >&3; read line")
        # All but the first end by themselves, and long before.
        for script, words, seconds in (
                ("sleep 60", "does not answer", 1), ("echo broken >&2", "^broken$", 30),
                (greet, "does not answer", 30), (greet + "echo '{' >&3", "not answer", 30)):
            with self.assertRaisesRegex(qmp.Failed, words):
                self.talk(script, seconds)

    def test_find(self):
        """qemu-kvm of RHEL is for guests like the host."""
        with mock.patch.object(paths, "QEMU_BINARY", Path("/none/qemu-system-aarch64")), \
                mock.patch.object(qemu.shutil, "which",
                                  lambda name: name if name == "/usr/libexec/qemu-kvm" else None):
            self.assertEqual(qemu.find_binary("aarch64"), Path("/usr/libexec/qemu-kvm"))
            self.assertIsNone(qemu.find_binary("x86_64"))

    def test_texts(self):
        """What a QEMU without the series cannot say is not said to be missing."""
        answers = {**qemu.nothing(None), "binary": "q", "version": "10.0.0",
                   "accelerator": "kvm", "cpu_hotplug": {"active": False, "reason": "no"},
                   "cpu_models": {"known": 36, "runnable": None}}
        found = {"qemu": answers, "kvm": {"usable": True}}
        text = dict(render._qemu(found))
        self.assertIn("unknown to this QEMU", text["PCIe root ports"])
        self.assertIn("unknown to this QEMU", text["CPU models"])
        self.assertEqual(text["vCPU hot-plug"], "not active on virt: no")
        answers["cpu_models"] = {"known": 36, "runnable": ["host", "max"]}
        self.assertEqual(dict(render._qemu(found))["CPU models"],
                         "2 of 36 can run: host, max")

    def test_real(self):
        """The built QEMU with TCG, with firmware and without; it ends."""
        if not paths.QEMU_BINARY.exists():
            self.skipTest(f"{paths.QEMU_BINARY} is not built")
        started = []

        def start(*arguments, **options):
            started.append(original(*arguments, **options))
            return started[-1]

        original = qmp.Process
        # Any file will do: the machine never runs.
        with tempfile.NamedTemporaryFile() as firmware, \
                mock.patch.object(qmp, "Process", start):
            firmware.write(bytes(4096))
            firmware.flush()
            answers = qemu.ask(paths.QEMU_BINARY, firmware.name, False)
            without = qemu.ask(paths.QEMU_BINARY, None, False)
        self.assertIsNone(answers["error"])
        self.assertEqual(answers["cpu_hotplug"], {"active": True, "reason": None})
        self.assertEqual(answers["pcie_root_port_limit"], 255)
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
        self.assertEqual(json.loads(done.stdout), collect.collect(host.root))

    def test_device(self):
        """The exit status is the verdict."""
        host = arm_server(self.folder)
        for address, status, words in (
                ("02:00.2", 0, "0000:02:00.2 can be given to a guest now."),
                ("0000:01:00.0", 1, "can be given to a guest once it is bound to vfio-pci."),
                ("0000:02:00.3", 3, "0000:02:00.3 cannot be given to a guest.")):
            done = self.run_command("--device", address, "--root", host.root)
            self.assertEqual((done.returncode, done.stderr), (status, ""))
            self.assertIn(words, done.stdout)
            done = self.run_command("--json", "--device", address, "--root", host.root)
            self.assertEqual(done.returncode, status)
            self.assertIn(json.loads(done.stdout)["verdict"], ("ready", "bind", "no"))

    def test_usage(self):
        for arguments in (("--qemu", "/none"), ("--firmware", "/none"), ("--root", __file__),
                          ("--what",), ("--device", "ff:1f.7")):
            done = self.run_command(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(arguments[0], done.stderr)


if __name__ == "__main__":
    fake.main()
