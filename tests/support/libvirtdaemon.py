# SPDX-License-Identifier: GPL-2.0-or-later
"""virsh for a daemon of libvirt, and libvirt of a release of Debian with its daemons, in a root of
its own (libvirtroots.py)."""

import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import guestcase
import virshell
from virshell import Refused
from workbench.guest.ending import Judge
from workbench.guest.qemu import FACTOR, GuestError
from workbench.system import paths, polling
from workbench.system.programs import tail
from workbench.system.room import Room
from workbench.ui.report import WorkbenchError

VIRSH_SECONDS = 120
# What libvirt would have from systemd, from a user of its own and from a security module.
QEMU_CONF = """user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
dynamic_ownership = 0
remember_owner = 0
"""
DOMAIN_LOGS = "/var/log/libvirt/qemu"
PID_FILE = "/run/libvirtd-of-test.pid"
# What it writes into the log of a domain beyond what virshell.py knows.
MORE_WORDS = (r"shutting down, reason=(destroyed|saved|migrated|failed|shutdown)",
              r"^\d{4}-\d\d-\d\d .*: initiating migration$",
              "terminating on signal 15 from pid", "^-add-fd set=",
              r"Domain id=\d+ is tainted: high-privileges")


class Client:
    """virsh for a daemon, wherever that runs. NAME is for messages.

    SAYS are regular expressions for what each QEMU may write into the log of its domain.
    """

    def __init__(self, name, says=()):
        self.name = name
        self._says = (*virshell.OWN_WORDS, *MORE_WORDS, *says)
        self._judges = {}

    # --- what a subclass has --------------------------------------------------------------------

    def virsh(self, *words, seconds=VIRSH_SECONDS):
        """Run a command of virsh; returns (exit status or None after SECONDS, output)."""
        raise NotImplementedError

    def log(self, name):
        """What libvirt and QEMU have written about a domain."""
        raise NotImplementedError

    def logged(self):
        """The names of the domains that there are logs of."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------

    def __call__(self, *words, seconds=VIRSH_SECONDS):
        """Run a command of virsh; returns its output. Raises Refused with what it says."""
        status, output = self.virsh(*words, seconds=seconds)
        if status is None:
            raise GuestError(f"virsh {' '.join(map(str, words))}: no end within "
                             f"{seconds * FACTOR:.0f} s; {output}")
        if status:
            raise Refused(output)
        return output

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

    def judge(self, says=()):
        """Raise GuestError if a QEMU has written what nobody expects, since last time.

        SAYS are regular expressions for what is expected now.
        """
        wrong = []
        for name in self.logged():
            judge = self._judges.setdefault(name, Judge(self._says))
            judge.expect(says=says)
            wrong += [f"{self.name}: {name}: {line}" for line in judge.unexpected(self.log(name))]
        if wrong:
            raise GuestError("QEMU wrote what nobody expects:\n  " + "\n  ".join(wrong))


class Daemon(Client):
    """libvirt of RELEASE, a Release, with its daemons in a room that has the host name NAME.

    FOLDER is a folder of this machine that is there under its own path. libvirt has its sockets in
    it, so its path must be short. NETWORK is that of Room.
    Raises WorkbenchError when the root cannot be had or the daemon does not come up.
    """

    def __init__(self, release, folder, name="source", network=False):
        super().__init__(name)
        self.release = release
        self.sockets = Path(folder) / name
        self.sockets.mkdir()
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
        self.processes = [self.room.start(["/usr/sbin/virtlogd"])]
        self._start_libvirtd()

    def _start_libvirtd(self):
        self.processes.append(self.room.start(["/usr/sbin/libvirtd", "--pid-file", PID_FILE]))
        if not polling.until(lambda: self._answers() or not self._running(), 60 * FACTOR, 0.1) \
                or not self._running():
            raise WorkbenchError(
                f"libvirt {self.release.name} does not come up: "
                + "\n".join([process.errors() for process in self.processes]
                            + [tail(self.room.path("/var/log/libvirtd.log"))]))

    def restart(self, name="TERM"):
        """End libvirtd by the signal NAME, and start another one; the domains go on meanwhile.

        virtlogd, which writes their logs, goes on too. Raises GuestError if libvirtd does not end,
        WorkbenchError if the other one does not come up.
        """
        old = self.processes.pop()
        self.room.check(["sh", "-c", f"kill -{name} $(cat {PID_FILE})"])
        if old.wait(60 * FACTOR) is None:
            raise GuestError(f"libvirtd {self.release.name} still runs {60 * FACTOR:.0f} s after "
                             f"SIG{name}: {tail(self.room.path('/var/log/libvirtd.log'))}")
        self._start_libvirtd()

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
                             virshell.WIDE)

    def events(self, kind):
        """Start to collect the events of KIND of all domains.

        Returns a Process, whose errors() has a line for each and whose kill() ends it.
        """
        process = self.room.start(["virsh", "-c", self.uri, "event", "--event", kind, "--loop"])
        # It says nothing when it is ready.
        time.sleep(0.5 * FACTOR)
        return process

    def log(self, name):
        """What libvirt and QEMU have written about a domain."""
        path = self.room.path(f"{DOMAIN_LOGS}/{name}.log")
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def logged(self):
        """The names of the domains that there are logs of."""
        return [path.stem for path in self.room.path(DOMAIN_LOGS).glob("*.log")]

    def close(self):
        """End it and all its domains."""
        self.room.close()
        for process in getattr(self, "processes", ()):
            process.kill()
