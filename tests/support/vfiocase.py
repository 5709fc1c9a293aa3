# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of passthrough share: an emulated Arm host with devices to give away, and what its
user does with them.
"""

import functools
import re

import labcase
import vfiodocument
from workbench.guest import assets, modules
from workbench.guest.qemu import Refused, option
from workbench.lab import kernels, lab

SYSFS = "/sys/bus/pci"

NIC = "0000:01:00.0"            # with virtual functions; its network is one of its own
NVME = "0000:02:00.0"
SHARED = ("0000:03:00.0", "0000:03:00.1")       # without ACS, so both are in one IOMMU group
BYPASSED = "0000:41:00.0"       # on a root bus that no SMMU serves

DRIVERS = ("igb", "igbvf", "nvme", "e1000e", "vfio-pci")
MODULES = (*DRIVERS, "vfio_iommu_type1")        # nothing loads the last by itself


def settings(kernel=kernels.DEFAULT, **changes):
    """The Config of a host with these devices and KERNEL; CHANGES are fields of Config."""
    config = lab.config(kernel=kernel, **changes)
    config.extra += [
        # QEMU warns of a card that is connected to nothing.
        *(word for number in range(3) for word in (
            "-netdev", f"user,id=quiet{number},restrict=on")),
        "-device", "pcie-root-port,id=rp3,chassis=3",
        "-device", "e1000e,bus=rp3,addr=0.0,multifunction=on,romfile=,netdev=quiet0",
        "-device", "e1000e,bus=rp3,addr=0.1,romfile=,netdev=quiet1",
        "-device", "pxb-pcie,id=bypass,bus_nr=64,bypass_iommu=on",
        "-device", "pcie-root-port,id=rp4,bus=bypass,chassis=4",
        "-device", "e1000e,bus=rp4,romfile=,netdev=quiet2"]
    return config


# When a guest gets a device on a kernel without VFIO_DEVICE_FEATURE_DMA_BUF. With iommufd, no
# device can then reach the memory of another one.
NO_DMABUF = "warning: VFIO dma-buf not supported in kernel"
NO_PEERS = (r"warning: IOMMU_IOAS_MAP failed: Bad address, PCI BAR\?$",
            r"warning: .*vfio_container_dma_map\(.*\) = -14 \(Bad address\)",
            r": PCI peer-to-peer transactions on BARs are not supported\.$")

# What a test may change, apart from processes: drivers, functions, nodes, limits, users, modules.
STATE = f"""
for a in {' '.join((NIC, NVME, *SHARED, BYPASSED))}; do
    d={SYSFS}/devices/$a
    echo $a: $(basename $(readlink $d/driver) 2> /dev/null) $(cat $d/driver_override)
