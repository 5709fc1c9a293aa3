# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of libvirt's releases share: guests that its daemons run (libvirtdaemon.py).

Environment: that of guestcase.py.
"""

import contextlib
import functools
import json
import shutil
import socket
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import guestcase
import virshell
from libvirtdaemon import VIRSH_SECONDS, Daemon
from virshell import Refused  # noqa: F401
from workbench.guest import assets, modules
from workbench.guest.console import READY, Console
from workbench.guest.cpus import Cpus
from workbench.guest.qemu import FACTOR, GuestError
from workbench.system import paths
from workbench.testing.libvirtroots import RELEASES
from workbench.ui.report import WorkbenchError

BOOT_SECONDS = 300
PLUG_SECONDS = 120
DRIVERS = ("virtio_net", "virtio_blk")


class Domain(virshell.Domain):
    """A running domain NAME of DAEMON with a shell on its console.

    LISTENER is the socket that its serial port connects to, LOG the path of the console's log,
    DRIVERS are what the guest loads when it has booted.
    """

    def __init__(self, daemon, name, listener, log, drivers=DRIVERS):
        super().__init__(None)
        self.daemon = daemon
        self.name = name
        self._listener = listener
        self._log = log
        self._drivers = drivers
        self._connection = None
        self._count = 0
        self.cpus = Cpus(self)

    def connect(self, seconds=60):
        """Take the console of the QEMU that was started last. Raises GuestError after SECONDS."""
        self.disconnect()
        self._listener.settimeout(seconds * FACTOR)
        try:
            self._connection, _ = self._listener.accept()
        except TimeoutError:
            raise GuestError(f"{self.name}: no QEMU has opened the console; its log:\n"
                             + self.daemon.log(self.name)) from None
        # One that has failed to start may have left a connection before it.
        self._listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                newer, _ = self._listener.accept()
                self._connection.close()
                self._connection = newer
        self._connection.setblocking(True)
        self._count += 1
        self.console = Console(self._connection, self.name,
                               self._log.with_suffix(f".{self._count}.log"))

    def disconnect(self):
        """Leave the console."""
        if self._connection:
            self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()
            self._connection = None

    def wait_ready(self):
        """Wait until the guest has booted."""
        self.console.wait_text(READY, BOOT_SECONDS * FACTOR, "sign of a booted guest")
        self.check(f"modprobe -a {' '.join(self._drivers)}", PLUG_SECONDS)

    def qmp(self, command, arguments=None):
        """Run a monitor command through libvirt, as Guest.qmp()."""
        words = json.dumps({"execute": command, "arguments": arguments or {}})
        return json.loads(self.daemon("qemu-monitor-command", self.name, words))["return"]

    def virsh(self, command, *words, seconds=VIRSH_SECONDS):
        """Run the COMMAND of virsh for this domain."""
        return self.daemon(command, self.name, *words, seconds=seconds)

    def count(self):
        """How many vCPUs libvirt counts in the running domain."""
        return int(self.virsh("vcpucount", "--live", "--current"))

    def patient(self, command, *words):
        """virsh(), again while the guest has no time for what it is asked.

        libvirt waits 5 s for a vCPU that is to go; a machine that has other work may need longer.
        """
        refused = []

        def done():
            try:
                self.virsh(command, *words)
            except Refused as error:
                if not any(text in str(error) for text in
                           ("guest is busy", "timed out", "process of unplug")):
                    # It has gone after the time was over.
                    if refused and "already in requested state" in str(error):
                        return True
                    raise
                refused.append(" ".join(str(error).split()))
                return False
            return True

        self.wait_for(done, lambda: f"an end of {command} {words}; refused: {refused}",
                      PLUG_SECONDS)
        if refused:
            print(f"note: {command} {' '.join(map(str, words))} took {len(refused) + 1} requests; "
                  f"refused were: {'; '.join(dict.fromkeys(refused))}")


def describe(name, vcpus="<vcpu>2</vcpu>", cpu="", machine="virt", gic=3, ports=0, extra="",
             memory=512):
    """The text of a domain, without serial port: VCPUS and CPU are elements, EXTRA is behind
    devices, MEMORY is in MiB.

    PORTS are root ports; libvirt adds what its devices need beyond.
    """
    firmware = assets.firmware()
    controllers = "<controller type='pci' model='pcie-root'/>" if ports else ""
    controllers += "<controller type='pci' model='pcie-root-port'/>" * ports
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
      <name>{name}</name><memory unit='MiB'>{memory}</memory>{vcpus}
      <os><type arch='aarch64' machine='{machine}'>hvm</type>
        <loader readonly='yes' type='pflash'>{firmware.code}</loader>
        <nvram template='{firmware.vars}'/>
        <kernel>{assets.kernel()}</kernel><initrd>{modules.initrd(*DRIVERS)}</initrd>
        <cmdline>console=ttyAMA0 quiet harness</cmdline></os>
      <features><acpi/><gic version='{gic}'/></features>
      <cpu mode='custom'><model>neoverse-n1</model>{cpu}</cpu>
      <devices><emulator>{guestcase.QEMU}</emulator>{controllers}
        <controller type='usb' model='none'/><memballoon model='none'/></devices>{extra}
      </domain>"""


