#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 suite=vfio parallel
"""Each errno that Linux gives at each step is explained by QEMU, in what reaches QMP.

The kernel is a preloaded library, because none has all of these. What Linux gives where is in the
table of docs/system/devices/vfio-pci.rst, which must have each case.
"""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
import vfiodocument  # noqa: E402
from guestcase import QEMU, GuestCase, Refused  # noqa: E402
from workbench.guest.qemu import Qemu  # noqa: E402
from workbench.system import paths  # noqa: E402

ADDRESS = "0000:02:00.0"
GROUP = "/dev/vfio/7"
NODE = "/dev/vfio/devices/vfio0"
TOKEN = "11111111-2222-3333-4444-555555555555"

NOT_VISIBLE = "the host's /dev/vfio is not visible to QEMU"
SHARED = "the IOMMU group is not viable: 0000:02:00.1 (tg3) still uses a host driver"
DIRECT = "the firmware wants memory to stay mapped for a device of the IOMMU group"
MSI = "the host does not isolate the interrupts (MSI) of its devices"
NO_TOKEN = "the device takes no 'vf-token', because it neither is a virtual function"

# Step at which Linux refuses, errno, what QEMU says of it, what is special of the device
GROUPS = (
    (GROUP, "EACCES", "QEMU's user may not read and write it", ""),
    (GROUP, "EPERM", "the device cgroup that QEMU is in does not allow it", ""),
    (GROUP, "EBUSY", "the IOMMU group is in use, by another process or with iommufd", ""),
    (GROUP, "ENXIO", "that node is not of this device", ""),
    (GROUP, "ENOENT", "the device has no driver: bind it to vfio-pci", "undriven"),
    (GROUP, "ENOENT", "the device uses the host driver 'igb': bind it to vfio-pci", "host"),
    (GROUP, "ENOENT", "the host has no IOMMU for the device", "noiommu"),
    ("VIABLE", "EPERM", "group 7 is not viable: 0000:02:00.1 (tg3) still uses a host driver",
     "shared"),
    ("/dev/vfio/vfio", "EACCES", "QEMU's user may not read and write it", ""),
    ("SET_CONTAINER", "EPERM", SHARED, "shared"),
    ("SET_CONTAINER", "EINVAL", DIRECT, "direct"),
    ("SET_IOMMU", "EPERM", MSI, ""),
    ("SET_IOMMU", "EPERM", DIRECT, "direct"),
    ("GET_DEVICE", "ENODEV", "the device has no driver: bind it to vfio-pci", "undriven"),
    ("GET_DEVICE", "EACCES", "virtual functions of the device are in use", "sriov"),
    ("GET_DEVICE", "EINVAL", NO_TOKEN, "token"),
    ("GET_DEVICE", "EPERM", SHARED, "shared"),
    ("MAP_DMA", "ENOSPC", "", ""),
)
IOMMUFD = (
    (NODE, "ENOENT", NOT_VISIBLE, ""),
    (NODE, "EACCES", "QEMU's user may not read and write it", ""),
    (NODE, "EPERM", "the device cgroup that QEMU is in does not allow it", ""),
    (NODE, "ENXIO", "that node is not of this device", ""),
    ("BIND", "EBUSY", "the IOMMU group is in use without iommufd", ""),
    ("BIND", "EPERM", SHARED, "shared"),
    ("BIND", "EPERM", MSI, ""),
    ("BIND", "EINVAL", "the device is in use, by another process or by this one", ""),
    ("BIND", "EINVAL", DIRECT, "direct"),
    ("BIND", "EINVAL", NO_TOKEN, "token"),
    ("BIND", "EINVAL", "the device is in use, by another process or by this one", "sriov token"),
    ("BIND", "E2BIG", "the host's kernel cannot take a 'vf-token' with iommufd", "sriov token"),
    ("BIND", "EACCES", "so their 'vf-token' is needed, but none was given", "sriov"),
)


