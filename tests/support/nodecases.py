# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs that come and go in a machine with two NUMA nodes, with TCG and KVM."""

from workbench.guest.cpus import SYSFS

# For -smp: CPUs 0 to 3 are of socket 0, CPUs 4 to 7 of socket 1.
SHAPE = "2,maxcpus=8,sockets=2,clusters=1,cores=4,threads=1"
# To have a node for each socket.
SOCKETS = [word for node in (0, 1) for word in ("-numa", f"cpu,node-id={node},socket-id={node}")]


def memory(size):
    """Options for two nodes with memory of SIZE each."""
    return [word for node in (0, 1) for word in (
        "-object", f"memory-backend-ram,id=node{node},size={size}",
        "-numa", f"node,nodeid={node},memdev=node{node}")]


class NodeCases:
    """For a GuestCase."""

    def test_added(self):
        """A CPU that comes belongs to the node of its slot, in the guest as in QEMU."""
        guest, cpus = self.boot(self.config(
            machine="virt,gic-version=3,cpu-hotplug=on", memory="384M", smp=SHAPE,
            extra=[*memory("192M"), *SOCKETS]))
        # Neither in the order of the nodes nor all of one.
        for number in (5, 2, 7):
            cpus.plug(number)
        self.assert_cpus(cpus, {0, 1, 2, 5, 7})
        self.assertEqual({number: self.node(guest, number) for number in (0, 1, 2, 5, 7)},
                         {0: "node0", 1: "node0", 2: "node0", 5: "node1", 7: "node1"})
        self.assertEqual([slot["props"]["node-id"] for slot in cpus.slots()], [0] * 4 + [1] * 4)
        cpus.unplug(5)
        cpus.plug(6)
        self.assert_nodes(guest, cpus)
        self.assertEqual(guest.check("cat /sys/devices/system/node/node1/cpulist"), "6-7")
        cpus.work({0, 1, 2, 6, 7}, 200)
        self.after_plugs(guest, cpus)

    def after_plugs(self, guest, cpus):
        """What else is done with the guest in the end, which has CPUs 0, 1, 2, 6 and 7."""

    def assert_nodes(self, guest, cpus):
        """The guest has the CPUs of the end, the last that came in the node of its slot."""
        self.assert_cpus(cpus, {0, 1, 2, 6, 7})
        self.assertEqual(self.node(guest, 6), "node1")

    def node(self, guest, number):
        """The node of the CPU as the guest has it."""
        return guest.check(f"cd {SYSFS}/cpu{number}; echo node*")
