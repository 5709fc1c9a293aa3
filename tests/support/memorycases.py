# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory modules beside CPUs that come and go, however the guest runs. For a GuestCase."""

import nodecases
from guestcase import DEVICE_CHECK

SIZE = 128 << 20                # of a module


class MemoryCases:
    """Debian's kernel for Arm answers for modules, but does not use what they have."""

    def test_nodes(self):
        """A machine with two nodes, to which nobody assigns CPUs, and room for NVDIMMs."""
        guest, cpus = self.boot(self.config(
            machine="virt,gic-version=3,nvdimm=on", memory="512M,slots=16,maxmem=4G",
            smp=nodecases.SHAPE, extra=nodecases.memory("256M")))
        self.assertEqual([slot["props"]["node-id"] for slot in cpus.slots()], [0] * 4 + [1] * 4)
        for number, cpu in enumerate((5, 2)):
            cpus.plug(cpu)
            self.add_memory(guest, number)
            self.wait_status(guest, "DIMM", number, DEVICE_CHECK)
        self.assert_cpus(cpus, {0, 1, 2, 5})
        self.reset(guest)
        self.assert_cpus(cpus, {0, 1, 2, 5})
        guest.qmp("device_del", {"id": "module0"})
        guest.event("DEVICE_DELETED", device="module0")
        cpus.unplug(5)
        cpus.plug(7)
        self.add_memory(guest, 2)
        self.assert_cpus(cpus, {0, 1, 2, 7})
        self.assert_sound(guest)

    def add_memory(self, guest, number):
        """Plug a module."""
        guest.qmp("object-add", {"qom-type": "memory-backend-ram", "id": f"ram{number}",
                                 "size": SIZE})
        guest.qmp("device_add", {"driver": "pc-dimm", "id": f"module{number}",
                                 "memdev": f"ram{number}"})
