# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPUs of a host: model, frequency, topology, NUMA nodes."""

import collections
import platform
import re

from .sysfs import members

CPUS = "/sys/devices/system/cpu"
NODES = "/sys/devices/system/node"
DMI = "/sys/firmware/dmi"

ARM64 = "aarch64"
X86 = "x86_64"

# Names as in the kernel's arch/arm64/include/asm/cputype.h: what is found in servers and in
# development machines.
_IMPLEMENTERS = {
    0x00: ("emulated", {0x051: "QEMU max"}),
    0x41: ("Arm", {
        0xd03: "Cortex-A53", 0xd04: "Cortex-A35", 0xd05: "Cortex-A55", 0xd07: "Cortex-A57",
        0xd08: "Cortex-A72", 0xd09: "Cortex-A73", 0xd0a: "Cortex-A75", 0xd0b: "Cortex-A76",
        0xd0c: "Neoverse-N1", 0xd0d: "Cortex-A77", 0xd0e: "Cortex-A76AE", 0xd40: "Neoverse-V1",
        0xd41: "Cortex-A78", 0xd42: "Cortex-A78AE", 0xd44: "Cortex-X1", 0xd46: "Cortex-A510",
        0xd47: "Cortex-A710", 0xd48: "Cortex-X2", 0xd49: "Neoverse-N2", 0xd4b: "Cortex-A78C",
        0xd4d: "Cortex-A715", 0xd4e: "Cortex-X3", 0xd4f: "Neoverse-V2", 0xd80: "Cortex-A520",
        0xd81: "Cortex-A720", 0xd82: "Cortex-X4", 0xd84: "Neoverse-V3", 0xd85: "Cortex-X925",
        0xd87: "Cortex-A725", 0xd8e: "Neoverse-N3"}),
    0x42: ("Broadcom", {0x516: "ThunderX2"}),
    0x43: ("Cavium", {0x0a1: "ThunderX", 0x0af: "ThunderX2", 0x0b1: "OcteonTX2"}),
    0x46: ("Fujitsu", {0x001: "A64FX"}),
    0x48: ("HiSilicon", {0xd01: "TSV110 (Kunpeng 920)", 0xd02: "HIP09", 0xd06: "HIP12"}),
    0x4e: ("NVIDIA", {0x003: "Denver", 0x004: "Carmel"}),
    0x50: ("APM", {0x000: "X-Gene"}),
    0x51: ("Qualcomm", {0x001: "Oryon", 0xc00: "Falkor"}),
    0x61: ("Apple", {0x022: "M1 Icestorm", 0x023: "M1 Firestorm", 0x032: "M2 Blizzard",
                     0x033: "M2 Avalanche"}),
    0x6d: ("Microsoft", {0xd49: "Azure Cobalt 100"}),
    0xc0: ("Ampere", {0xac3: "Ampere-1", 0xac4: "Ampere-1A"}),
}


def architecture(tree):
    """The machine's name for its architecture, or None."""
    # Since Linux 6.1. A program may be told another one by uname().
    return tree.text("/proc/sys/kernel/arch") or (platform.machine() if tree.live else None)


def midr_name(midr):
    """What the value of Arm's register MIDR_EL1 stands for."""
    implementer, part = midr >> 24 & 0xff, midr >> 4 & 0xfff
    maker, parts = _IMPLEMENTERS.get(implementer, (f"implementer {implementer:#04x}", {}))
    return (f"{maker} {parts.get(part, f'part {part:#05x}')} "
            f"r{midr >> 20 & 0xf}p{midr & 0xf}")


def models(tree):
    """[{name, midr, cpus}] of the kinds of CPUs; midr is None where there is no such register."""
    midrs = [tree.number(f"{CPUS}/{cpu}/regs/identification/midr_el1")
             for cpu in tree.names(CPUS, r"cpu\d+")]
    found = collections.Counter(midr for midr in midrs if midr is not None)
    if found:
        return [{"name": midr_name(midr), "midr": f"{midr:#010x}", "cpus": cpus}
                for midr, cpus in found.most_common()]
    names = re.findall(r"^model name\s*: (.*)$", tree.text("/proc/cpuinfo") or "", re.M)
    return [{"name": name, "midr": None, "cpus": cpus}
            for name, cpus in collections.Counter(names).most_common()]


