# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of libvirt with KVM share: its daemon on the emulated Arm host, and domains to
which it gives devices of that host. The domains are the example of passthrough.

Environment: that of labcase.py.
"""

import io
import re
import socket
import xml.etree.ElementTree as ElementTree

import example
import labcase
import libvirtcase
import libvirtdaemon
import vfiocase
import virshell
from vfiocase import NIC, SYSFS
from workbench.guest import modules
from workbench.guest.qemu import FACTOR, GuestError
from workbench.lab import lab
from workbench.system import polling
from workbench.system.room import ENVIRONMENT
from workbench.testing import libvirtlab
from workbench.ui.report import WorkbenchError

START_SECONDS = 120
SOCKET = "/run/libvirt/libvirt-sock"
LIBVIRTD_CONF = """auth_unix_rw = "none"
unix_sock_group = "root"
host_uuid = "5f3a7c1e-0000-4000-8000-000000000001"
log_outputs = "3:stderr"
"""
SAYS = (lab.RECOMMENDED, vfiocase.NO_DMABUF,
        # What libvirt writes of the mode of the example's CPU.
        r"Domain id=\d+ is tainted: host-cpu$")


def settings():
    """The Config of a host with devices to give away, and libvirt. Raises WorkbenchError."""
    config = vfiocase.settings()
    # Last of all, so that no device gets another address by it.
    config.extra += libvirtlab.options()
    return config


class Daemon(libvirtdaemon.Client):
    """libvirt's daemon on the host PLACE, a Lab with settings().

    It ends with the host. Raises GuestError when it does not come up.
    """

    def __init__(self, place):
        super().__init__("lab", SAYS)
        self._place = place
        status, output = place.run(["sh", place.file(libvirtlab.SCRIPT), libvirtlab.DISK,
                                    libvirtlab.ROOT], START_SECONDS)
        if status:
            raise GuestError(f"libvirt cannot be unpacked on the host: {output}{place.describe()}")
        for name, text in (("libvirtd.conf", LIBVIRTD_CONF),
                           ("qemu.conf", libvirtdaemon.QEMU_CONF + 'stdio_handler = "file"\n')):
            place.script(f"cat > {libvirtlab.ROOT}/etc/libvirt/{name} <<'end'\n{text}end\n")
        self.process = lab.Process(place, self._command("/usr/sbin/libvirtd"), place.folder())
        polling.until(lambda: self._answers() or self.process.status() is not None,
                      START_SECONDS * FACTOR, 0.5)
        if not self._answers():
            raise GuestError(f"libvirtd does not come up on the host; its status: "
                             f"{self.process.status()}, it wrote: {self.process.errors()}"
                             f"{place.describe()}")

    def _command(self, *words):
        # libc-bin, which has the locale C.UTF-8, is not there.
        variables = {**ENVIRONMENT, **virshell.WIDE, "LC_ALL": "C"}
        return ["env", "-i", *(f"{name}={value}" for name, value in variables.items()),
                "chroot", libvirtlab.ROOT, *words]

    def _answers(self):
        return self.virsh("list")[0] == 0

    def _run(self, words, seconds):
        # By network, because the host's console takes a second for a domain.
        out = io.BytesIO()
        status = self._place.stream(words, out, seconds)
        return status, out.getvalue().decode(errors="replace").strip()

    def virsh(self, *words, seconds=libvirtdaemon.VIRSH_SECONDS):
        """Run a command of virsh; returns (exit status, output).

        Raises GuestError after SECONDS: the host is then lost.
        """
        uri = f"qemu+unix:///system?socket={SOCKET}"
        return self._run(self._command("/usr/bin/virsh", "-c", uri, *words), seconds)

    def end(self, name):
        """End a domain and forget it; harmless if there is none, or the host is lost."""
        if self._place.alive():
            super().end(name)

    def log(self, name):
        """What libvirt and QEMU have written about a domain."""
        return self._run(["cat", f"{libvirtlab.ROOT}{libvirtdaemon.DOMAIN_LOGS}/{name}.log"], 60)[1]

    def logged(self):
        """The names of the domains that there are logs of."""
        names = self._run(["ls", f"{libvirtlab.ROOT}{libvirtdaemon.DOMAIN_LOGS}"], 60)[1].split()
        return [name.removesuffix(".log") for name in names if name.endswith(".log")]


# {Lab: Daemon, or what has kept it from coming up}
_daemons = {}


def _daemon(place):
    """The daemon on the host PLACE, one for all tests of a file."""
    if place not in _daemons:
        try:
            _daemons[place] = Daemon(place)
        except GuestError as error:
            # Nobody waits for it twice.
            _daemons[place] = error
    if isinstance(_daemons[place], GuestError):
        raise _daemons[place]
    return _daemons[place]


def address_of(element):
    """The address of the function of the host in ELEMENT, a hostdev, as sysfs has it."""
    found = element.find("source/address")
    domain, bus, slot, function = (int(found.get(name), 16) for name in
                                   ("domain", "bus", "slot", "function"))
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def set_address(element, address):
    """The reverse: ELEMENT is for the function ADDRESS from now on."""
    for name, value in zip(("domain", "bus", "slot", "function"), re.split("[:.]", address)):
        element.find("source/address").set(name, f"0x{value}")


def describe_device(address, managed="yes"):
    """The text of the function ADDRESS of the host; MANAGED is libvirt's attribute."""
    element = ElementTree.fromstring(
        f"<hostdev mode='subsystem' type='pci' managed='{managed}'><driver name='vfio'/>"
        "<source><address/></source></hostdev>")
    set_address(element, address)
    return ElementTree.tostring(element, encoding="unicode")


