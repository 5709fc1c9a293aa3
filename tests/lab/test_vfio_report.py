#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 suite=vfio parallel
"""scripts/host-report on what a real kernel for Arm shows, with groups, functions and VFIO."""

import tarfile
import tempfile

import labcase
import vfiocase
from vfiocase import BYPASSED, NIC, NVME, SHARED
from workbench import hostreport, hosttext

# There is no Python on the host: what the report reads is copied from there.
COPY = """
cd / && rm -rf /tmp/host && mkdir /tmp/host
for f in proc/sys/kernel/arch proc/sys/kernel/osrelease proc/self/limits proc/self/status \
    $(find sys/devices/pci* sys/devices/system/cpu sys/devices/system/node sys/kernel/mm/hugepages \
        sys/module/vfio* -type f \\( -name class -o -name vendor -o -name device -o -name 'sriov_*' \
        -o -name online -o -name possible -o -name midr_el1 -o -name '*_id' -o -name cpulist \
        -o -name meminfo -o -name '*hugepages' -o -path '*/parameters/*' \\)); do
    mkdir -p /tmp/host/${f%/*} && cat $f > /tmp/host/$f
done 2> /dev/null
for f in $(find sys/devices/pci* sys/bus/pci/devices sys/kernel/iommu_groups sys/class/iommu -type l); do
    mkdir -p /tmp/host/${f%/*} && cp -d $f /tmp/host/$f
done
for f in $(find sys/devices/pci* -type d -name vfio-dev); do mkdir -p /tmp/host/$f; done
tar -c -C /tmp/host .
"""


class Report(vfiocase.VfioCase):

    def report(self):
        """The report on a copy of what the host shows."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with tempfile.TemporaryFile() as out:
            status = self.place.stream(["sh", "-c", COPY], out, 120)
            self.assertEqual(status, 0)
            out.seek(0)
            with tarfile.open(fileobj=out) as archive:
                archive.extractall(folder.name)
        return hostreport.collect(folder.name)

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
        text = hosttext.render(found)
        self.assertIn(f"not viable: {SHARED[1]} (e1000e) still uses a host driver", text)


if __name__ == "__main__":
    labcase.main()
