#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=vfio parallel
"""Devices that cannot be had: QEMU says why, the guest goes on, and once the cause is gone the
device can be plugged.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
import vfiocase  # noqa: E402
from labcase import Refused  # noqa: E402
from vfiocase import BYPASSED, NIC, NVME, SHARED, SYSFS  # noqa: E402

NO_DRIVER = "the device has no driver:"
NO_GROUP = "no iommu_group found: No such file or directory; "
NO_IOMMU = "no IOMMU of the host serves the device:"
TOKEN = "11111111-2222-3333-4444-555555555555"
OTHER_TOKEN = "99999999-2222-3333-4444-555555555555"
LIMITED = "/tmp/qemu-with-limit"
PORTS = 4                       # of vfiocase's guests


class Refusals(vfiocase.VfioCase):
    """The tests share a guest; each finds its ports empty."""

    _guest = None

    @classmethod
    def tearDownClass(cls):
        if cls._guest is not None:
            cls._guest.close()
        super().tearDownClass()

    def shared(self):
        """The guest, booted for the first test, and again after one that has left it in a bad way:
        that test has then failed.
        """
        cls = type(self)
        self.addCleanup(self.hand_back)
        if cls._guest is None:
            cls._guest = vfiocase.Guest(self.config(), f"{cls.__name__}.guest")
            cls._guest.expect(says=vfiocase.NO_DMABUF)
            self.wait_ready(cls._guest)
        return cls._guest

    def hand_back(self):
        """Leave the guest to the next test as it was found, or end it and fail."""
        cls = type(self)
        guest, cls._guest = cls._guest, None
        if guest is None:
            return
        try:
            guest.judge()
            self.assertEqual(len(self.devices(guest)), PORTS, self.devices(guest))
        except BaseException:
            guest.close(force=True)
            raise
        cls._guest = guest

    def devices(self, guest):
        """The ids of the devices that QEMU has."""
        return [entry["name"] for entry in
                guest.qmp("qom-list", {"path": "/machine/peripheral"}) if entry["name"] != "type"]

    def check_refused(self, guest, address, *phrases, **properties):
        """The device is refused with all of PHRASES, nothing of it stays, the guest lives."""
        self.assert_attach_refused(guest, address, *phrases, **properties)
        self.assertNotIn("at-hotplug0", self.devices(guest))
        guest.check("true")

    def assert_works(self, guest, address, **properties):
        """The device can be plugged, the guest sees it, and it can be removed again."""
        before = int(guest.check(f"ls {SYSFS}/devices | wc -l"))
        self.attach(guest, address, **properties)
        guest.wait_for(lambda: int(guest.check(f"ls {SYSFS}/devices | wc -l")) == before + 1,
                       "another PCI function", 60)
        self.detach(guest)

    def test_no_iommu(self):
        """A device that no SMMU serves."""
        guest = self.shared()
        self.check_refused(guest, BYPASSED, NO_GROUP + NO_IOMMU)
        self.unbind(BYPASSED)
        self.check_refused(guest, BYPASSED, NO_GROUP + NO_DRIVER, NO_IOMMU)

    def test_shared_group(self):
        """A device in one group with another that the host uses."""
        guest, (mine, other), group = self.shared(), SHARED, self.group(SHARED[0])
        self.bind(mine)
        self.check_refused(guest, mine, f"group {group} is not viable: {other} (e1000e) still uses")
        self.unbind(other)
        self.assert_works(guest, mine)
        self.bind(other)
        self.assert_works(guest, mine)

    def test_driver(self):
        """A device that is still on its driver, or on none."""
        guest, group = self.shared(), self.group(NVME)
        start = f"Could not open '/dev/vfio/{group}': No such file or directory; "
        self.check_refused(guest, NVME, start + "the device uses the host driver 'nvme':")
        self.unbind(NVME)
        self.check_refused(guest, NVME, start + NO_DRIVER)
        self.bind(NVME)
        self.assert_works(guest, NVME)

    def test_driver_in_group(self):
        """The group can be opened, because of another device in it, but this one has no driver."""
        guest, (mine, other), group = self.shared(), SHARED, self.group(SHARED[0])
        self.unbind(mine)
        self.bind(other)
        self.check_refused(guest, mine, f"error getting device from group {group}: No such device; "
                           + NO_DRIVER)
        self.bind(mine)
        self.assert_works(guest, mine)

    def test_no_node(self):
        """The node is not there, as in a container that was not given it."""
        guest, group = self.shared(), self.group(NVME)
        self.bind(NVME)
        self.put_back(f"[ ! -e /dev/away ] || mv /dev/away /dev/vfio/{group}")
        self.place.check(f"mv /dev/vfio/{group} /dev/away")
        self.check_refused(guest, NVME, f"Could not open '/dev/vfio/{group}': No such file or "
                           "directory; the host's /dev/vfio is not visible to QEMU,")
        self.place.check(f"mv /dev/away /dev/vfio/{group}")
        self.assert_works(guest, NVME)

    def test_in_use(self):
        """Another QEMU has the group."""
        guest, group = self.shared(), self.group(NVME)
        self.bind(NVME)
        other, _ = self.start(self.config(extra=["-device", f"vfio-pci,host={NVME},bus=hotplug0"]),
                              ".other", paused=True)
        self.check_refused(guest, NVME, f"Could not open '/dev/vfio/{group}': Device or resource "
                           "busy; the IOMMU group is in use, by another process")
        other.close()
        self.assert_works(guest, NVME)

    def test_no_module(self):
        """What connects VFIO and the IOMMU is not loaded."""
        guest, group = self.shared(), self.group(NVME)
        self.bind(NVME)
        self.put_back("modprobe vfio_iommu_type1")
        self.place.check("rmmod vfio_iommu_type1")
        self.check_refused(guest, NVME, f"failed to setup container for group {group}: No "
                           "available IOMMU models; ", "module vfio_iommu_type1 is not loaded")
        self.place.check("modprobe vfio_iommu_type1")
        self.assert_works(guest, NVME)

    def test_mappings(self):
        """The kernel allows fewer mappings than the guest's memory has pieces."""
        guest = self.shared()
        self.bind(NVME)
        limit = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
        before = self.place.check(f"cat {limit}")
        self.put_back(f"echo {before} > {limit}")
        self.place.check(f"echo 1 > {limit}")
        self.check_refused(guest, NVME, "= -28 (No space left on device); the host's kernel allows "
                           "1 mappings:", "dma_entry_limit")
        self.place.check(f"echo {before} > {limit}")
        self.assert_works(guest, NVME)

    def test_iommufd(self):
        """The token goes with the request that binds the device to iommufd."""
        if self.place.shell("[ -c /dev/iommu ]")[0]:
            self.skipTest("the host's kernel has no /dev/iommu (CONFIG_IOMMUFD)")
        guest = self.shared()
        guest.qmp("object-add", {"qom-type": "iommufd", "id": "iommufd0"})
        self.bind(NVME)
        self.assert_works(guest, NVME, iommufd="iommufd0")
        guest.qmp("object-del", {"id": "iommufd0"})

    def test_token(self):
        """A virtual function whose physical function is on vfio-pci needs the token of that."""
        parameter = "/sys/module/vfio_pci/parameters/enable_sriov"
        # In this order: the guest must have let the function go before that can be removed, which
        # in turn takes the parameter.
        self.put_back(f"echo 0 > {SYSFS}/devices/{NIC}/sriov_numvfs; "
                      f"echo {self.place.check(f'cat {parameter}')} > {parameter}")
        guest = self.shared()
        self.bind(NIC)
        self.place.check(f"echo 1 > {parameter}")
        options = ["-device", f"vfio-pci,host={NIC},vf-token={TOKEN},bus=hotplug0"]
        owner, _ = self.start(self.config(extra=options), ".owner", paused=True)
        function, = self.virtual_functions(1)
        self.bind(function)
        start = (f"error getting device from group {self.group(function)}: Permission denied; the "
                 f"physical function {NIC} is on vfio-pci,")
        self.check_refused(guest, function, start, "and none was given")
        self.check_refused(guest, function, start, "and this is not it",
                           **{"vf-token": OTHER_TOKEN})
        self.assert_works(guest, function, **{"vf-token": TOKEN})
        owner.close()

    def test_needless_token(self):
        """A virtual function of a physical function that the host uses takes no token."""
        guest = self.shared()
        function, = self.virtual_functions(1)
        self.bind(function)
        self.check_refused(
            guest, function, f"error getting device from group {self.group(function)}: Invalid "
            "argument; ", f"its physical function {NIC} is not on vfio-pci", **{"vf-token": TOKEN})
        self.bind(NVME)
        self.check_refused(
            guest, NVME, f"error getting device from group {self.group(NVME)}: Invalid argument; ",
            "it neither is a virtual function", **{"vf-token": TOKEN})
        self.assert_works(guest, function)

    def test_no_port(self):
        """The port has a device already, or there is none."""
        guest = self.shared()
        self.bind(NVME)
        guest.qmp("device_add", {"driver": "virtio-rng-pci", "bus": "hotplug0", "id": "first"})
        with self.assertRaisesRegex(Refused, "slot 0 function 0 already occupied by virtio-rng"):
            self.attach(guest, NVME)
        self.attach(guest, NVME, "hotplug1")
        guest.wait_for(lambda: self.functions(guest) == 1, "the disk", 60)
        self.detach(guest, "hotplug1")
        guest.delete_device("first")
        guest.event("DEVICE_DELETED", 60, device="first")
        with self.assertRaisesRegex(Refused, "Bus 'pcie.0' does not support hotplugging"):
            self.attach(guest, NVME, "pcie.0")


