#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 suite=vfio parallel
"""scripts/host-report on what a real kernel for Arm shows, with groups, functions and VFIO."""

import tarfile
import tempfile

import labcase
import vfiocase
from vfiocase import BYPASSED, NIC, NVME, SHARED
from workbench.hostreport import collect, render, verdict

# There is no Python on the host: what the report reads is copied from there.
COPY = """
cd / && rm -rf /tmp/host && mkdir /tmp/host
for f in proc/sys/kernel/arch proc/sys/kernel/osrelease proc/self/limits proc/self/status \
    proc/cmdline proc/interrupts proc/self/mountinfo proc/swaps lib/modules/*/modules.alias \
    $(find sys/kernel/iommu_groups -name name -o -name reserved_regions) \
    $(find sys/devices/pci* sys/devices/system/cpu sys/devices/system/node sys/kernel/mm/hugepages \
        sys/module/vfio* -type f \\( -name class -o -name vendor -o -name device \
        -o -name 'sriov_*' -o -name online -o -name possible -o -name midr_el1 \
        -o -name '*_id' -o -name cpulist -o -name meminfo -o -name '*hugepages' \
        -o -path '*/parameters/*' -o -name numa_node \
        -o -name '*_link_*' -o -name modalias -o -name flags \\)); do
    mkdir -p /tmp/host/${f%/*} && cat $f > /tmp/host/$f
done 2> /dev/null
for f in $(find sys/devices/pci* sys/bus/pci/devices sys/kernel/iommu_groups sys/class/iommu \
        sys/class/net sys/class/vfio* sys/block -type l); do
    mkdir -p /tmp/host/${f%/*} && cp -d $f /tmp/host/$f
done
for f in $(find sys/devices/pci* sys/class -type d -name 'vfio*'); do mkdir -p /tmp/host/$f; done
for f in proc/[0-9]*/fd/*; do
    case $(readlink $f) in /dev/vfio/*)
        mkdir -p /tmp/host/${f%/*} && cp -d $f /tmp/host/$f
        f=${f%/fd/*}/comm && cat $f > /tmp/host/$f
    esac
done
tar -c -C /tmp/host .
"""


class Report(vfiocase.VfioCase):

    def report(self):
        """The report on a copy of what the host shows."""
        return collect.collect(self.copy())

    def judge(self, address):
        """The verdict on a device, and its text with single spaces."""
        judged = verdict.judge(collect.collect_devices(self.copy()), address)
        return judged, " ".join(render.render_verdict(judged).split())

    def copy(self):
        """A folder with a copy of what the host shows."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with tempfile.TemporaryFile() as out:
            status = self.place.stream(["sh", "-c", COPY], out, 120)
            self.assertEqual(status, 0)
            out.seek(0)
            with tarfile.open(fileobj=out) as archive:
                archive.extractall(folder.name)
        return folder.name

    def test_report(self):
        function, other = self.virtual_functions(2)
        self.bind(function)
        self.bind(SHARED[0])
        found = self.report()
        self.assertEqual(found["host"]["arch"], "aarch64")
        self.assertEqual(found["topology"]["online"], "0-1")
        self.assertEqual({unit["kind"] for unit in found["iommu"]["units"]}, {"SMMUv3"})
        groups = {device["address"]: group for group in found["iommu"]["groups"]
                  for device in group["devices"]}
        self.assertTrue(groups[function]["viable"])
        self.assertEqual(groups[SHARED[0]]["blockers"], [SHARED[1]])
        self.assertEqual(groups[NVME]["blockers"], [NVME])
        self.assertIn(BYPASSED, [device["address"] for device in found["iommu"]["ungrouped"]])
        card, = (card for card in found["sriov"] if card["device"]["address"] == NIC)
        self.assertEqual((card["vfs"], card["vfs_possible"]), (2, 7))
        self.assertEqual([f["address"] for f in card["functions"]], [function, other])
        self.assertEqual(card["functions"][0]["driver"], "vfio-pci")
        self.assertIn("vfio_iommu_type1", found["vfio"]["modules"])
        self.assertEqual(found["vfio"]["dma_entry_limit"], 65535)
        text = render.render(found)
        self.assertIn(f"not viable: {SHARED[1]} (e1000e) still uses a host driver", text)
        self.assertIs(found["iommu"]["msi_isolated"], True)
        disk, = (device for device in groups[NVME]["devices"] if device["address"] == NVME)
        self.assertEqual((disk["host_driver"], [disk["name"] for disk in disk["disks"]]),
                         ("nvme", ["nvme0n1"]))

    def test_verdict(self):
        """What is said to help does, and what was taken is given back by the commands shown."""
        self.assertEqual(self.judge(BYPASSED)[0]["verdict"], "no")
        judged, text = self.judge(NVME)
        self.assertEqual(judged["verdict"], "bind", text)
        status, output = self.place.script("set -e\n" + "\n".join(judged["bind"]))
        self.assertEqual(status, 0, output)
        self.assertEqual(self.driver(NVME), "vfio-pci")
        judged, text = self.judge(NVME)
        self.assertEqual(judged["verdict"], "ready", text)
        guest, _ = self.start(self.config(extra=judged["qemu"]), paused=True)
        judged, text = self.judge(NVME)
        self.assertEqual(judged["verdict"], "no")
        self.assertRegex(text, r"process \d+ \(qemu-system-aar\w*\) has it")
        guest.close()
        status, output = self.place.script("set -e\n" + "\n".join(judged["give_back"]))
        self.assertEqual(status, 0, output)
        self.assertEqual(self.driver(NVME), "nvme")


if __name__ == "__main__":
    labcase.main()
