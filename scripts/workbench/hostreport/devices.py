# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that can be given to guests: IOMMU groups, VFIO, SR-IOV."""

import re
from pathlib import Path

from . import use
from .sysfs import Tree

PCI = "/sys/bus/pci/devices"
GROUPS = "/sys/kernel/iommu_groups"
UNITS = "/sys/class/iommu"
IDS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")

# How the kernel's drivers name what they register.
_KINDS = (("smmu3.", "SMMUv3"), ("smmu.", "SMMU"), ("dmar", "Intel VT-d"), ("ivhd", "AMD-Vi"),
          ("virtio", "virtio-iommu"))
_CLASSES = {
    0x0100: "SCSI controller", 0x0104: "RAID controller", 0x0106: "SATA controller",
    0x0107: "SAS controller", 0x0108: "NVMe controller", 0x0180: "storage controller",
    0x0200: "Ethernet controller", 0x0207: "InfiniBand controller", 0x0280: "network controller",
    0x0300: "VGA controller", 0x0302: "3D controller", 0x0380: "display controller",
    0x0403: "audio device", 0x0502: "CXL memory", 0x0580: "memory controller",
    0x0600: "host bridge", 0x0601: "ISA bridge", 0x0604: "PCI bridge", 0x0680: "bridge",
    0x0700: "serial port", 0x0780: "communication controller", 0x0806: "IOMMU",
    0x0880: "system peripheral", 0x0b40: "coprocessor", 0x0c03: "USB controller",
    0x0c05: "SMBus", 0x1000: "network encryption", 0x1080: "encryption controller",
    0x1200: "processing accelerator", 0x1300: "instrumentation",
}
_PCI_ADDRESS = r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
# Where configuration space has the type of its header; all users may read as far as that.
_HEADER_TYPE, _HEADER_SIZE = 0x0e, 0x40
_HEADERS = {0: False, 1: True, 2: True}     # an endpoint, a bridge to PCI, one to CardBus
# The classes of those with the header of a bridge: to PCI, to CardBus, and semi-transparent
_BRIDGES = (0x0604, 0x0607, 0x0609)
_HOST_BRIDGES = ("0600", "0601", "0602", "0603")        # to CPUs, ISA, EISA, MCA


class PciNames:
    """Names of vendors and devices from the list that distributions have in a package."""

    def __init__(self, tree):
        self._names = {}
        trees = dict.fromkeys((tree.root, Path("/")))
        texts = (Tree(root).text(name) for root in trees for name in IDS)
        text = next(filter(None, texts), None)
        if text is None:
            tree.miss("names of PCI devices", "there is no pci.ids (Debian: package pci.ids)")
            return
        vendor = None
        for line in text.splitlines():
            if line.startswith("C "):
                break
            match = re.match(r"(\t?)([0-9a-f]{4})  (.*)", line)
            if match and not match.group(1):
                vendor = match.group(2)
                self._names[vendor, None] = match.group(3)
            elif match:
                self._names[vendor, match.group(2)] = match.group(3)

    def name(self, vendor, device):
        """Name of vendor and device by their four digits, as far as known, or None."""
        names = (self._names.get((vendor, None)), self._names.get((vendor, device)))
        return " ".join(filter(None, names)) or None


class Facts:
    """What is looked up once for all devices. RELEASE is that of the kernel."""

    def __init__(self, tree, release):
        self.names = PciNames(tree)
        self.drivers = use.Drivers(tree, release)
        self.interfaces = use.interfaces(tree)
        self.disks = use.disks(tree)
        self.processes, self.all_processes = use.processes(tree)


def describe(tree, folder, facts):
    """One device by its FOLDER in sysfs; the keys are described in collect.py."""
    address = folder.rsplit("/", 1)[1]
    code = tree.text(f"{folder}/class")
    number = tree.number(f"{folder}/class") if code else None
    vendor, device = (_digits(tree.text(f"{folder}/{name}")) for name in ("vendor", "device"))
    driver = tree.link(f"{folder}/driver")
    vfio = _is_vfio(tree, folder, driver)
    bridge = _is_bridge(tree, folder, number)
    node = tree.number(f"{folder}/numa_node")
    return {
        "address": address,
        "class": None if number is None else f"{number >> 8:04x}",
        "class_name": None if number is None else _CLASSES.get(number >> 8),
        "vendor": vendor,
        "device": device,
        "name": facts.names.name(vendor, device),
        "driver": driver,
        "host_driver": driver if driver and not vfio and driver != "pci-stub"
        else facts.drivers.name(folder),
        "bridge": bridge,
        "vfio": vfio,
        "blocks": bool(driver) and not vfio and _blocks(driver, bridge),
        # -1 is a device of no node.
        "numa_node": None if node == -1 else node,
        "link": _link(tree, folder),
        "interfaces": facts.interfaces.get(address, []),
        "disks": facts.disks.get(address, []),
    }


def _link(tree, folder):
    """{speed, width, max_speed, max_width} of a PCI Express device, or None."""
    texts = [tree.text(f"{folder}/{name}") for name in (
        "current_link_speed", "current_link_width", "max_link_speed", "max_link_width")]
    # A virtual function has none of its own, which reads as unknown, or as 0 or 255 lanes.
    if None in texts or "unknown" in texts[0].lower():
        return None
    speed, width, max_speed, max_width = texts
    return {"speed": speed, "width": int(width), "max_speed": max_speed,
            "max_width": int(max_width)}


