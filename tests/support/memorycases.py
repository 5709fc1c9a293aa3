# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory modules beside CPUs that come and go, however the guest runs. For a GuestCase."""

SIZE = 128 << 20                # of a module


class MemoryCases:
    """Debian's kernel for Arm answers for modules, but does not use what they have."""

    machine = "virt"

    def test_nodes(self):
        """A machine with two nodes, to which nobody assigns CPUs, and room for NVDIMMs."""
        nodes = [word for node in (0, 1) for word in (
            "-object", f"memory-backend-ram,id=start{node},size=256M",
            "-numa", f"node,nodeid={node},memdev=start{node}")]
        guest, cpus = self.boot(self.config(
            machine=f"{self.machine},nvdimm=on", memory="512M,slots=16,maxmem=4G", extra=nodes,
            smp="2,maxcpus=8,sockets=2,clusters=1,cores=4,threads=1"))
        self.assertEqual([slot["props"]["node-id"] for slot in cpus.slots()], [0] * 4 + [1] * 4)
        for number, cpu in enumerate((5, 2)):
            cpus.plug(cpu)
            self.add_memory(guest, number)
            self.wait_answer(guest, "DIMM", number)
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

    def wait_answer(self, guest, kind, number):
        """The guest says that it has taken note of what came into the slot NUMBER for KIND."""
        def answered():
            return any((info["slot-type"], info["slot"], info["source"], info["status"])
                       == (kind, str(number), 1, 0) for info in
                       (event["data"]["info"] for event in guest.events("ACPI_DEVICE_OST")))

        guest.wait_for(answered, f"the guest's answer for {kind} {number}")
