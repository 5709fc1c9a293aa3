# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU and the guest do show: through the monitor, in the guest, and of QEMU's process."""

import re
from dataclasses import dataclass, field

from ..guest.cpus import parse_list
from ..system.process import own_memory

# Ids of what comes and goes, and what tells the guest's parts apart.
DIMM_ID, NIC_ID, DISK_ID = "dimm{}", "nic{}", "disk{}"
MAC = "52:54:00:50:00:{:02x}"
_DEVICE = re.compile(r"(nic|disk)\d+")
# With what is refused and must leave nothing behind.
_PERIPHERAL = re.compile(r"(nic|disk|dimm)\d+|wrong")
_BACKEND = re.compile(r".*-ram")
_VCPU = re.compile(r"CPU \d+/(TCG|KVM)")
# They come and go by themselves: for requests to files, and for RCU.
_PASSING = re.compile(r"worker|iou-")


@dataclass
class GuestView:
    """What the guest shows. PRESENT, ENABLED and ONLINE are sets of CPUs, ENABLED may be None.

    DISKS has the checksum of each disk's content by its serial number, BLOCKS the number of blocks
    of memory, those of them that are online, and the size of one; None if the kernel has no memory
    hot-plug. COMPLAINTS are messages of the kernel.
    """

    present: frozenset
    enabled: frozenset
    online: frozenset
    macs: set
    disks: dict
    functions: int
    blocks: tuple = None
    complaints: list = field(default_factory=list)


@dataclass
class Process:
    """What Linux says of QEMU's process: names of vCPU threads and of others, and numbers.

    MEMORY is in KiB, without shared pages, and without translated code: TCG fills the buffer for
    that little by little, up to the size that it is given.
    """

    vcpus: list
    threads: list
    descriptors: int
    memory: int


@dataclass
class Observation:
    """All that is compared. GUEST is None while the guest stands still.

    SLOTS are the entries of query-hotpluggable-cpus, slot 0 first. CPUS are those of
    query-cpus-fast. DIMMS has the size of each module by its id; DEVICES are the ids behind root
    ports that have bus numbers, PERIPHERALS those of all that come and go but CPUs, BACKENDS the
    ids of memory for modules. OST is {(type, slot): (event, status)}.
    """

    status: str
    machine: str
    slots: list
    cpus: list
    dimms: dict
    devices: set
    peripherals: set
    backends: set
    ost: dict
    process: Process
    guest: GuestView = None


def parse_guest(text):
    """The GuestView in what the guest's program soak-look has printed. Raises ValueError."""
    found = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        if separator:
            found.setdefault(name, []).append(value)
    try:
        lists = [parse_list(found[name][0]) for name in ("present", "enabled", "online")]
        blocks = None
        if "block_size" in found:
            blocks = (int(found["blocks"][0]), int(found["blocks_online"][0]),
                      int(found["block_size"][0], 16))
        return GuestView(
            *lists, {mac for mac in found.get("mac", ()) if mac.startswith(MAC[:-7])},
            dict(value.split()[:2] for value in found.get("disk", ())),
            int(found["functions"][0]), blocks, found.get("complaint", []))
    except (KeyError, IndexError) as error:
        raise ValueError(f"soak-look in the guest gave no {error}:\n{text}") from None


def parse_process(text):
    """The Process in what the command of process_command() has printed. Raises ValueError."""
    names, _, rest = text.partition("\n\n")
    count, code, rollup = rest.split("\n", 2)
    threads = names.splitlines()
    vcpus = [name for name in threads if _VCPU.fullmatch(name)]
    others = [name for name in threads if name not in vcpus and not _PASSING.match(name)]
    return Process(sorted(vcpus), sorted(others), int(count),
                   own_memory(rollup) - int(code))


def process_command(pid):
    """The words of a command that shows what is to be known of the process PID."""
    return ["sh", "-c", f"cd /proc/{pid} && cat task/*/comm 2> /dev/null; echo; "
            "ls fd | wc -l; awk '/^[0-9a-f]+-/ { code = $2 ~ /wx/ } "
            "code && /^Private_Dirty/ { sum += $2 } END { print sum + 0 }' smaps; "
            "cat smaps_rollup"]


def _behind_ports(buses):
    """The ids of our devices in what query-pci says of BUSES."""
    found = set()
    for bus in buses:
        for device in bus["devices"]:
            if _DEVICE.fullmatch(device["qdev_id"]):
                found.add(device["qdev_id"])
            found |= _behind_ports([device["pci_bridge"]]
                                   if device.get("pci_bridge", {}).get("devices") else [])
    return found


def _children(guest, path, pattern):
    """The names of QOM objects at PATH that the regular expression PATTERN fits as a whole."""
    return {child["name"] for child in guest.qmp("qom-list", {"path": path})
            if pattern.fullmatch(child["name"])}


def observe(guest, cpus, ask_guest):
    """The Observation of GUEST and its CPUS; the guest itself is asked if ASK_GUEST.

    Raises GuestError, and ValueError for an answer that makes no sense.
    """
    # First, because QEMU opens more files for a device when the guest uses it.
    shown = parse_guest(guest.check("soak-look", 120)) if ask_guest else None
    _, text = guest.place.run(process_command(guest.process.pid))
    return Observation(
        guest.qmp("query-status")["status"],
        guest.qmp("qom-get", {"path": "/machine", "property": "type"}),
        cpus.slots(), guest.qmp("query-cpus-fast"),
        {module["data"]["id"]: module["data"]["size"]
         for module in guest.qmp("query-memory-devices")},
        _behind_ports(guest.qmp("query-pci")),
        _children(guest, "/machine/peripheral", _PERIPHERAL),
        _children(guest, "/objects", _BACKEND),
        {(info["slot-type"], int(info["slot"])): (info["source"], info["status"])
         for info in guest.qmp("query-acpi-ospm-status")},
        parse_process(text), shown)