class Errno(GuestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.library = Path(folder.name) / "fakevfio.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O", "-Wall", "-Werror",
                        "-I", paths.QEMU_SRC / "linux-headers", "-o", cls.library,
                        paths.TOP / "tests/support/fakevfio.c", "-ldl"], check=True)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def link(self, name, target):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(self.root / target, path.parent))

    def file(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")

    def add(self, address, driver):
        self.file(f"{address}/class", "0x020000")
        self.link(f"{address}/subsystem", "bus/pci")
        self.link(f"{address}/iommu_group", "groups/7")
        self.link(f"groups/7/devices/{address}", address)
        if driver:
            self.link(f"{address}/driver", f"drivers/{driver}")
        if driver == "vfio-pci":
            self.file(f"{address}/vfio-dev/vfio0/dev", "1:3")

    def device(self, special):
        """Make a sysfs with a device, which is SPECIAL; returns the device's folder."""
        self.add(ADDRESS, {"undriven": None, "host": "igb"}.get(special, "vfio-pci"))
        if special == "shared":
            self.add("0000:02:00.1", "tg3")
        if special == "noiommu":
            self.file("groups/7/name", "vfio-noiommu")
        if special == "direct":
            self.file("groups/7/reserved_regions", "0x7d800000 0x7fffffff direct")
        if "sriov" in special:
            self.file(f"{ADDRESS}/sriov_totalvfs", "8")
        return self.root / ADDRESS

    def hand_over(self, qemu, name):
        """Give QEMU a descriptor of /dev/null under NAME, in the way of libvirt."""
        with open("/dev/null", "rb+", buffering=0) as node:
            qemu.monitor.send_fd_scm(node.fileno())
            qemu.qmp("getfd", {"fdname": name})

    def refusal(self, step, name, arguments, device=None, says=()):
        """What QEMU answers to device_add with ARGUMENTS if Linux refuses STEP with errno NAME.

        With DEVICE, a folder in sysfs, the device is given as a file descriptor of that. The answer
        is all that QEMU says: it writes nothing but SAYS, goes on, and ends when told to quit.
        """
        words = [f"LD_PRELOAD={self.library}", f"FAKE_VFIO={step}={getattr(errno, name)}"]
        if device:
            words.append(f"FAKE_DEVICE={device}")
        command = ["env", *words, QEMU, "-machine", "virt,pcie-hotplug-ports=1", "-accel", "tcg",
                   "-S", "-m", "64M", "-nodefaults", "-display", "none"]
        with Qemu(command, f"{self.id()}, {step} {name}") as qemu:
            if "iommufd" in arguments:
                self.hand_over(qemu, "iommu")
                qemu.qmp("object-add", {"qom-type": "iommufd", "id": arguments["iommufd"],
                                        "fd": "iommu"})
            if device:
                self.hand_over(qemu, "node")
                arguments = {**arguments, "fd": "node"}
            with self.assertRaises(Refused) as caught:
                qemu.qmp("device_add", {"driver": "vfio-pci", "id": "nic", "bus": "hotplug0",
                                        **arguments})
            for text in says:
                self.assertRegex(qemu.process.errors(), text)
            qemu.expect(says=says)
        return str(caught.exception)

    def check_cases(self, cases, **more):
        wrong = []
        for step, name, text, special in cases:
            with tempfile.TemporaryDirectory() as folder:
                self.root = Path(folder)
                token = {"vf-token": TOKEN} if "token" in special else {}
                answer = self.refusal(step, name, {"sysfsdev": str(self.device(special)), **more,
                                                   **token})
            # The kernel's own words are there as well, but for a group that is not viable.
            words = "" if step == "VIABLE" else os.strerror(getattr(errno, name))
            if text not in answer or words not in answer:
                wrong.append(f"{step} {name} {special}: {answer}")
        self.assertEqual(wrong, [])

    def test_groups(self):
        self.check_cases(GROUPS)

    def test_iommufd(self):
        self.check_cases(IOMMUFD, iommufd="iommufd0")

    def test_token_ignored(self):
        """A token that the kernel cannot take is ignored with a warning if it can do without."""
        warning = ("warning: vfio .*: the host's kernel takes no 'vf-token' with iommufd, so it is "
                   "ignored; use Linux 6.18.3 or newer, or leave 'iommufd' out")
        arguments = {"sysfsdev": str(self.device("sriov")), "iommufd": "iommufd0",
                     "vf-token": TOKEN}
        for name in ("EINVAL", "E2BIG"):
            # What comes after that cannot be had here.
            self.assertNotIn("bind device", self.refusal("TOKEN", name, arguments, says=(warning,)))

    def test_no_module(self):
        answer = self.refusal("CHECK_EXTENSION", "EINVAL", {"sysfsdev": str(self.device(""))})
        self.assertIn("No available IOMMU models", answer)

    def test_descriptor(self):
        """A device that is given as a file descriptor is found in sysfs."""
        device = self.device("shared")
        for more in ({}, {"host": ADDRESS}):
            self.assertIn(SHARED, self.refusal("BIND", "EPERM", {"iommufd": "iommufd0", **more},
                                               device))

    def test_nodes(self):
        """A kernel older than 6.1, one without nodes for devices, a device without IOMMU."""
        arguments = {"sysfsdev": str(self.device("")), "iommufd": "iommufd0"}
        node = self.root / ADDRESS / "vfio-dev/vfio0/dev"
        node.unlink()
        self.assertIn("CONFIG_VFIO_DEVICE_CDEV", self.refusal("none", "EIO", arguments))
        self.file("groups/7/name", "vfio-noiommu")
        self.assertIn("the host has no IOMMU", self.refusal("none", "EIO", arguments))
        node.parent.rmdir()
        node.parent.parent.rmdir()
        self.assertIn("older than Linux 6.1", self.refusal("none", "EIO", arguments))

    def test_document(self):
        """The document has each step and errno, and the words by which they are looked for."""
        steps = {GROUP: "Could not open '/dev/vfio/N'",
                 NODE: "Failed to open /dev/vfio/devices/vfioN",
                 "SET_CONTAINER": "Failed to set group container",
                 "SET_IOMMU": "Failed to set iommu for container",
                 "GET_DEVICE": "error getting device from group N", "BIND": "error bind device",
                 "MAP_DMA": "vfio_container_dma_map(...)"}
        found = {(words, name) for words, names in vfiodocument.rows() for name in names}
        for step, name, _, _ in (*GROUPS, *IOMMUFD):
            # There is none of the first, and the second is as with the node of a group.
            if step not in ("VIABLE", "/dev/vfio/vfio"):
                self.assertIn((steps[step], name), found)


if __name__ == "__main__":
    labcase.main()
