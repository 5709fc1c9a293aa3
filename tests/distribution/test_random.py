#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""CPUs, memory, network cards and disks come and go in random order in a Debian guest.

After each step the guest has what QEMU has. The default form has always the same steps; the long
one says its seed, with which DISTRIBUTION_SEED repeats it. The steps are in the log of the test.
"""

import os
import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import distributioncase  # noqa: E402
from workbench.guest.cpus import parse_list  # noqa: E402

STEPS = 1000 if distributioncase.LONG else 60
SEED = os.environ.get("DISTRIBUTION_SEED")
CPUS = range(2, 8)
PORTS = 6
MIB = 1 << 20
BLOCK = 128 * MIB               # what Linux adds memory by
SECONDS = 60
# The guest's part of what is compared, a line for each kind.
STATE = r"""#!/bin/sh
cpus | sed 's/.*enabled=\([^ ]*\) online=\([^ ]*\).*/\1 \2/'
echo $(cat /sys/class/net/e*/address 2> /dev/null)
echo $(for disk in /sys/block/vd*; do echo "$(cat $disk/serial)"; done 2> /dev/null | grep -v root)
awk '/^MemTotal/ { print $2 }' /proc/meminfo
"""


class Machine:
    """What is plugged into GUEST, and the steps that change it."""

    def __init__(self, case, guest, cpus, dice):
        self.case, self.guest, self.cpus, self.dice = case, guest, cpus, dice
        self.cards, self.disks, self.modules = {}, {}, set()
        self.free_ports = [f"hotplug{number}" for number in range(PORTS)]
        self.memory = 0
        self.without = self.state()["memory"]

    def state(self):
        """What the guest has."""
        lines = self.guest.check("state", 60).split("\n")
        enabled, online = lines[0].split(" ")
        return {"enabled": parse_list(enabled), "online": parse_list(online),
                "cards": set(lines[1].split()), "disks": set(lines[2].split()),
                "memory": int(lines[3]) << 10}

    # --- steps ----------------------------------------------------------------------------------

    def step(self):
        """Do one at random; returns what it was."""
        return self.dice.choice((self.cpu, self.cpu, self.cpu, self.card, self.disk, self.module,
                                 self.size))()

    def cpu(self):
        """A CPU comes or goes."""
        number = self.dice.choice(CPUS)
        if number in self.cpus.taken():
            # It may have been a card that came in the step before.
            self.cpus.wait_probed()
            self.cpus.wait_deleted(self.cpus.delete(number), SECONDS)
            return f"CPU {number} goes"
        self.cpus.add(number)
        return f"CPU {number} comes"

    def card(self):
        """A network card comes or goes."""
        return self.device(self.cards, "card", 3, lambda number: {
            "driver": "virtio-net-pci", "netdev": f"net{number}", "romfile": "",
            "mac": f"52:54:00:00:00:{number:02x}"}, lambda number: f"52:54:00:00:00:{number:02x}")

    def disk(self):
        """A disk comes or goes."""
        return self.device(self.disks, "disk", 3, lambda number: {
            "driver": "virtio-blk-pci", "drive": f"more{number}", "serial": f"more{number}"},
            lambda number: f"more{number}")

    def device(self, there, kind, count, arguments, seen_as):
        """One of COUNT devices of a KIND comes or goes; THERE has {number: (port, what it is to the
        guest)}."""
        number = self.dice.randrange(count)
        name = f"{kind}{number}"
        if number in there:
            self.take(name)
            port, _ = there.pop(number)
            self.free_ports.append(port)
            return f"{name} goes from {port}"
        port = self.free_ports.pop(self.dice.randrange(len(self.free_ports)))
        self.guest.qmp("device_add", {"id": name, "bus": port, **arguments(number)})
        there[number] = (port, seen_as(number))
        return f"{name} comes to {port}"

    def take(self, name):
        """Have the guest give up the device NAME."""
        self.guest.delete_device(name, SECONDS)
        self.guest.event("DEVICE_DELETED", SECONDS, device=name)

    def module(self):
        """A memory module comes or goes. Debian's kernel answers for it, and does not use it."""
        number = self.dice.randrange(2)
        name = f"module{number}"
        if number in self.modules:
            self.take(name)
            self.guest.qmp("object-del", {"id": f"for-{name}"})
            self.modules.remove(number)
            return f"{name} goes"
        self.guest.qmp("object-add", {"qom-type": "memory-backend-ram", "id": f"for-{name}",
                                      "size": BLOCK})
        self.guest.qmp("device_add", {"driver": "pc-dimm", "id": name, "memdev": f"for-{name}"})
        self.modules.add(number)
        return f"{name} comes"

    def size(self):
        """The memory of virtio-mem becomes more or less."""
        self.memory = self.dice.randrange(5) * BLOCK
        self.guest.qmp("qom-set", {"path": "/machine/peripheral/memory",
                                   "property": "requested-size", "value": self.memory})
        return f"{self.memory // MIB} MiB of virtio-mem"

    # --- what must be ---------------------------------------------------------------------------

    def expected(self):
        """What the guest is to have by what QEMU says."""
        taken = self.cpus.taken()
        return {"enabled": taken, "online": taken,
                "cards": {mac for _, mac in self.cards.values()},
                "disks": {serial for _, serial in self.disks.values()},
                "memory": self.without + self.virtio_memory()}

    def virtio_memory(self):
        """Bytes that the guest has of virtio-mem by what QEMU says."""
        found = [module["data"] for module in self.guest.qmp("query-memory-devices")
                 if module["type"] == "virtio-mem"]
        return found[0]["size"]

    def check(self, what):
        """Wait until the guest and QEMU agree, and both have what the steps were to lead to."""
        guest = self.guest
        guest.wait_for(lambda: self.virtio_memory() == self.memory,
                       lambda: f"after {what}: {self.memory} bytes of virtio-mem, QEMU says "
                       f"{self.virtio_memory()}", SECONDS)
        guest.wait_for(lambda: self.state() == self.expected(),
                       lambda: f"after {what}: the guest has {self.state()} and QEMU "
                       f"{self.expected()}; {self.cpus.describe()}", SECONDS)
        modules = {module["data"]["id"] for module in guest.qmp("query-memory-devices")
                   if module["type"] == "dimm"}
        self.case.assertEqual(modules, {f"module{number}" for number in self.modules})
        self.case.assertEqual(guest.qmp("query-status")["status"], "running")


