#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=vfio parallel
"""An NVMe disk goes from the host to a guest and back, with what is on it."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
import vfiodevicecases  # noqa: E402
from vfiocase import NVME  # noqa: E402
from workbench.guest.cpus import Cpus  # noqa: E402
from workbench.lab import image  # noqa: E402


class Nvme(vfiodevicecases.Disk, vfiocase.VfioCase):

    def test_data(self):
        """What the host wrote is read in the guest, and the reverse."""
        self.write(self.place, "from-the-host", 5)
        self.bind(NVME)
        guest = self.boot_guest(f"vfio-pci,host={NVME},bus=hotplug0,id=at-hotplug0")
        self.assert_read(guest, "from-the-host", 5)
        self.assertEqual(int(guest.check("cat /sys/block/nvme0n1/size")) * 512, image.DISK_SIZE)
        self.write(guest, "from-the-guest", 7)
        self.detach(guest)
        self.release(NVME)
        self.assert_read(self.place, "from-the-guest", 7)
        self.assert_read(self.place, "from-the-host", 5)

    def test_plug_with_cpu(self):
        """Disk and network function come and go many times, a CPU at the same time."""
        function, = self.virtual_functions(1)
        self.bind(function)
        self.bind(NVME)
        guest = self.boot_guest(smp="1,maxcpus=2")
        cpus = Cpus(guest)
        for number in range(20):
            self.attach(guest, NVME, "hotplug0")
            cpus.add(1)
            self.attach(guest, function, "hotplug1")
            guest.wait_for(lambda: self.functions(guest) == 2, "both functions", 60)
            self.write(guest, f"round-{number}", number)
            self.assert_read(guest, f"round-{number}", number)
            guest.wait_for(lambda: 1 in cpus.view().online
                           or guest.run("echo 1 > /sys/devices/system/cpu/cpu1/online")[0] == 0,
                           "CPU 1", 60)
            for port in ("hotplug0", "hotplug1"):
                guest.delete_device(f"at-{port}")
            cpus.wait_deleted(cpus.delete(1))
            for port in ("hotplug0", "hotplug1"):
                guest.event("DEVICE_DELETED", 60, device=f"at-{port}")
            guest.wait_for(lambda: self.functions(guest) == 0, "no function", 60)
        self.assertEqual(guest.run("dmesg | grep -E 'Oops|BUG|WARNING'")[1], "")
        self.release(NVME)
        self.assert_read(self.place, "round-19", 19)


if __name__ == "__main__":
    vfiocase.labcase.main()