class VirshCase(unittest.TestCase):
    """A test with domains of self.daemon, a Client. KIND tells the logs of their consoles apart."""

    maxDiff = None
    kind = None
    daemon = None
    drivers = DRIVERS           # what guests load when they have booted

    # --- what a subclass has --------------------------------------------------------------------

    def file(self, name, text):
        """Write TEXT to a file that the daemon can read; returns its path there."""
        raise NotImplementedError

    def console(self, name):
        """Returns a socket that listens, and the element by which the domain NAME connects to it.

        The element is the domain's serial port.
        """
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------

    def define(self, text):
        """Define the domain with the text TEXT and no other of its name; returns the name."""
        name = ElementTree.fromstring(text).findtext("name")
        self.daemon.end(name)
        self.daemon("define", self.file(f"{name}.xml", text))
        return name

    def started(self, text):
        """Define and start a domain that stays paused; returns its name. It ends with the test."""
        name = self.define(text)
        self.addCleanup(self.daemon.end, name)
        self.daemon("start", name, "--paused")
        return name

    def booted(self, text, owner):
        """Start the domain TEXT and wait for its shell; returns a Domain.

        OWNER, a test or a class of them, ends it.
        """
        clean = getattr(owner, "addClassCleanup", None) if isinstance(owner, type) \
            else owner.addCleanup
        domain = ElementTree.fromstring(text)
        name = domain.findtext("name")
        listener, serial = self.console(name)
        clean(listener.close)
        domain.find("devices").append(serial)
        log = paths.LOGS / "guest" / f"{type(self).__name__}-{self.kind}-{name}.console.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self.define(ElementTree.tostring(domain, encoding="unicode"))
        guest = Domain(self.daemon, name, listener, log, self.drivers)
        clean(self.daemon.end, name)
        clean(guest.disconnect)
        self.daemon("start", name)
        guest.connect()
        guest.wait_ready()
        return guest

    def refused(self, pattern, function, *arguments):
        """virsh refuses FUNCTION(ARGUMENTS) with a message like PATTERN, which is returned."""
        with self.assertRaises(Refused) as caught:
            function(*arguments)
        self.assertRegex(str(caught.exception), pattern)
        return str(caught.exception)


class LibvirtCase(VirshCase):
    """A test with libvirt of the release that RELEASE, a key of RELEASES, names."""

    release = None

    @property
    def kind(self):
        """See VirshCase."""
        return self.release

    def setUp(self):
        try:
            RELEASES[self.release].root()
        except WorkbenchError as error:
            self.skipTest(str(error))
        self.daemon = _have(self.release, "source")
        self.says = []
        self.addCleanup(self._judge)

    def _judge(self):
        for one in _all():
            one.judge(self.says)

    def expect(self, *says):
        """QEMU may write what matches the regular expressions SAYS in this test."""
        self.says += says

    def second(self):
        """Another daemon, as on another host that shares the first one's network and folder."""
        return _have(self.release, "target", self.daemon.room)

    @property
    def shared(self):
        """The folder that the daemons and this program have under the same path."""
        return _folder(self.release)

    def file(self, name, text):
        """Write TEXT to a file in the shared folder; returns its path."""
        path = self.shared / name
        path.write_text(text, encoding="utf-8")
        return path

    def console(self, name):
        """A Unix socket in the shared folder, see VirshCase."""
        path = self.shared / f"{name}.console"
        path.unlink(missing_ok=True)
        serial = ElementTree.Element("serial", type="unix")
        ElementTree.SubElement(serial, "source", mode="connect", path=str(path))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        return listener, serial


@functools.lru_cache(maxsize=None)
def _folder(_release):
    folder = Path(tempfile.mkdtemp(prefix="lv-"))
    unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


# {(release, name): Daemon, or what has kept it from coming up}
_started = {}


def _have(release, name, network=False):
    """The daemon NAME of RELEASE, one for all tests of a file."""
    if (release, name) not in _started:
        try:
            one = Daemon(RELEASES[release], _folder(release), name, network)
            unittest.addModuleCleanup(one.close)
        except WorkbenchError as error:
            # Nobody waits for it twice.
            one = error
        _started[release, name] = one
    if isinstance(_started[release, name], WorkbenchError):
        raise _started[release, name]
    return _started[release, name]


def _all():
    return [one for one in _started.values() if isinstance(one, Daemon)]
