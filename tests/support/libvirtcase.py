# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of libvirt's releases share: its daemons in a root of their own (libvirtroots.py),
and guests that libvirt runs there.

Environment: that of guestcase.py.
"""

import contextlib
import functools
import json
import shutil
import socket
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import guestcase
import virshell
from virshell import Refused  # noqa: F401
from workbench.guest import assets, modules
from workbench.guest.console import READY, Console
from workbench.guest.cpus import Cpus
from workbench.guest.ending import Judge
from workbench.guest.qemu import FACTOR, GuestError
from workbench.system import paths, polling
from workbench.system.programs import tail
from workbench.system.room import Room
from workbench.testing.libvirtroots import RELEASES
from workbench.ui.report import WorkbenchError

BOOT_SECONDS = 300
PLUG_SECONDS = 120
VIRSH_SECONDS = 120
DRIVERS = ("virtio_net", "virtio_blk")
# What libvirt would have from systemd, from a user of its own and from a security module.
QEMU_CONF = """user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
dynamic_ownership = 0
remember_owner = 0
"""
# What it writes into the log of a domain beyond what virshell.py knows.
MORE_WORDS = (r"shutting down, reason=(destroyed|saved|migrated|failed|shutdown)",
              r"^\d{4}-\d\d-\d\d .*: initiating migration$",
              "terminating on signal 15 from pid", "^-add-fd set=",
              r"Domain id=\d+ is tainted: high-privileges")


class Daemon:
    """libvirt of RELEASE, a Release, with its daemons in a room that has the host name NAME.

    FOLDER is a folder of this machine that is there under its own path. libvirt has its sockets in
    it, so its path must be short. NETWORK is that of Room.
    Raises WorkbenchError when the root cannot be had or the daemon does not come up.
    """

    def __init__(self, release, folder, name="source", network=False):
        self.release = release
        self.name = name
        self.sockets = Path(folder) / name
        self.sockets.mkdir()
        self.judges = {}
        folders = dict.fromkeys((paths.BUILD, guestcase.QEMU.resolve().parent, Path(folder)))
        self.room = Room(release.root(), folders=[path for path in folders if not any(
            other in path.parents for other in folders)], name=name, network=network)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        # In old releases it is libvirt-daemon-system, which wants an init system, that makes them.
        for name in ("libvirt", "libvirt-qemu"):
            self.room.check(["groupadd", "--force", "--system", name])
        if self.room.run(["id", "libvirt-qemu"])[0]:
            self.room.check(["useradd", "--system", "--gid", "libvirt-qemu", "libvirt-qemu"])
        etc = self.room.path("/etc/libvirt")
        etc.mkdir(exist_ok=True)
        (etc / "qemu.conf").write_text(QEMU_CONF, encoding="utf-8")
        # Its own identity: a migration to the same host is refused.
        number = sum(self.name.encode())
        (etc / "libvirtd.conf").write_text(
            f'unix_sock_dir = "{self.sockets}"\nauth_unix_rw = "none"\n'
            f'host_uuid = "5f3a7c1e-0000-4000-8000-{number:012x}"\n'
            'log_filters = "1:qemu.qemu_monitor 3:*"\n'
            'log_outputs = "1:file:/var/log/libvirtd.log"\n',
            encoding="utf-8")
        missing = [line.split()[0] for line in self.room.check(["ldd", guestcase.QEMU]).splitlines()
                   if "not found" in line]
        if missing:
            raise WorkbenchError(f"{guestcase.QEMU} needs {', '.join(missing)}, which "
                                 "libvirtroots.LIBRARIES does not bring.")
        self.processes = [self.room.start(["/usr/sbin/virtlogd"]),
                          self.room.start(["/usr/sbin/libvirtd"])]
        if not polling.until(lambda: self._answers() or not self._running(), 60 * FACTOR, 0.1) \
                or not self._running():
            raise WorkbenchError(
                f"libvirt {self.release.name} does not come up: "
                + "\n".join([process.errors() for process in self.processes]
                            + [tail(self.room.path("/var/log/libvirtd.log"))]))

    def _running(self):
        return all(process.status() is None for process in self.processes)

    def _answers(self):
        return (self.sockets / "libvirt-sock").exists() and self.virsh("list")[0] == 0

    @property
    def uri(self):
        """Where a client that has the folder reaches it."""
        return f"qemu+unix:///system?socket={self.sockets}/libvirt-sock"

    def virsh(self, *words, seconds=VIRSH_SECONDS):
        """Run a command of virsh; returns (exit status or None after SECONDS, output)."""
        return self.room.run(["virsh", "-c", self.uri, *words], seconds * FACTOR,
                             {"COLUMNS": "10000"})

    def __call__(self, *words, seconds=VIRSH_SECONDS):
        """Run a command of virsh; returns its output. Raises Refused with what it says."""
        status, output = self.virsh(*words, seconds=seconds)
        if status is None:
            raise GuestError(f"virsh {' '.join(map(str, words))}: no end within "
                             f"{seconds * FACTOR:.0f} s; {output}")
        if status:
            raise Refused(output)
        return output

    def events(self, kind):
        """Start to collect the events of KIND of all domains.

        Returns a Process, whose errors() has a line for each and whose kill() ends it.
        """
        process = self.room.start(["virsh", "-c", self.uri, "event", "--event", kind, "--loop"])
        # It says nothing when it is ready.
        time.sleep(0.5 * FACTOR)
        return process

    def xml(self, name, *options):
        """The domain NAME as an element."""
        return ElementTree.fromstring(self("dumpxml", name, *options))

    def state(self, name):
        """The state of a domain in libvirt's words; None if it does not know it."""
        status, output = self.virsh("domstate", name)
        return None if status else output

    def end(self, name):
        """End a domain and forget it; harmless if there is none."""
        if self.state(name) not in (None, "shut off"):
            self("destroy", name)
        if self.state(name) is not None:
            self("undefine", name, "--nvram", "--managed-save")

    def log(self, name):
        """What libvirt and QEMU have written about a domain."""
        path = self.room.path(f"/var/log/libvirt/qemu/{name}.log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def judge(self, says=()):
        """Raise GuestError if a QEMU has written what nobody expects, since last time.

        SAYS are regular expressions for what is expected now.
        """
        wrong = []
        for path in self.room.path("/var/log/libvirt/qemu").glob("*.log"):
            judge = self.judges.setdefault(path.stem, Judge(virshell.OWN_WORDS + MORE_WORDS))
            judge.expect(says=says)
            wrong += [f"{self.name}: {path.stem}: {line}"
                      for line in judge.unexpected(self.log(path.stem))]
        if wrong:
            raise GuestError("QEMU wrote what nobody expects:\n  " + "\n  ".join(wrong))

    def close(self):
        """End it and all its domains."""
        self.room.close()
        for process in getattr(self, "processes", ()):
            process.kill()


class Domain(virshell.Domain):
    """A running domain NAME of DAEMON with a shell on its console.

    LISTENER is the socket that its serial port connects to, LOG the path of the console's log.
    """

    def __init__(self, daemon, name, listener, log):
        super().__init__(None)
        self.daemon = daemon
        self.name = name
        self._listener = listener
        self._log = log
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
        self.check(f"modprobe -a {' '.join(DRIVERS)}")

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


class LibvirtCase(unittest.TestCase):
    """A test with libvirt of the release that RELEASE, a key of RELEASES, names."""

    maxDiff = None
    release = None

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
        path = self.shared / f"{name}.console"
        path.unlink(missing_ok=True)
        serial = ElementTree.SubElement(domain.find("devices"), "serial", type="unix")
        ElementTree.SubElement(serial, "source", mode="connect", path=str(path))
        listener = socket.socket(socket.AF_UNIX)
        clean(listener.close)
        listener.bind(str(path))
        listener.listen()
        log = paths.LOGS / "guest" / f"{type(self).__name__}-{self.release}-{name}.console.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self.define(ElementTree.tostring(domain, encoding="unicode"))
        guest = Domain(self.daemon, name, listener, log)
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
