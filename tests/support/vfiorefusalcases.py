# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that cannot be had by groups, or by iommufd: QEMU says why, the guest goes on, and once
the cause is gone the device can be plugged.
"""

import functools

import labcase
import vfiocase
from labcase import Refused
from sharedguest import SharedGuest
from vfiocase import BYPASSED, NIC, NVME, SHARED, SYSFS
from workbench.guest.guest import Guest
from workbench.lab import lab

NO_DRIVER = "the device has no driver:"
NO_IOMMU = "no IOMMU of the host serves the device:"
TOKEN = "11111111-2222-3333-4444-555555555555"
OTHER_TOKEN = "99999999-2222-3333-4444-555555555555"
PORTS = 4                       # of vfiocase's guests
NO_ENTRY = "No such file or directory; "


class GroupWords:
    """How the messages begin when devices are given by their groups. For a VfioCase."""

    unsafe = "vfio_iommu_type1"         # the module with allow_unsafe_interrupts
    further_nodes = ()                  # what QEMU opens besides that of the device, and may not

    def without_iommu(self, _address):
        """Of a device that no IOMMU serves."""
        return "no iommu_group found: " + NO_ENTRY

    def not_bound(self, address):
        """Of a device that is not on vfio-pci."""
        return self.not_opened(address) + NO_ENTRY

    def not_bound_in_group(self, address):
        """Of such a device in a group with one that is."""
        return self.not_had(address) + "No such device; "

    def not_opened(self, address):
        """Of a device whose node cannot be opened, up to the errno."""
        return f"Could not open '{self.node(address)}': "

    def not_had(self, address):
        """Of a device that Linux does not give away, up to the errno."""
        return f"error getting device from group {self.group(address)}: "

    def not_viable(self, address):
        """Of a device with others in its group that the host uses."""
        return f"group {self.group(address)} is not viable: "

    def in_use(self, address):
        """Of a device that another process has."""
        return (self.not_opened(address)
                + "Device or resource busy; the IOMMU group is in use, by another process")

    def not_isolated(self, address):
        """Of a device whose interrupts are not isolated."""
        return (f"failed to setup container for group {self.group(address)}: Failed to set iommu "
                "for container: Operation not permitted; ")


class IommufdWords:
    """The same when they are given by iommufd.

    The message about a device that Linux does not give away has two descriptors before the errno.
    """

    unsafe = "iommufd"
    further_nodes = ("/dev/iommu",)

    def not_bound(self, address):
        """Of a device that is not on vfio-pci."""
        return f"couldn't open directory {SYSFS}/devices/{address}/vfio-dev: {NO_ENTRY}"

    # A device is looked for by itself: neither its group nor that it has one is asked for first.
    without_iommu = not_bound_in_group = not_bound

    def not_opened(self, address):
        """Of a device whose node cannot be opened, up to the errno."""
        return f"Failed to open {self.node(address)}: "

    def not_had(self, _address):
        """Of a device that Linux does not give away, up to the descriptors."""
        return "error bind device fd="

    def not_viable(self, _address):
        """Of a device with others in its group that the host uses, after the descriptors."""
        return "Operation not permitted; the IOMMU group is not viable: "

    def in_use(self, _address):
        """Of a device that another process has, after the descriptors."""
        return "Invalid argument; the device is in use, by another process or by this one"

    def not_isolated(self, _address):
        """Of a device whose interrupts are not isolated, after the descriptors."""
        return "Operation not permitted; "


class PortsGuest(SharedGuest):
    """The tests take turns with one guest; each finds its ports empty. For a VfioCase."""

    def start_shared(self, name):
        guest = Guest(self.config(), name)
        guest.expect(says=self.says())
        return guest

    def wait_shared(self, guest):
        self.wait_ready(guest)

    def restore(self, guest, _cpus, _start):
        self.assertEqual(len(self.devices(guest)), PORTS, self.devices(guest))

    def guest(self):
        """The guest of the class, see shared()."""
        return self.shared()[0]

    def other(self, address, **changes):
        """Another QEMU, which has the device; CHANGES are properties of it there."""
        return self.start(self.config(extra=["-device", self.device(address, **changes)]),
                          ".other", paused=True)[0]

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


class Owned(PortsGuest):
    """Virtual functions of which others have the physical one. For a VfioCase."""

    def owned_function(self, **changes):
        """Have a virtual function whose physical function another QEMU has, with TOKEN.

        Returns that QEMU and the address, which is on vfio-pci. CHANGES are properties of the
        physical function.
        """
        parameter = "/sys/module/vfio_pci/parameters/enable_sriov"
        # In this order: whoever has the function must have let it go before that can be removed,
        # which in turn takes the parameter. So guest() comes after this.
        self.put_back(f"echo 0 > {SYSFS}/devices/{NIC}/sriov_numvfs; "
                      f"echo {self.place.check(f'cat {parameter}')} > {parameter}")
        self.bind(NIC)
        self.place.check(f"echo 1 > {parameter}")
        options = ["-device", self.device(NIC, **{"vf-token": TOKEN, **changes})]
        owner, _ = self.start(self.config(extra=options), ".owner", paused=True)
        function, = self.virtual_functions(1)
        self.bind(function)
        return owner, function


class NoiommuCases(PortsGuest):
    """Devices that Linux hands out without an IOMMU. For a VfioCase with Iommufd."""

    def test_noiommu(self):
        """They are not for guests, by iommufd or by their group."""
        guest = self.guest()
        parameter = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
        self.put_back(f"echo N > {parameter}")
        self.place.check(f"echo Y > {parameter}")
        self.bind(BYPASSED)
        why = "the host has no IOMMU for the device and offers it nevertheless"
        # "load" or "find": its entry in sysfs is one without a number or, in later kernels, one of
        # another name.
        self.check_refused(guest, BYPASSED, "failed to ", why)
        self.check_refused(guest, BYPASSED, f"Could not open '/dev/vfio/{self.group(BYPASSED)}': "
                           f"{NO_ENTRY}{why}", iommufd=None)


class RefusalCases(Owned):
    """What is refused both with groups and with iommufd. For a VfioCase with the words of one."""

    def test_no_iommu(self):
        """A device that no SMMU serves: vfio-pci does not take it."""
        guest, start = self.guest(), self.without_iommu(BYPASSED)
        self.check_refused(guest, BYPASSED, start + NO_IOMMU)
        self.unbind(BYPASSED)
        self.check_refused(guest, BYPASSED, start + NO_DRIVER, NO_IOMMU)

    def test_shared_group(self):
        """A device in one group with another that the host uses."""
        guest, (mine, other) = self.guest(), SHARED
        self.bind(mine)
        self.check_refused(guest, mine, f"{self.not_viable(mine)}{other} (e1000e) still uses")
        self.unbind(other)
        self.assert_works(guest, mine)
        self.bind(other)
        self.assert_works(guest, mine)

    def test_driver(self):
        """A device that is still on its driver, or on none."""
        guest, start = self.guest(), self.not_bound(NVME)
        self.check_refused(guest, NVME, start + "the device uses the host driver 'nvme':")
        self.unbind(NVME)
        self.check_refused(guest, NVME, start + NO_DRIVER)
        self.bind(NVME)
        self.assert_works(guest, NVME)

    def test_driver_in_group(self):
        """The group can be had, because of another device in it, but this one has no driver."""
        guest, (mine, other) = self.guest(), SHARED
        self.unbind(mine)
        self.bind(other)
        self.check_refused(guest, mine, self.not_bound_in_group(mine) + NO_DRIVER)
        self.bind(mine)
        self.assert_works(guest, mine)

    def test_no_node(self):
        """The node is not there, as in a container that was not given it."""
        guest = self.guest()
        self.bind(NVME)
        node = self.node(NVME)
        self.put_back(f"[ ! -e /dev/away ] || mv /dev/away {node}")
        self.place.check(f"mv {node} /dev/away")
        self.check_refused(guest, NVME, f"{self.not_opened(NVME)}{NO_ENTRY}the host's /dev/vfio is "
                           "not visible to QEMU,")
        self.place.check(f"mv /dev/away {node}")
        self.assert_works(guest, NVME)

    def test_other_node(self):
        """The node is that of a device that is gone, as in a container with an old /dev."""
        guest = self.guest()
        self.bind(NVME)
        node = self.node(NVME)
        self.put_back(f"[ ! -e /dev/away ] || {{ rm -f {node}; mv /dev/away {node}; }}")
        # The kind is that of VFIO, the number one that no device has.
        self.place.check(f"major=$((0x$(stat -c %t {node}))) && mv {node} /dev/away && "
                         f"mknod {node} c $major 1048575")
        self.check_refused(guest, NVME, f"{self.not_opened(NVME)}No such device or address; that "
                           "node is not of this device,")
        self.place.check(f"rm {node}; mv /dev/away {node}")
        self.assert_works(guest, NVME)

    def test_in_use(self):
        """Another QEMU has the device."""
        guest = self.guest()
        self.bind(NVME)
        other = self.other(NVME)
        self.check_refused(guest, NVME, self.in_use(NVME))
        other.close()
        self.assert_works(guest, NVME)

    def test_token(self):
        """A virtual function whose physical function is on vfio-pci needs the token of that."""
        (owner, function), guest = self.owned_function(), self.guest()
        why = f"Permission denied; the physical function {NIC} is on vfio-pci,"
        for given, token in (("but none was given", {}),
                             ("and this is not it", {"vf-token": OTHER_TOKEN})):
            self.check_refused(guest, function, self.not_had(function), why, given, **token)
        self.assert_works(guest, function, **{"vf-token": TOKEN})
        owner.close()

    def test_needless_token(self):
        """A virtual function of a physical function that the host uses takes no token."""
        guest = self.guest()
        function, = self.virtual_functions(1)
        self.bind(function)
        self.check_refused(
            guest, function, self.not_had(function), "Invalid argument; ",
            f"its physical function {NIC} is not on vfio-pci", **{"vf-token": TOKEN})
        self.bind(NVME)
        self.check_refused(
            guest, NVME, self.not_had(NVME), "Invalid argument; ",
            "it neither is a virtual function", **{"vf-token": TOKEN})
        self.assert_works(guest, function)

    def test_no_port(self):
        """The port has a device already, or there is none."""
        guest = self.guest()
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


class LimitCases:
    """What QEMU's process may not do. For a VfioCase with the words of one way."""

    def test_user(self):
        """A user who may not open the nodes, and whose limit is less than the guest's memory."""
        self.bind(NVME)
        nodes = (self.node(NVME), *self.further_nodes)
        for node in ("/dev/kvm", *self.further_nodes):
            self.put_back(f"chmod {self.place.check(f'stat -c %a {node}')} {node}")
        self.put_back("rm -f /etc/passwd; [ ! -e /etc/passwd.before ] || "
                      "mv /etc/passwd.before /etc/passwd")
        self.place.check("[ ! -e /etc/passwd ] || mv /etc/passwd /etc/passwd.before; "
                         "echo 'nobody:x:65534:65534::/:/bin/sh' > /etc/passwd; "
                         "chmod 666 /dev/kvm")
        config = self.prepared_by(
            self.config(), "ulimit -l 8192\nchmod 755 /tmp/lab.*",
            "su -s /bin/sh -c 'exec qemu-system-aarch64 \"$@\"' -- nobody qemu")
        guest, _ = self.start(config)
        guest.wait_ready(120)
        self.assert_attach_refused(guest, NVME, f"{self.not_opened(NVME)}Permission denied; QEMU's "
                                   "user may not read and write it,")
        self.place.check(f"chmod 666 {nodes[0]}")
        for node in self.further_nodes:
            self.assert_attach_refused(guest, NVME, f"Could not open '{node}': Permission denied; "
                                       "QEMU's user may not read and write it,")
            self.place.check(f"chmod 666 {node}")
        self.assert_attach_refused(
            guest, NVME, "= -12 (Cannot allocate memory); VFIO locks the guest's memory, 262144 "
            "KiB", "(RLIMIT_MEMLOCK) is 8192 KiB")
        guest.check("true")

    def test_device_cgroup(self):
        """The device cgroup of QEMU does not allow the node."""
        self.bind(NVME)
        top = "/tmp/devices"
        self.put_back(f"rmdir {top}/qemu; umount {top}; rmdir {top}")
        self.place.check(f"mkdir {top} && mount -t cgroup -o devices cgroup {top} && "
                         f"mkdir {top}/qemu")
        kind = [int(word, 16) for word in
                self.place.check(f"stat -c '%t %T' {self.node(NVME)}").split()]
        rule = f"c {kind[0]}:{kind[1]} rwm"
        self.place.check(f"echo {rule} > {top}/qemu/devices.deny")
        guest, _ = self.start(self.prepared_by(self.config(), f"echo $$ > {top}/qemu/cgroup.procs"),
                              paused=True)
        self.assert_attach_refused(guest, NVME, f"{self.not_opened(NVME)}Operation not permitted; "
                                   "the device cgroup that QEMU is in does not allow it:")
        self.place.check(f"echo {rule} > {top}/qemu/devices.allow")
        self.attach(guest, NVME)


class IsolationCases:
    """A host whose GICv2m takes the interrupts of all devices for the same.

    For a VfioCase with the words of one way. No guest is booted, and QEMU does without KVM.
    """

    def host(self):
        """The host with the devices, and another GIC."""
        return labcase.host("gicv2", functools.partial(
            vfiocase.settings, self.kernel,
            machine=lab.MACHINE.replace("gic-version=3", "gic-version=2")))

    def test_interrupts(self):
        """A device is given away only if unsafe interrupts are allowed."""
        self.bind(NVME)
        guest, _ = self.start(self.config(machine="virt,gic-version=2,pcie-hotplug-ports=4",
                                          accel="tcg", cpu="cortex-a57"), paused=True)
        self.assert_attach_refused(
            guest, NVME, self.not_isolated(NVME) + "the host does not isolate the interrupts (MSI)",
            f"allow_unsafe_interrupts of the module {self.unsafe}")
        parameter = f"/sys/module/{self.unsafe}/parameters/allow_unsafe_interrupts"
        self.put_back(f"echo N > {parameter}")
        self.place.check(f"echo Y > {parameter}")
        self.attach(guest, NVME)
