# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU and the guest must show: the state that the steps lead to, predicted without them."""

import copy
from dataclasses import dataclass, field

DIMMS = 3                       # memory modules that may come
NICS = 3                        # network cards that may come
DISKS = 3                       # disks that may come
DIMM_SIZE = 128 << 20

INSERTED = (1, 0)               # what _OST says of a device that the guest has taken
EJECTED = (3, 0)                # and of one that it has given back
REFUSED = (3, None)             # of one that it keeps: whatever else it gives as status


@dataclass
class Slot:
    """A slot for a CPU.

    ASKED: there was a device_del that the guest has not answered. SEEN: the guest has registered
    the CPU, which Linux calls "enabled". OST: event and status of the guest's last _OST, None if
    that depends on the guest's kernel.
    """

    plugged: bool = False
    asked: bool = False
    seen: bool = False
    online: bool = False
    ost: tuple = (0, 0)

    def leave(self):
        """The CPU is gone."""
        self.plugged = self.asked = self.seen = self.online = False


@dataclass
class Dimm:
    """A memory module that is plugged; ASKED and SEEN as with a Slot."""

    asked: bool = False
    seen: bool = False


@dataclass
class Machine:
    """The virtual machine as far as a snapshot restores it.

    BOOTED is False from a reset of a machine that stands still to its next start. TABLES are the
    CPUs that the ACPI tables of the last reset call enabled, STALE those of them that were gone
    when a kexec had the tables read again: what the guest says of these slots depends on its
    kernel. KEXEC: the guest has what a kexec needs. LOAD: it has something to do.
    """

    slots: list
    dimms: dict = field(default_factory=dict)
    dimm_ost: dict = field(default_factory=lambda: {number: (0, 0) for number in range(DIMMS)})
    nics: set = field(default_factory=set)
    disks: set = field(default_factory=set)
    tables: set = field(default_factory=set)
    stale: set = field(default_factory=set)
    booted: bool = True
    load: bool = False
    kexec: bool = True

    def devices(self):
        """What must be the same in a QEMU that is to load a snapshot of this machine."""
        return (self.plugged(), frozenset(self.dimms), frozenset(self.nics),
                frozenset(self.disks))

    def plugged(self):
        """The slots that have a CPU."""
        return frozenset(number for number, slot in enumerate(self.slots) if slot.plugged)

    def seen(self):
        """The slots with a CPU that the guest has registered."""
        return frozenset(number for number, slot in enumerate(self.slots) if slot.seen)

    def online(self):
        """The slots with a CPU that the guest uses."""
        return frozenset(number for number, slot in enumerate(self.slots) if slot.online)

    def asked(self):
        """The slots with a CPU that is to go."""
        return frozenset(number for number, slot in enumerate(self.slots) if slot.asked)

    def dimms_asked(self):
        """The memory modules that are to go."""
        return frozenset(number for number, dimm in self.dimms.items() if dimm.asked)

    # --- what the guest does -------------------------------------------------------------------

    def reset(self):
        """QEMU resets the machine, which carries out what the guest was asked for."""
        for slot in self.slots:
            if slot.asked:
                slot.leave()
            slot.seen = slot.online = False
        self.load = False
        self.stale = set()
        self.booted = False

    def boot(self):
        """The guest boots; all CPUs that are there are brought online."""
        self._all_online()
        self.tables = set(self.plugged())
        self.kexec = True
        self.booted = True

    def restart(self):
        """The guest starts another kernel, with the tables of the last reset."""
        self.stale = self.tables - self.plugged()
        self._all_online()
        self.load = False
        # The initial RAM disk for it does not hold itself.
        self.kexec = False

    def _all_online(self):
        for slot in self.slots:
            if slot.plugged:
                slot.seen = slot.online = True
                # The kernel that starts may be told of a CPU that it has found itself.
                slot.ost = None
        for number, dimm in self.dimms.items():
            if not dimm.seen:
                self.dimm_ost[number] = None
            dimm.seen = True

    def answer(self):
        """The guest runs, and does what it was asked for while it did not."""
        for slot in self.slots:
            if slot.asked:
                # It may have learned of the CPU only now.
                slot.ost = EJECTED if slot.seen else None
                slot.leave()
            elif slot.plugged and not slot.seen:
                slot.seen = True
                slot.ost = INSERTED
        for number, dimm in list(self.dimms.items()):
            if dimm.asked:
                del self.dimms[number]
                self.dimm_ost[number] = EJECTED
            elif not dimm.seen:
                dimm.seen = True
                self.dimm_ost[number] = INSERTED


@dataclass
class Model:
    """MACHINE, and what surrounds it.

    SNAPSHOTS has a copy of the machine by the name of the snapshot. PROCESSES is the number of
    QEMU processes so far. MEMORY_HOTPLUG: the guest's kernel uses memory that is plugged, and may
    refuse to give it back.
    """

    machine: Machine
    running: bool = True
    snapshots: dict = field(default_factory=dict)
    processes: int = 1
    memory_hotplug: bool = False

    def save(self, name):
        """Keep the machine under NAME."""
        self.snapshots[name] = copy.deepcopy(self.machine)

    def load(self, name):
        """The machine is that of the snapshot NAME; whether it runs has not changed."""
        self.machine = copy.deepcopy(self.snapshots[name])
        if self.running:
            self.machine.answer()


def start(slots, boot_cpus, memory_hotplug=False):
    """The Model of a guest with SLOTS slots that has booted with BOOT_CPUS CPUs."""
    machine = Machine([Slot() for _ in range(slots)])
    for slot in machine.slots[:boot_cpus]:
        slot.plugged = True
    machine.boot()
    for slot in machine.slots:
        slot.ost = (0, 0)
    return Model(machine, memory_hotplug=memory_hotplug)