class Together(distributioncase.DistributionCase):

    def test_random(self):
        """So many steps that each kind meets each other in all orders."""
        seed = int(SEED or (random.randrange(1 << 32) if distributioncase.LONG else 1))
        print(f"note: {STEPS} steps with seed {seed}")
        options = ["-object", f"memory-backend-ram,id=more-memory,size={8 * BLOCK}",
                   "-device", "virtio-mem-pci,id=memory,memdev=more-memory,requested-size=0"]
        for number in range(3):
            options += ["-netdev", f"user,id=net{number},ipv6=off", "-blockdev",
                        f"driver=null-co,node-name=more{number},size={MIB},read-zeroes=on"]
        guest, cpus = self.boot(self.installed(
            machine=f"virt,pcie-hotplug-ports={PORTS}", memory="2G,slots=4,maxmem=8G",
            extra=options, says=(r"warning: netdev net\d has no peer$",)))
        self.add_rule(guest)
        # Otherwise the kernel's own data keep a few MiB of what is to go.
        guest.check("echo online_movable > /sys/devices/system/memory/auto_online_blocks")
        self.put(guest, "/tmp/virt-hotplug/state", STATE, "755")
        machine = Machine(self, guest, cpus, random.Random(seed))
        done = []
        try:
            for number in range(STEPS):
                done.append(machine.step())
                machine.check(f"step {number} of seed {seed} ({done[-1]})")
                guest.events()
        finally:
            print(f"steps of seed {seed}: " + "; ".join(done))
        self.assert_sound(guest)
        cpus.work(cpus.taken(), 200)


if __name__ == "__main__":
    distributioncase.main()