class LibvirtLabCase(libvirtcase.VirshCase, vfiocase.VfioCase):
    """A test with libvirt's daemon on the emulated Arm host. Domains run with KVM.

    As with VfioCase, each test finds all devices with the host and must leave them there.
    """

    kind = "lab"
    drivers = ("igbvf", "nvme", "virtio_blk")

    def setUp(self):
        if not labcase.native():
            try:
                libvirtlab.tarball()
            except WorkbenchError as error:
                self.skipTest(str(error))
        super().setUp()
        self.daemon = _daemon(self.place)
        self.addCleanup(lambda: self.place.alive() and self.daemon.judge())

    def host(self):
        """The host with the devices and libvirt."""
        return labcase.host("libvirt", settings)

    def file(self, name, text):
        """Write TEXT to a file of the host, which libvirt has under the same path; returns that."""
        path = f"/tmp/{name}"
        status, output = self.place.script(f"cat > {path} <<'end-of-file'\n{text}\nend-of-file\n")
        self.assertEqual(status, 0, output)
        return path

    def console(self, name):
        """A socket of this machine, see VirshCase."""
        listener = socket.create_server(("127.0.0.1", 0))
        serial = ElementTree.Element("serial", type="tcp")
        ElementTree.SubElement(serial, "source", mode="connect", host=lab.HERE,
                               service=str(listener.getsockname()[1]))
        ElementTree.SubElement(serial, "protocol", type="raw")
        return listener, serial

    def example(self, name, address=None):
        """The text of the example of passthrough, as the domain NAME.

        It has the function ADDRESS of the host, or none.
        """
        disk = f"/tmp/{name}.qcow2"
        status, output = self.place.run([self.image_tool(), "create", "-q", "-f", "qcow2", disk,
                                         "1M"])
        self.assertEqual(status, 0, output)
        domain = example.domain("passthrough.xml", modules.initrd(*self.drivers), disk, self.place)
        domain.find("name").text = name
        devices = domain.find("devices")
        if address:
            set_address(devices.find("hostdev"), address)
        else:
            devices.remove(devices.find("hostdev"))
        # Of its own, and the one that stands for it: the serial port is that of console().
        for tag in ("serial", "console"):
            devices.remove(devices.find(tag))
        return ElementTree.tostring(domain, encoding="unicode")

    def function(self):
        """Make one virtual function, with the driver that the host has for it; its address."""
        card = f"{SYSFS}/devices/{NIC}"
        self.place.check(f"echo 1 > {card}/sriov_numvfs")
        function = self.place.check(f"basename $(readlink {card}/virtfn0)")
        self.assertEqual(self.driver(function), "igbvf")
        return function

    def devices(self, guest, *options):
        """The addresses of the host's functions that the domain has; OPTIONS are of dumpxml."""
        return [address_of(element) for element in
                self.daemon.xml(guest.name, *options).findall("devices/hostdev")]

    def assert_driver(self, address, driver):
        """The function has the DRIVER on the host, sooner or later."""
        self.assert_host(f"basename $(readlink {SYSFS}/devices/{address}/driver)", driver)
