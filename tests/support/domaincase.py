# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests with domains share: a libvirt of their own, and a domain's shell."""

import contextlib
import socket
import subprocess
import xml.etree.ElementTree as ElementTree

import guestcase
import virshell
from workbench.guest.console import READY, Console
from workbench.guest.qemu import FACTOR
from workbench.system import host, paths
from workbench.ui.report import WorkbenchError


def validate(test, path):
    """The domain in the file PATH is valid. TEST is skipped where libvirt's schema is missing."""
    if host.missing("libvirt"):
        test.skipTest("virt-xml-validate is missing; scripts/test installs it where it may")
    done = subprocess.run(["virt-xml-validate", path, "domain"], capture_output=True, text=True,
                          check=False)
    test.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class DomainCase(guestcase.GuestCase):
    """A test with self.virsh, a Virsh; domains that it leaves are ended and judged."""

    def setUp(self):
        try:
            self.virsh = virshell.Virsh()
        except WorkbenchError as error:
            self.skipTest(str(error))
        self.addCleanup(self.virsh.close)
        # Before that: how the domains end.
        self.addCleanup(self.virsh.end)
        self.require_executable(guestcase.QEMU)

    def require_executable(self, qemu):
        """Skip the test if libvirt's user may not run the binary QEMU."""
        user = virshell.USER
        if user and subprocess.run(["test", "-x", qemu], user=user.pw_uid, group=user.pw_gid,
                                   extra_groups=[], check=False).returncode:
            self.skipTest(f"libvirt runs as {user.pw_name}, who may not run {qemu}")

    def file(self, name, content):
        """Write CONTENT, an element, text or bytes, to the file NAME in libvirt's folder.

        Returns its path. libvirt's user owns it.
        """
        path = self.virsh.folder / name
        if isinstance(content, ElementTree.Element):
            content = ElementTree.tostring(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.virsh.hand_over(path)
        return path

    def start_domain(self, domain):
        """Define DOMAIN, an element, and start it without letting it run; returns its name."""
        name = domain.findtext("name")
        self.virsh("define", self.file(f"{name}.xml", domain))
        self.virsh("start", name, "--paused", seconds=120)
        return name

    def boot_domain(self, domain, seconds):
        """Start DOMAIN, an element, and wait SECONDS for its shell; returns a virshell.Domain.

        Its first serial port, and the console that stands for that, get a socket of the test.
        """
        path = self.virsh.folder / "console"
        log = paths.LOGS / "guest" / f"{self.id().replace('__main__.', '')}.console.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        devices = domain.find("devices")
        devices.remove(devices.find("console"))
        serial = devices.find("serial")
        serial.set("type", "unix")
        for source in serial.findall("source"):
            serial.remove(source)
        ElementTree.SubElement(serial, "source", mode="connect", path=str(path))
        name = domain.findtext("name")
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(60 * FACTOR)
            self.virsh.hand_over(path)
            self.virsh("define", self.file(f"{name}.xml", domain))
            self.virsh("start", name, seconds=120)
            connection, _ = listener.accept()
        self.addCleanup(connection.close)
        # Wakes the thread that reads.
        self.addCleanup(connection.shutdown, socket.SHUT_RDWR)
        connection.settimeout(None)
        console = Console(connection, name, log)
        console.wait_text(READY, seconds * FACTOR, "sign of a booted guest")
        return virshell.Domain(console)
