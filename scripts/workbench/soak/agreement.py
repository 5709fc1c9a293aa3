# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether all that was seen is what the model says, and in which point it is not."""

from ..guest.cpus import format_list
from .model import DIMM_SIZE, DIMMS
from .observation import DIMM_ID, DISK_ID, MAC, NIC_ID

_STILL = ("paused", "prelaunch")
IN_PROGRESS = 0x84             # a status of _OST that another one follows


class Facts:
    """What does not change during a run: MACHINE, the machine's type with its version.

    SUMS has the checksum of each disk by its id, BLOCKS the guest's blocks of memory without
    modules, None if the guest's kernel has no memory hot-plug.
    """

    def __init__(self, machine, sums, blocks=None):
        self.machine = machine
        self.sums = sums
        self.blocks = blocks


def differences(model, facts, seen):
    """In which points the Observation SEEN is not what MODEL and FACTS say, each as a text.

    Some pass: the guest may need a moment more. complaints() has those that do not.
    """
    wrong = []

    def expect(what, shown, wanted):
        if shown != wanted:
            wrong.append(f"{what}: {_text(shown)} instead of {_text(wanted)}")

    machine = model.machine
    if (seen.status == "running") != model.running or not (
            model.running or seen.status in _STILL):
        wrong.append(f"query-status: {seen.status} instead of "
                     f"{'running' if model.running else ' or '.join(_STILL)}")
    expect("type of the machine", seen.machine, facts.machine)
    expect("CPUs in query-hotpluggable-cpus",
           frozenset(number for number, slot in enumerate(seen.slots) if "qom-path" in slot),
           machine.plugged())
    wrong += _slot_states(model, seen)
    expect("QOM paths in query-cpus-fast", sorted(cpu["qom-path"] for cpu in seen.cpus),
           sorted(slot["qom-path"] for slot in seen.slots if "qom-path" in slot))
    expect("vCPU threads of QEMU", len(seen.process.vcpus), len(machine.plugged()))
    dimms = {DIMM_ID.format(number): DIMM_SIZE for number in machine.dimms}
    expect("query-memory-devices", seen.dimms, dimms)
    devices = {*map(NIC_ID.format, machine.nics), *map(DISK_ID.format, machine.disks)}
    if machine.booted:
        # After a reset, it is the firmware that gives the ports bus numbers.
        expect("devices in query-pci", seen.devices, devices)
    expect("/machine/peripheral", seen.peripherals, devices | set(dimms))
    expect("memory backends in /objects", seen.backends, {f"{name}-ram" for name in dimms})
    for number, slot in enumerate(machine.slots):
        wrong += _ost("CPU", number, slot.ost, seen)
    for number in range(DIMMS):
        wrong += _ost("DIMM", number, machine.dimm_ost[number], seen)
    if model.running:
        wrong += _guest(machine, facts, seen.guest)
    return wrong


def complaints(seen):
    """What the guest's kernel has complained of, each as a text."""
    return [f"the guest's kernel says: {line}" for line in
            (seen.guest.complaints if seen.guest else ())]


def _text(value):
    if isinstance(value, frozenset):
        return format_list(value)
    if isinstance(value, (set, list)):
        return ", ".join(map(str, sorted(value))) or "none"
    return str(value)


def _slot_states(model, seen):
    """What query-hotpluggable-cpus says of the state of slots; not every QEMU does."""
    wrong = []
    for number, (slot, shown) in enumerate(zip(model.machine.slots, seen.slots)):
        state = "unplug-pending" if slot.asked else "plugged" if slot.plugged else "empty"
        # The boot CPU is on from the reset on.
        power = "on" if slot.online or not model.machine.booted and number == 0 else "off"
        for key, wanted in (("state", state), ("power-state", power if slot.plugged else None)):
            if key in shown and shown[key] != wanted:
                wrong.append(f"{key} of slot {number}: {shown[key]} instead of {wanted}")
    return wrong


def _ost(kind, number, wanted, seen):
    """What _OST said last of the slot NUMBER for KIND."""
    shown = seen.ost.get((kind, number))
    if wanted is None or shown == wanted:
        return []
    if shown is None:
        return [f"query-acpi-ospm-status has no {kind} {number}"]
    event, status = wanted
    if status is None and shown[0] == event and shown[1] not in (0, IN_PROGRESS):
        return []
    status = "a refusal" if status is None else f"status {status}"
    return [f"query-acpi-ospm-status for {kind} {number}: event {shown[0]}, status {shown[1]} "
            f"instead of event {event}, {status}"]


def _guest(machine, facts, guest):
    wrong = []

    def expect(what, shown, wanted):
        if shown != wanted:
            wrong.append(f"{what} in the guest: {_text(shown)} instead of {_text(wanted)}")

    expect("online CPUs", guest.online, machine.online())
    if guest.enabled is not None:
        expect("enabled CPUs", guest.enabled - machine.stale, machine.seen())
    missing = machine.seen() - guest.present
    if missing:
        wrong.append(f"present CPUs in the guest: {format_list(missing)} missing")
    expect("network cards", guest.macs, {MAC.format(number) for number in machine.nics})
    names = [DISK_ID.format(number) for number in machine.disks]
    expect("disks", set(guest.disks), set(names))
    for name in names:
        if name in guest.disks:
            expect(f"content of {name}", guest.disks[name], facts.sums[name])
    expect("PCI functions", guest.functions, len(machine.nics) + len(machine.disks))
    if facts.blocks is not None:
        blocks, _, size = guest.blocks
        expect("blocks of memory", blocks, facts.blocks + len(machine.dimms) * DIMM_SIZE // size)
    return wrong
