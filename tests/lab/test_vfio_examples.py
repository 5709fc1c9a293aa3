#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=vfio parallel
"""The example of passthrough and the commands in QEMU's manual, with a virtual function of the
emulated Arm host's network card.
"""

import dataclasses
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import manual  # noqa: E402
import vfiocase  # noqa: E402

from example import FOLDER, Script  # noqa: E402
from workbench.guest import assets  # noqa: E402

DEVICE = "0000:02:00.0"         # in the manual


class Passthrough(vfiocase.VfioCase):

    drivers = ("igbvf", "virtio_blk")

    def test_command_line(self):
        """The guest has its function, lets it go, and takes a vCPU; the host gets it back."""
        function, = self.virtual_functions(1)
        self.bind(function)
        folder = self.folder()
        disk = folder / "disk.qcow2"
        status, output = self.place.run([self.image_tool(), "create", "-q", "-f", "qcow2", disk,
                                         "1M"])
        self.assertEqual(status, 0, output)
        firmware, file = assets.firmware(), self.place.file
        guest, cpus = self.start(Script(
            **vars(self.config(smp="1,maxcpus=4")), script=FOLDER / "passthrough.sh", variables={
                "FUNCTION": function, "DISK": disk, "NVRAM": folder / "vars.fd",
                "CODE": file(firmware.code), "VARS": file(firmware.vars)}))
        guest.wait_ready(300)
        guest.check(f"modprobe -a {' '.join(self.drivers)}", 120)
        self.interface(guest, "igbvf")
        self.assertEqual(guest.check("cat /sys/block/vda/size"), "2048")
        cpus.plug(1)
        guest.delete_device("function0")
        guest.event("DEVICE_DELETED", 60, device="function0")
        self.assertEqual(self.functions(guest), 0)
        self.release(function)
        self.assertEqual(self.driver(function), "igbvf")

    def test_manual(self):
        """The guest gets its function when it starts, and in another one by its monitor."""
        function, = self.virtual_functions(1)
        text = [[dataclasses.replace(command, words=command.words.replace(DEVICE, function))
                 for command in block] for block in manual.blocks("devices/vfio-pci.rst")]
        (look, ), bind, (start, plug, unplug) = text[:3]
        self.assertEqual(self.place.check(look.words), function)
        self.release(function)
        self.assertEqual(self.driver(function), "igbvf")
        for command in bind:
            self.place.check(command.words)
        self.assertEqual(self.driver(function), "vfio-pci")
        machine, ports, device, value = manual.options(start)
        self.assertEqual(device, "-device")
        guest, _ = self.start(self.config(machine="virt,gic-version=3", extra=[machine, ports]))
        self.wait_ready(guest)
        # It may warn of what the host's kernel lacks.
        self.assertNotIn("Error", guest.hmp(plug.words))
        self.interface(guest, "igbvf")
        self.assertEqual(guest.hmp(unplug.words), "")
        guest.event("DEVICE_DELETED", 60, device="nic")
        guest.close()
        guest, _ = self.start(self.config(machine="virt,gic-version=3",
                                          extra=[machine, ports, device, value]))
        self.wait_ready(guest)
        self.interface(guest, "igbvf")


if __name__ == "__main__":
    vfiocase.labcase.main()