done
cat {SYSFS}/devices/{NIC}/sriov_numvfs {SYSFS}/devices/{NIC}/sriov_drivers_autoprobe
find /dev/vfio /dev/away | sort
grep . /sys/module/vfio*/parameters/* | sort
ls /sys/module | grep -E 'vfio|nvme|igb|e1000e' | sort
stat -c '%n %a %u %g' /dev/kvm /dev/vfio/vfio /dev/iommu
cat /etc/passwd
grep cgroup /proc/mounts
"""


class VfioCase(labcase.LabCase):
    """A test whose guests run on such a host. Each test finds all devices with the host, and must
    leave the host as it found it, also if it fails.

    Guests get devices by their groups; with Iommufd, in front of this class, by iommufd.
    """

    kernel = kernels.DEFAULT        # of the host
    host_modules = MODULES
    drivers = ("igbvf", "nvme")     # of the guests
    iommufd = ""                    # the id of the object of that kind, if devices need one

    def setUp(self):
        if labcase.native():
            self.skipTest("the devices of this machine are not for tests to give away; the "
                          "emulated host (LAB_NATIVE=0) has some")
        self.place = self.host()
        self.place.check(f"modprobe -a {' '.join(self.host_modules)}", 120)
        self.addCleanup(self.take_back, self.state())

    def host(self):
        """The host with the devices."""
        return labcase.host("vfio", functools.partial(settings, self.kernel))

    def state(self):
        """What the tests may change of the host, as text."""
        return self.place.script(STATE)[1]

    def take_back(self, state):
        """Give all devices back to the drivers that they have when the host starts.

        Fails if the host is in another STATE then.
        """
        if self.place.alive():
            self.place.check(f"echo 0 > {SYSFS}/devices/{NIC}/sriov_numvfs; "
                             f"echo 1 > {SYSFS}/devices/{NIC}/sriov_drivers_autoprobe")
            for address in (NIC, NVME, *SHARED, BYPASSED):
                if self.driver(address) not in DRIVERS[:-1]:
                    self.release(address)
            self.assertEqual(self.state(), state)

    def put_back(self, command):
        """COMMAND puts back on the host what the test changes; it is run at the end of the test."""
        self.addCleanup(lambda: self.place.alive() and self.place.check(command))

    def config(self, kernel=assets.DEFAULT_KERNEL, firmware=assets.DEFAULT_FIRMWARE, **changes):
        """A Config of a guest with KVM and empty ports; CHANGES are fields of Config."""
        fields = {"machine": "virt,gic-version=3,pcie-hotplug-ports=4", "smp": "1",
                  "initrd": modules.initrd(*self.drivers), **changes}
        if self.iommufd:
            fields["extra"] = ["-object", self.iommufd_object(), *fields.get("extra", ())]
        return super().config(kernel, firmware, **fields)

    def iommufd_object(self):
        """What -object makes in each guest, if devices need that."""
        return f"iommufd,id={self.iommufd}"

    def prepared_by(self, config, lines, program="qemu-system-aarch64"):
        """Have CONFIG's QEMU started by a shell script on the host, after its LINES.

        PROGRAM is what runs QEMU, as words of the shell. Returns CONFIG.
        """
        path = self.folder() / "start"
        self.place.script(f"cat > {path} <<'end'\n#!/bin/sh\n{lines}\nexec {program} \"$@\"\n"
                          f"end\nchmod 755 {path}")
        config.command = lambda: [path, *type(config).command(config)[1:]]
        return config

    # --- what a user of the host does ----------------------------------------------------------

    def driver(self, address):
        """The name of the driver that the function ADDRESS has on the host; empty if none."""
        link = f"{SYSFS}/devices/{address}/driver"
        return self.place.check(f"[ ! -e {link} ] || basename $(readlink {link})")

    def node(self, address):
        """The node by which QEMU gets the function ADDRESS, which is on vfio-pci."""
        return f"/dev/vfio/{self.group(address)}"

    def group(self, address):
        """The number of the IOMMU group of the function ADDRESS."""
        return self.place.check(f"basename $(readlink {SYSFS}/devices/{address}/iommu_group)")

    def unbind(self, address):
        """Take the function from its driver."""
        self.place.check(f"echo {address} > {SYSFS}/devices/{address}/driver/unbind")

    def bind(self, address, driver="vfio-pci"):
        """Have the function served by DRIVER, in the way of driver_override."""
        folder = f"{SYSFS}/devices/{address}"
        if self.driver(address):
            self.unbind(address)
        self.place.check(f"echo {driver} > {folder}/driver_override && "
                         f"echo {address} > {SYSFS}/drivers_probe")
        self.assertEqual(self.driver(address), driver)

    def release(self, address):
        """Have the function served by the driver that the host has for it."""
        if self.driver(address):
            self.unbind(address)
        folder = f"{SYSFS}/devices/{address}"
        self.place.check(f"! [ -e {folder}/physfn ] || "
                         f"echo 1 > {folder}/physfn/sriov_drivers_autoprobe; "
                         f"echo > {folder}/driver_override; echo {address} > {SYSFS}/drivers_probe")

    def virtual_functions(self, count):
        """Create COUNT virtual functions of the NIC, without driver; returns their addresses."""
        card = f"{SYSFS}/devices/{NIC}"
        self.place.check(f"echo 0 > {card}/sriov_numvfs; echo 0 > {card}/sriov_drivers_autoprobe; "
                         f"echo {count} > {card}/sriov_numvfs")
        return [self.place.check(f"basename $(readlink {card}/virtfn{number})")
                for number in range(count)]

    def assert_host(self, command, wanted):
        """The COMMAND prints WANTED on the host, sooner or later."""
        self.place.guest.wait_for(lambda: self.place.shell(command)[1] == wanted,
                                  lambda: f"{command} on the host to print {wanted}, and not "
                                  f"{self.place.shell(command)[1]}", 60)

    # --- guests --------------------------------------------------------------------------------

    def start(self, *arguments, **options):
        guest, cpus = super().start(*arguments, **options)
        guest.expect(says=self.says())
        return guest, cpus

    def says(self):
        """What QEMU may write when it gets a device."""
        return (NO_DMABUF, *NO_PEERS) if self.iommufd else (NO_DMABUF,)

    def boot_guest(self, *devices, suffix="", **changes):
        """Boot a guest with the option strings DEVICES for -device; returns it."""
        extra = [word for device in devices for word in ("-device", device)]
        guest, _ = self.start(self.config(**{"extra": extra, **changes}), suffix)
        self.wait_ready(guest)
        return guest

    def wait_ready(self, guest):
        """Wait for the guest's shell and load the drivers."""
        guest.wait_ready(120)
        guest.check(f"modprobe -a {' '.join(self.drivers)}", 120)

    def properties(self, address, port="hotplug0", **changes):
        """{name: value} of the vfio-pci by which a guest has the function ADDRESS in PORT.

        CHANGES are further ones; None leaves one out.
        """
        found = {"driver": "vfio-pci", "host": address, "bus": port, "id": f"at-{port}",
                 "iommufd": self.iommufd or None, **changes}
        return {name: value for name, value in found.items() if value is not None}

    def device(self, address, port="hotplug0", **changes):
        """The same as a value for -device."""
        return option(self.properties(address, port, **changes))

    def attach(self, guest, address, port="hotplug0", **changes):
        """Plug the function ADDRESS of the host into PORT of the guest. Raises Refused."""
        guest.qmp("device_add", self.properties(address, port, **changes))

    def assert_attach_refused(self, guest, address, *phrases, **changes):
        """QEMU refuses attach(), with a message that has PHRASES in this order.

        The document explains each such message. The whole messages are in
        tests/unit/test-vfio-host-device.c.
        """
        name = address if changes.get("host", address) else "at-hotplug0"
        pattern = ".*".join(map(re.escape, (f"vfio {name}: ", *phrases)))
        with self.assertRaisesRegex(Refused, f"^{pattern}") as caught:
            self.attach(guest, address, **changes)
        self.assertTrue(vfiodocument.explains(str(caught.exception)),
                        f"{vfiodocument.FILE} has nothing about: {caught.exception}")

    def detach(self, guest, port="hotplug0"):
        """Unplug what attach() has plugged into PORT; returns when QEMU has let it go."""
        guest.delete_device(f"at-{port}")
        guest.event("DEVICE_DELETED", 60, device=f"at-{port}")

    def interface(self, guest, driver):
        """Wait for the one network interface of DRIVER in the guest; returns its name."""
        guest.wait_for(lambda: guest.run(f"ls -d {SYSFS}/drivers/{driver}/0*/net/*")[0] == 0,
                       f"network interface of {driver}", 60)
        return guest.check(f"basename {SYSFS}/drivers/{driver}/0*/net/*")

    def functions(self, guest):
        """How many PCI functions are served by a driver for what is passed through."""
        return int(guest.check(f"ls -d {SYSFS}/drivers/igbvf/0* {SYSFS}/drivers/nvme/0* "
                               "2> /dev/null | wc -l"))


class Iommufd:
    """In front of VfioCase: guests get devices by iommufd."""

    kernel = "iommufd"
    iommufd = "iommufd0"

    @property
    def prefix(self):
        """What the names of guests begin with: the cases run with groups and other kernels, too."""
        return f"kvm-{self.kernel}-"

    def setUp(self):
        super().setUp()
        self.place.check("[ -c /dev/iommu ]")

    def node(self, address):
        """The node by which QEMU gets the function ADDRESS, which is on vfio-pci."""
        return self.place.check(f"echo /dev/vfio/devices/$(ls {SYSFS}/devices/{address}/vfio-dev)")