class Limits(vfiocase.VfioCase):
    """Limits of the process and of the machine."""

    def test_user(self):
        """A user who may not open the group, and whose limit is less than the guest's memory."""
        group = self.group(NVME)
        self.bind(NVME)
        mode = self.place.check("stat -c %a /dev/kvm")
        self.put_back(f"chmod {mode} /dev/kvm; rm -f {LIMITED} /etc/passwd; "
                      "[ ! -e /etc/passwd.before ] || mv /etc/passwd.before /etc/passwd")
        self.place.check("[ ! -e /etc/passwd ] || mv /etc/passwd /etc/passwd.before; "
                         "echo 'nobody:x:65534:65534::/:/bin/sh' > /etc/passwd; "
                         "chmod 666 /dev/kvm")
        self.place.script(f"cat > {LIMITED} <<'end'\n#!/bin/sh\nulimit -l 8192\n"
                          "chmod 755 /tmp/lab.*\n"
                          "exec su -s /bin/sh -c 'exec qemu-system-aarch64 \"$@\"' -- nobody qemu "
                          f"\"$@\"\nend\nchmod 755 {LIMITED}")
        config = self.config()
        config.command = lambda: [LIMITED, *type(config).command(config)[1:]]
        guest, _ = self.start(config)
        guest.wait_ready(120)
        self.assert_attach_refused(guest, NVME, f"Could not open '/dev/vfio/{group}': Permission "
                                   "denied; QEMU's user may not read and write it,")
        self.place.check(f"chmod 666 /dev/vfio/{group}")
        self.assert_attach_refused(
            guest, NVME, "= -12 (Cannot allocate memory); VFIO locks the guest's memory, 262144 "
            "KiB", "(RLIMIT_MEMLOCK) is 8192 KiB")
        guest.check("true")

    def test_ports(self):
        """A root port more than the machine may have, by way of ACPI PCI hot-plug."""
        guest = self.boot_guest(
            machine="virt,gic-version=3,max-pcie-root-ports=5,pcie-hotplug-ports=4",
            extra=["-global", "acpi-ged.acpi-pci-hotplug-with-bridge-support=on"])
        guest.qmp("device_add", {"driver": "pcie-root-port", "id": "fifth", "chassis": 1})
        self.assert_refused(
            "^PCIe root port 'sixth' is one too many: .*because of 'max-pcie-root-ports=5';",
            guest.qmp, "device_add", {"driver": "pcie-root-port", "id": "sixth", "chassis": 2})
        guest.check("true")


if __name__ == "__main__":
    labcase.main()