def _digits(text):
    return text.replace("0x", "", 1) if text else None


def is_pci(device):
    """Whether a described device is PCI's."""
    return bool(re.fullmatch(_PCI_ADDRESS, device["address"]))


def is_host_bridge(device):
    """Whether a described device is a part of the host itself: a bridge to its CPUs, or to ISA.

    To VFIO, such a device is one like others, as its header is; see _is_bridge().
    """
    return device["bridge"] is False and device["class"] in _HOST_BRIDGES


def _is_bridge(tree, folder, code):
    """Whether a device has the header of a bridge, which VFIO never takes; None for unknown."""
    if not re.search(_PCI_ADDRESS + "$", folder):
        return False
    header = tree.head(f"{folder}/config", _HEADER_SIZE) or b""
    # A device that does not answer reads as ones.
    known = _HEADERS.get(header[_HEADER_TYPE] & 0x7f) if len(header) > _HEADER_TYPE else None
    if known is not None or code is None:
        return known
    return code >> 8 in _BRIDGES


def _is_vfio(tree, folder, driver):
    # Before Linux 6.1 there is only the name of the driver.
    return bool(driver) and (tree.exists(f"{folder}/vfio-dev") or "vfio" in driver)


def _blocks(driver, bridge):
    """Whether the kernel keeps the group because of a DRIVER of the host."""
    if bridge is False:
        return driver != "pci-stub"
    # It lets bridges keep theirs; since Linux 5.19, not shpchp and yenta_cardbus. One of which
    # nothing is known may be a bridge.
    return bridge is True and driver not in ("pcieport", "pci-stub")


def iommu(tree, facts):
    """{units: [{name, kind}], msi_isolated, groups, ungrouped}, see collect.py."""
    units = [{"name": name, "kind": next((kind for start, kind in _KINDS
                                          if name.startswith(start)), None)}
             for name in tree.names(UNITS)]
    groups = []
    for group in tree.names(GROUPS, r"\d+"):
        folder = f"{GROUPS}/{group}/devices"
        devices = [describe(tree, f"{folder}/{name}", facts) for name in tree.names(folder)]
        blockers = [device["address"] for device in devices if device["blocks"]]
        groups.append({"group": int(group), "viable": not blockers, "blockers": blockers,
                       "direct": _is_direct(tree, group), "noiommu": _is_noiommu(tree, group),
                       "used_by": _users(tree, group, devices, facts), "devices": devices})
    if not tree.exists(GROUPS):
        tree.miss("IOMMU groups", f"the kernel has no {GROUPS}: it has no support for IOMMUs")
    ungrouped = [describe(tree, f"{PCI}/{address}", facts) for address in tree.names(PCI)
                 if not tree.exists(f"{PCI}/{address}/iommu_group")]
    return {"units": units, "msi_isolated": _msi_isolated(tree), "groups": groups,
            "ungrouped": ungrouped}


def _is_direct(tree, group):
    """Whether the firmware wants memory to stay mapped for a device of the group."""
    regions = tree.text(f"{GROUPS}/{group}/reserved_regions") or ""
    return any(line.endswith(" direct") for line in regions.splitlines())


def _is_noiommu(tree, group):
    # The groups of mediated devices have the same name.
    return (tree.text(f"{GROUPS}/{group}/name") == "vfio-noiommu"
            and bool(tree.names(f"{GROUPS}/{group}/devices", _PCI_ADDRESS)))


def _users(tree, group, devices, facts):
    """[{pid, name}] of the processes that have a device of the group; None for unknown."""
    nodes = [f"/dev/vfio/{group}", f"/dev/vfio/noiommu-{group}"]
    for device in devices:
        folder = f"{GROUPS}/{group}/devices/{device['address']}/vfio-dev"
        nodes += [f"/dev/vfio/devices/{name}" for name in tree.names(folder)]
    users = []
    for node in nodes:
        users += [user for user in facts.processes.get(node, []) if user not in users]
    # Nobody can have what is not on VFIO.
    if not users and not facts.all_processes and any(device["vfio"] for device in devices):
        return None
    return users


def _msi_isolated(tree):
    """Whether interrupts of devices are kept apart, by the controllers in use; None for unknown."""
    text = tree.text("/proc/interrupts") or ""
    if re.search(r"\bITS-|\bIR-", text):
        return True
    # Those of Arm without ITS, and those of x86 without remapping
    if re.search(r"\bGICv2m|\bIO-APIC\b", text):
        return False
    tree.miss("isolation of interrupts", "/proc/interrupts does not show it")
    return None


def sriov(tree, facts):
    """[{device, vfs, vfs_possible, functions}] of the physical functions with SR-IOV."""
    result = []
    for address in tree.names(PCI):
        folder = f"{PCI}/{address}"
        possible = tree.number(f"{folder}/sriov_totalvfs")
        if possible is None:
            continue
        functions = []
        for link in tree.names(folder, r"virtfn\d+"):
            vf = tree.link(f"{folder}/{link}")
            functions.append({"address": vf, "driver": tree.link(f"{PCI}/{vf}/driver"),
                              "group": _number(tree.link(f"{PCI}/{vf}/iommu_group"))})
        result.append({"device": describe(tree, folder, facts),
                       "vfs": tree.number(f"{folder}/sriov_numvfs"), "vfs_possible": possible,
                       "functions": functions})
    return result


def _number(text):
    return int(text) if text else None