def _structures(data):
    """(type, bytes of the fields, strings) of each SMBIOS structure in DATA."""
    at = 0
    while len(data) >= at + 4 and data[at + 1] >= 4:
        fields = data[at:at + data[at + 1]]
        end = data.find(b"\0\0", at + len(fields))
        if end < 0:
            break
        strings = data[at + len(fields):end].split(b"\0")
        yield fields[0], fields, [text.decode(errors="replace").strip() for text in strings]
        at = end + 2


def _processor(tree):
    """(product name, MHz) of the first socket that is in use by SMBIOS; None for unknown.

    The frequency is Current Speed, that at the boot of the machine. Max Speed is the most that the
    socket takes, whatever is in it.
    """
    entries = [tree.data(f"{DMI}/entries/{name}/raw")
               for name in tree.names(f"{DMI}/entries", r"4-\d+")]
    # The entries are there only with the module dmi-sysfs.
    for data in filter(None, entries or [tree.data(f"{DMI}/tables/DMI")]):
        for kind, fields, strings in _structures(data):
            if kind != 4 or len(fields) < 0x19 or not fields[0x18] & 0x40:
                continue
            number = fields[0x10]
            name = strings[number - 1] if 0 < number <= len(strings) else ""
            return name or None, int.from_bytes(fields[0x16:0x18], "little") or None
    return None, None


def processor(tree):
    """(product name or None, {mhz, source} or None): what is sold, and its nominal frequency."""
    name, mhz = _processor(tree)
    first = (members(tree.text(f"{CPUS}/online")) or [0])[0]
    for file, divisor in (("cpufreq/base_frequency", 1000), ("acpi_cppc/nominal_freq", 1),
                          ("cpufreq/cpuinfo_max_freq", 1000)):
        value = tree.number(f"{CPUS}/cpu{first}/{file}")
        if value:
            return name, {"mhz": value // divisor, "source": file}
    if mhz:
        return name, {"mhz": mhz, "source": "SMBIOS"}
    tree.miss("nominal frequency of the CPUs", "neither cpufreq nor CPPC is in use, and SMBIOS "
              + ("may not be read" if any(DMI in what for what in tree.unseen)
                 else "is not there or does not say"))
    return name, None


def topology(tree):
    """{online, possible, sockets, clusters, cores}; clusters is None where there are none."""
    folders = [f"{CPUS}/{cpu}/topology" for cpu in tree.names(CPUS, r"cpu\d+")]
    folders = [folder for folder in folders if tree.exists(folder)]

    def different(*names):
        return len({tuple(tree.text(f"{folder}/{name}") for name in names) for folder in folders})

    # x86 shows 65535 where it has none.
    clusters = {tree.number(f"{folder}/cluster_id") for folder in folders} - {None, -1, 0xffff}
    if not folders:
        tree.miss("topology of the CPUs", f"the kernel shows none in {CPUS}")
    return {
        "online": tree.text(f"{CPUS}/online"),
        "possible": tree.text(f"{CPUS}/possible"),
        "threads": len(folders),
        "cores": different("thread_siblings_list"),
        "clusters": different("cluster_cpus_list") if clusters else None,
        "sockets": different("physical_package_id"),
    }


def nodes(tree):
    """[{node, cpus, memory_kib, free_kib}] of the NUMA nodes; cpus is a list such as 0-3,8."""
    result = []
    for name in tree.names(NODES, r"node\d+"):
        sizes = dict(re.findall(r"(\w+):\s+(\d+) kB", tree.text(f"{NODES}/{name}/meminfo") or ""))
        result.append({"node": int(name[len("node"):]),
                       "cpus": tree.text(f"{NODES}/{name}/cpulist"),
                       "memory_kib": int(sizes["MemTotal"]) if "MemTotal" in sizes else None,
                       "free_kib": int(sizes["MemFree"]) if "MemFree" in sizes else None})
    if not result:
        tree.miss("NUMA nodes", f"the kernel has no {NODES}")
    return result
