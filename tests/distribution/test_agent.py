#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600
"""QEMU's guest agent, which libvirt asks for setvcpus --guest, and CPUs that come and go."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import distributioncase  # noqa: E402
from qemu.qmp import ExecuteError  # noqa: E402
from qemu.qmp.legacy import QEMUMonitorProtocol  # noqa: E402
from workbench.guest.qemu import FACTOR  # noqa: E402

PORT = "org.qemu.guest_agent.0"
SECONDS = 60 * FACTOR


class Agent(distributioncase.DistributionCase):

    def test_vcpus(self):
        """The agent knows an added CPU, takes it offline and online, and knows when it has gone."""
        folder = self.folder()
        guest, cpus = self.boot(self.installed(folder, extra=[
            "-chardev", f"socket,id=agent,path={folder}/agent,server=on,wait=off",
            "-device", "virtio-serial-pci",
            "-device", f"virtserialport,chardev=agent,name={PORT}"]))
        guest.wait_for(lambda: guest.run("systemctl is-active qemu-guest-agent")[1] == "active",
                       "the agent")
        agent = QEMUMonitorProtocol(f"{folder}/agent")
        self.addCleanup(agent.close)
        agent.connect(negotiate=False)
        agent.settimeout(SECONDS)
        self.add_rule(guest)

        # CPU 0 is no exception: Linux can take it offline as well.
        self.assertEqual(self.vcpus(agent), {0: True, 1: True})
        cpus.add(3)
        self.wait_online(cpus, {0, 1, 3})
        self.assertEqual(self.vcpus(agent), {0: True, 1: True, 3: True})

        self.assertEqual(self.turn(agent, False, 1, 3), 2)
        cpus.wait_view("what the agent has done", enabled={0, 1, 3}, online={0})
        self.assertEqual(self.vcpus(agent), {0: True, 1: False, 3: False})
        self.assertEqual(self.turn(agent, True, 3), 1)
        cpus.wait_view("what the agent has done", enabled={0, 1, 3}, online={0, 3})
        guest.check("taskset -c 3 true")

        # Both one that is online and one that is not.
        for number in (3, 1):
            cpus.wait_deleted(cpus.delete(number))
        self.assertEqual(self.vcpus(agent), {0: True})
        with self.assertRaises(ExecuteError):
            self.turn(agent, True, 3)
        cpus.plug(3)
        self.wait_online(cpus, {0, 3})
        self.assertEqual(self.vcpus(agent), {0: True, 3: True})
        self.assert_sound(guest)

    def vcpus(self, agent):
        """{CPU: whether it is online} of all that the agent lists."""
        return {vcpu["logical-id"]: vcpu["online"] for vcpu in agent.cmd("guest-get-vcpus")}

    def turn(self, agent, online, *numbers):
        """Have the agent take the CPUs NUMBERS online or offline; returns how many it has done."""
        return agent.cmd("guest-set-vcpus", vcpus=[
            {"logical-id": number, "online": online} for number in numbers])


if __name__ == "__main__":
    distributioncase.main()
