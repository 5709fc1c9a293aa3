# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of steps: when each is possible, with which arguments, and what it leads to.

All of this follows from the model and from a generator of random numbers. How a step is done is in
machine.py. What is left out, because nobody can say how it ends:

- more than cpu-plug and cpu-unplug, a start, and devices of memory, while the guest stands still;
- reset, snapshots and migration while a memory module is asked back: QEMU forgets the request.
"""

from dataclasses import dataclass, field

from .model import DIMMS, DISKS, EJECTED, INSERTED, NICS, REFUSED, Dimm

DONE, REFUSED_BY_GUEST, REFUSED_BY_QEMU = "done", "refused by the guest", "refused by QEMU"
SNAPSHOTS = ("one", "two")


@dataclass(frozen=True)
class Step:
    """One step. ARGS is a dictionary of what JSON can hold."""

    kind: str
    args: dict = field(default_factory=dict)

    def __str__(self):
        return " ".join([self.kind, *(f"{key}={_text(value)}" for key, value in self.args.items())])


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


class Kind:
    """A kind of step. NAME is for people, WEIGHT says how often it comes compared with others."""

    name = ""
    weight = 1

    def choose(self, rng, model):
        """The arguments of a step that is possible now, or None."""
        raise NotImplementedError

    def possible(self, model, args):
        """Whether the step can be taken with ARGS; for steps that are repeated."""
        raise NotImplementedError

    def outcomes(self, model, args):
        """The outcomes of which one must come."""
        return {DONE}

    def apply(self, model, args, outcome):
        """Change MODEL into what must be seen after OUTCOME."""
        raise NotImplementedError


def _some(rng, numbers, most):
    """A sorted list of one to MOST of NUMBERS, which is not empty; mostly one."""
    count = min(rng.choice([1] * 4 + list(range(1, most + 1))), len(numbers))
    return sorted(rng.sample(sorted(numbers), count))


# --- CPUs --------------------------------------------------------------------------------------

class CpuPlug(Kind):
    """device_add for one or more slots; the guest is to bring the CPUs online, or not."""

    name, weight = "cpu-plug", 26

    def choose(self, rng, model):
        free = set(range(len(model.machine.slots))) - model.machine.plugged()
        if not free:
            return None
        return {"slots": _some(rng, free, 4), "online": rng.random() < 0.8}

    def possible(self, model, args):
        return not model.machine.plugged() & set(args["slots"])

    def apply(self, model, args, outcome):
        for number in args["slots"]:
            slot = model.machine.slots[number]
            slot.plugged = True
            model.machine.stale.discard(number)
            if model.running:
                slot.seen, slot.online, slot.ost = True, args["online"], INSERTED


class CpuUnplug(Kind):
    """device_del for one or more CPUs. The guest keeps the last one that it uses."""

    name, weight = "cpu-unplug", 24

    def choose(self, rng, model):
        machine = model.machine
        there = machine.plugged() - machine.asked() - {0}
        if not there:
            return None
        args = {"slots": _some(rng, there, 3)}
        if not self.possible(model, args):
            args["slots"] = args["slots"][:1]
        return args if self.possible(model, args) else None

    def possible(self, model, args):
        machine, slots = model.machine, set(args["slots"])
        if not machine.booted or 0 in slots or slots - (machine.plugged() - machine.asked()):
            return False
        left = machine.online() - machine.asked() - slots
        # Which one of several the guest refuses is a matter of luck, and so is what it refuses
        # later on.
        return bool(left) or model.running and len(slots) == 1

    def outcomes(self, model, args):
        if model.running and model.machine.online() <= set(args["slots"]):
            return {REFUSED_BY_GUEST}
        return {DONE}

    def apply(self, model, args, outcome):
        for number in args["slots"]:
            slot = model.machine.slots[number]
            if outcome == REFUSED_BY_GUEST:
                slot.ost = REFUSED
            elif model.running:
                slot.leave()
                slot.ost = EJECTED
            else:
                slot.asked = True


class CpuOffline(Kind):
    """The guest stops to use a CPU, which may be the boot CPU."""

    name, weight = "cpu-offline", 9

    def choose(self, rng, model):
        online = model.machine.online()
        return {"slot": rng.choice(sorted(online))} if model.running and len(online) > 1 else None

    def possible(self, model, args):
        online = model.machine.online()
        return model.running and len(online) > 1 and args["slot"] in online

    def apply(self, model, args, outcome):
        model.machine.slots[args["slot"]].online = False


class CpuOnline(Kind):
    """The guest uses a CPU that it has."""

    name, weight = "cpu-online", 10

    def choose(self, rng, model):
        off = model.machine.seen() - model.machine.online()
        return {"slot": rng.choice(sorted(off))} if model.running and off else None

    def possible(self, model, args):
        return model.running and args["slot"] in model.machine.seen() - model.machine.online()

    def apply(self, model, args, outcome):
        model.machine.slots[args["slot"]].online = True


class Work(Kind):
    """Programs that are bound to CPUs run there."""

    name, weight = "work", 7

    def choose(self, rng, model):
        return {"slots": _some(rng, model.machine.online(), 3)} if model.running else None

    def possible(self, model, args):
        return model.running and set(args["slots"]) <= model.machine.online()

    def apply(self, model, args, outcome):
        """Nothing changes."""


class Load(Kind):
    """Something begins, or ends, that keeps the guest busy and writes to its memory."""

    name, weight = "load", 4

    def choose(self, rng, model):
        return {"on": not model.machine.load} if model.running else None

    def possible(self, model, args):
        return model.running and args["on"] != model.machine.load

    def apply(self, model, args, outcome):
        model.machine.load = args["on"]


# --- memory ------------------------------------------------------------------------------------

class DimmPlug(Kind):
    """object-add and device_add of a memory module."""

    name, weight = "dimm-plug", 7

    def choose(self, rng, model):
        free = sorted(set(range(DIMMS)) - set(model.machine.dimms))
        return {"dimm": rng.choice(free)} if free else None

    def possible(self, model, args):
        return args["dimm"] not in model.machine.dimms

    def apply(self, model, args, outcome):
        model.machine.dimms[args["dimm"]] = Dimm(seen=model.running)
        if model.running:
            model.machine.dimm_ost[args["dimm"]] = INSERTED


class DimmUnplug(Kind):
    """device_del of a memory module. A guest that uses its memory may keep it."""

    name, weight = "dimm-unplug", 6

    def choose(self, rng, model):
        there = [number for number in sorted(model.machine.dimms)
                 if self.possible(model, {"dimm": number})]
        return {"dimm": rng.choice(there)} if there else None

    def possible(self, model, args):
        dimm = model.machine.dimms.get(args["dimm"])
        # One that learns of the module and of its end at once may miss the end.
        if not dimm or dimm.asked or not dimm.seen or not model.machine.booted:
            return False
        return model.running or not model.memory_hotplug

    def outcomes(self, model, args):
        return {DONE, REFUSED_BY_GUEST} if model.memory_hotplug else {DONE}

    def apply(self, model, args, outcome):
        number = args["dimm"]
        if outcome == REFUSED_BY_GUEST:
            model.machine.dimm_ost[number] = REFUSED
        elif model.running:
            del model.machine.dimms[number]
            model.machine.dimm_ost[number] = EJECTED
        else:
            model.machine.dimms[number].asked = True


# --- PCI ---------------------------------------------------------------------------------------

class _Pci(Kind):
    """PLACE is the field of Machine with the numbers of the devices that are there.

    COUNT is how many there may be.
    """

    place, count = "", 0

    def there(self, model):
        """The numbers of those that are there, a set that may be changed."""
        return getattr(model.machine, self.place)


class _PciPlug(_Pci):

    def choose(self, rng, model):
        free = sorted(set(range(self.count)) - self.there(model))
        return {"number": rng.choice(free)} if model.running and free else None

    def possible(self, model, args):
        return model.running and args["number"] not in self.there(model)

    def apply(self, model, args, outcome):
        self.there(model).add(args["number"])


class _PciUnplug(_Pci):

    def choose(self, rng, model):
        there = sorted(self.there(model))
        return {"number": rng.choice(there)} if model.running and there else None

    def possible(self, model, args):
        return model.running and args["number"] in self.there(model)

    def apply(self, model, args, outcome):
        self.there(model).remove(args["number"])


class NicPlug(_PciPlug):
    """device_add of a network card behind a root port of its own."""

    name, weight, place, count = "nic-plug", 5, "nics", NICS


class NicUnplug(_PciUnplug):
    """device_del of a network card."""

    name, weight, place, count = "nic-unplug", 4, "nics", NICS


class DiskPlug(_PciPlug):
    """device_add of a disk behind a root port of its own."""

    name, weight, place, count = "disk-plug", 5, "disks", DISKS


class DiskUnplug(_PciUnplug):
    """device_del of a disk."""

    name, weight, place, count = "disk-unplug", 4, "disks", DISKS


# --- the machine -------------------------------------------------------------------------------

class Reset(Kind):
    """system_reset. What was asked of the guest is carried out."""

    name, weight = "reset", 3

    def choose(self, rng, model):
        return {} if self.possible(model, {}) else None

    def possible(self, model, args):
        return not model.machine.dimms_asked()

    def apply(self, model, args, outcome):
        model.machine.reset()
        if model.running:
            model.machine.boot()


class Reboot(Kind):
    """The guest restarts itself."""

    name, weight = "reboot", 3

    def choose(self, rng, model):
        return {} if model.running else None

    def possible(self, model, args):
        return model.running

    def apply(self, model, args, outcome):
        model.machine.reset()
        model.machine.boot()


class Kexec(Kind):
    """The guest starts another kernel without a reset. It does so on CPU 0, if that is online."""

    name, weight = "kexec", 3

    def choose(self, rng, model):
        return {} if self.possible(model, {}) else None

    def possible(self, model, args):
        return model.running and model.machine.kexec and 0 in model.machine.online()

    def apply(self, model, args, outcome):
        model.machine.restart()


class Stop(Kind):
    """stop."""

    name, weight = "stop", 7

    def choose(self, rng, model):
        return {} if model.running else None

    def possible(self, model, args):
        return model.running

    def apply(self, model, args, outcome):
        model.running = False


class Cont(Kind):
    """cont. The guest does what was asked of it, or boots after a reset."""

    # So that a guest stands still for about four steps.
    name, weight = "cont", 24

    def choose(self, rng, model):
        return {} if not model.running else None

    def possible(self, model, args):
        return not model.running

    def apply(self, model, args, outcome):
        model.running = True
        if model.machine.booted:
            model.machine.answer()
        else:
            model.machine.boot()


class SaveVm(Kind):
    """savevm."""

    name, weight = "savevm", 3

    def choose(self, rng, model):
        name = rng.choice(SNAPSHOTS)
        return {"name": name} if self.possible(model, {}) else None

    def possible(self, model, args):
        return model.machine.booted and not model.machine.dimms_asked()

    def apply(self, model, args, outcome):
        model.save(args["name"])


class LoadVm(Kind):
    """loadvm of a snapshot that has the devices of the machine."""

    name, weight = "loadvm", 6

    def choose(self, rng, model):
        fitting = [name for name in sorted(model.snapshots) if self.possible(model, {"name": name})]
        return {"name": rng.choice(fitting)} if fitting else None

    def possible(self, model, args):
        snapshot = model.snapshots.get(args["name"])
        return bool(snapshot and snapshot.devices() == model.machine.devices()
                    and not model.machine.dimms_asked())

    def apply(self, model, args, outcome):
        model.load(args["name"])


class Restore(Kind):
    """-loadvm of a snapshot in a new QEMU, which has its devices."""

    name = "restore"

    def choose(self, rng, model):
        if not model.snapshots or model.machine.dimms_asked():
            return None
        return {"name": rng.choice(sorted(model.snapshots))}

    def possible(self, model, args):
        return args["name"] in model.snapshots and not model.machine.dimms_asked()

    def apply(self, model, args, outcome):
        model.load(args["name"])
        model.processes += 1


class Migrate(Kind):
    """The machine moves to a new QEMU, over one channel or several."""

    # A process that lives long shows what it leaves behind.
    name = "migrate"

    def choose(self, rng, model):
        multifd = rng.random() < 0.3
        return {"multifd": multifd} if self.possible(model, {}) else None

    def possible(self, model, args):
        return model.machine.booted and not model.machine.dimms_asked()

    def apply(self, model, args, outcome):
        model.processes += 1


class Wrong(Kind):
    """A request that QEMU must refuse, after which all is as before."""

    name, weight = "wrong", 4

    # What it is, and where it may be made.
    WHAT = {
        "boot-cpu": lambda machine: {0},
        "taken-slot": lambda machine: machine.plugged(),
        "taken-dimm": lambda machine: frozenset(machine.dimms),
        "taken-port": lambda machine: frozenset(machine.disks),
        "unknown-device": lambda machine: {0},
    }

    def choose(self, rng, model):
        what = rng.choice(sorted(self.WHAT))
        places = self.WHAT[what](model.machine)
        return {"what": what, "number": rng.choice(sorted(places))} if places else None

    def possible(self, model, args):
        return args["number"] in self.WHAT[args["what"]](model.machine)

    def outcomes(self, model, args):
        return {REFUSED_BY_QEMU}

    def apply(self, model, args, outcome):
        """Nothing changes."""


KINDS = {kind.name: kind for kind in (
    CpuPlug(), CpuUnplug(), CpuOffline(), CpuOnline(), Work(), Load(), DimmPlug(), DimmUnplug(),
    NicPlug(), NicUnplug(), DiskPlug(), DiskUnplug(), Reset(), Reboot(), Kexec(), Stop(), Cont(),
    SaveVm(), LoadVm(), Restore(), Migrate(), Wrong())}
# What undoes what.
PAIRS = ({"cpu-plug", "cpu-unplug"}, {"cpu-offline", "cpu-online"}, {"dimm-plug", "dimm-unplug"},
         {"nic-plug", "nic-unplug"}, {"disk-plug", "disk-unplug"}, {"stop", "cont"},
         {"savevm", "loadvm"}, {"savevm", "restore"})
