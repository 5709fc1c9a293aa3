# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated Arm host: a guest with KVM, SMMUv3 and SR-IOV, in which other guests run.

It is a place, see guest/place.py: a Guest whose Config names it runs inside. Such a guest's QEMU
connects console and monitor to this program through QEMU's user networking, by which this machine
is 10.0.2.2. Files come from a small HTTP server in this program.
"""

import contextlib
import functools
import http.server
import os
import shlex
import shutil
import socket
import threading
from pathlib import Path, PurePosixPath

from ..guest.guest import Config, Guest
from ..guest.qemu import FACTOR, GuestError
from ..guest.place import LOCAL
from ..system import paths, polling
from ..system.process import own_memory
from . import image, kernels

HERE = "10.0.2.2"

MACHINE = "virt,virtualization=on,gic-version=3,iommu=smmuv3"
# Pointer authentication as the architecture has it takes half of the time under emulation.
CPU = "max,pauth-impdef=on"

# What QEMUs on the host may write: KVM recommends as many CPUs as the host has, which are few.
RECOMMENDED = (r"warning: Number of (SMP|hotpluggable) cpus requested \(\d+\) exceeds the "
               r"recommended cpus supported by KVM \(\d+\)$")


def config(qemu=None, kernel=kernels.DEFAULT, **changes):
    """The Config of the host; QEMU is the emulator, CHANGES are fields of Config.

    KERNEL, one of kernels.names(), is the host's. Raises WorkbenchError when something is missing
    that the host boots with.
    """
    _, _, firmware = image.guest_files()
    fields = {
        "qemu": qemu or paths.PATCHED / "qemu-system-aarch64", "machine": MACHINE, "cpu": CPU,
        "smp": "2", "memory": "4G", "kernel": kernels.kernel(kernel), "firmware": firmware,
        "initrd": image.initrd(kernel),
        # A crash ends the emulator, and with that all waiting for the host.
        "append": "quiet harness panic=-1",
        "extra": [
            "-no-reboot",
            "-netdev", "user,id=control,ipv6=off",
            "-device", "virtio-net-pci,netdev=control,romfile=",
            # Another network, as the two would be one to the host.
            "-netdev", "user,id=net,net=10.0.3.0/24,ipv6=off",
            "-device", "pcie-root-port,id=rp1,chassis=1",
            "-device", "igb,bus=rp1,netdev=net,romfile=",
            "-drive", f"if=none,id=disk,format=raw,snapshot=on,file={image.disk()}",
            "-device", "pcie-root-port,id=rp2,chassis=2",
            "-device", "nvme,bus=rp2,drive=disk,serial=lab"]}
    return Config(**{**fields, **changes})


@functools.cache
def native():
    """True when guests run on this machine itself."""
    return (os.uname().machine == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)
            and os.environ.get("LAB_NATIVE", "1") != "0")


def enter(stack, name, qemu):
    """Where guests with KVM run: returns (place, path of the QEMU for it).

    That is this machine with QEMU, or a host NAME, which STACK (an ExitStack) ends. Raises
    WorkbenchError and GuestError like Lab.
    """
    if native():
        return LOCAL, qemu
    return stack.enter_context(Lab(name)), image.binary()


class _Files(http.server.ThreadingHTTPServer):
    """Gives out what is in CONTENTS: {request path: bytes or path of a file}."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.server.contents.get(self.path)
            if content is None:
                self.send_error(404)
                return
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if isinstance(content, bytes):
                self.wfile.write(content)
            else:
                with open(content, "rb") as file:
                    shutil.copyfileobj(file, self.wfile)

        def log_message(self, *_):
            """Nobody reads it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.contents = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def offer(self, content):
        """Give out CONTENT from now on; returns its address for the host."""
        path = f"/{len(self.contents)}"
        self.contents[path] = content
        return f"http://{HERE}:{self.server_address[1]}{path}"


class Lab:
    """A running host, booted by the constructor. Use it in a with statement.

    SETTINGS is a Config, by default config(); NAME is for messages and the console's log. With
    GUEST, something like a Guest, a host that has booted is taken over, and close() lets it go on.
    Raises GuestError when the host does not come up, WorkbenchError when something is missing.
    """

    writes_log = False

    def __init__(self, name="lab", settings=None, guest=None):
        self._known = image.known()
        self._files = _Files()
        self.lost = None
        self.guest = guest
        try:
            if guest is None:
                self.guest = Guest(settings or config(), name)
                self.guest.wait_ready()
        except BaseException:
            self.close(force=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(force=kind is not None)

    def close(self, force=False):
        """End the host and all guests in it. FORCE and what is raised: as with Guest.close()."""
        self._files.shutdown()
        self._files.server_close()
        if self.guest is not None:
            self.guest.close(force)

    # --- commands ------------------------------------------------------------------------------

    def shell(self, command, seconds=30):
        """Run a shell command on the host; returns (exit status, output).

        Raises GuestError after SECONDS. The host is then lost: it may be in any state.
        """
        if self.lost:
            raise GuestError(f"{self.guest.name} was given up after: {self.lost}")
        try:
            return self.guest.run(command, seconds)
        except GuestError as error:
            self.lost = str(error).splitlines()[0]
            raise

    def check(self, command, seconds=30):
        """Like shell(), but raises GuestError unless the status is 0; returns the output."""
        status, output = self.shell(command, seconds)
        if status:
            raise GuestError(f"{self.guest.name}: {command!r} on the host ended with status "
                             f"{status}:\n{output}")
        return output

    def script(self, text, seconds=30):
        """Run the shell script TEXT on the host; returns (exit status, output)."""
        # The console takes lines of 4 KiB at most.
        address = self._files.offer(text.encode())
        return self.shell(f"wget -q -O /tmp/script {address} && sh /tmp/script", seconds)

    def stream(self, words, out, seconds):
        """Run a program on the host and write its output to the binary file OUT as it comes.

        Returns the exit status.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def copy():
                with contextlib.suppress(OSError), listener.accept()[0] as connection:
                    while data := connection.recv(65536):
                        out.write(data)
                        out.flush()

            copier = threading.Thread(target=copy, daemon=True)
            copier.start()
            command = shlex.join(str(word) for word in words)
            status = self.script(
                f"{{ {command}; echo $? > /tmp/status; }} < /dev/null 2>&1 | "
                f"nc {HERE} {listener.getsockname()[1]}\nexit $(cat /tmp/status)", seconds)[0]
            copier.join(60 * FACTOR)
        return status

    def alive(self):
        """False when the host was lost or its QEMU has ended."""
        return not self.lost and self.guest.process.status() is None

    # --- what guest/place.py asks for ----------------------------------------------------------

    def file(self, path):
        """The path on the host of the file PATH of this machine, which is copied if needed."""
        if path is None:
            return None
        path = Path(path).resolve()
        if path not in self._known:
            target = f"{self.folder()}/{path.name}"
            address = self._files.offer(path)
            self.check(f"wget -q -O {shlex.quote(target)} {address} && "
                       f"chmod {path.stat().st_mode & 0o777:o} {shlex.quote(target)}", 60)
            self._known[path] = target
        return PurePosixPath(self._known[path])

    def folder(self):
        """Make a folder on the host and return its path."""
        return PurePosixPath(self.check("mktemp -d /tmp/lab.XXXXXX"))

    def remove(self, folder):
        """Remove a folder that folder() made."""
        if self.alive():
            self.check(f"rm -rf {folder}")

    def run(self, words, seconds=60):
        """Run a program on the host; returns (exit status, output and errors)."""
        return self.script(shlex.join(str(word) for word in words), seconds)

    def start(self, command, channels, _log=None, detached=False):
        """Start the QEMU COMMAND on the host; returns a Started."""
        if detached:
            raise ValueError("a guest inside the host ends with it")
        return Started(self, command, channels)

    def describe(self):
        """What the host's console has shown last."""
        ended = self.guest.process.status()
        state = "" if ended is None else f", QEMU ended with {ended}: {self.guest.process.errors()}"
        lines = self.guest.console.last_lines(45).replace("\n", "\n  ")
        return f"\n  on the Arm host {self.guest.name}{state}{lines}"


class Started:
    """A QEMU on the host LAB, with its CHANNELS connected to sockets here."""

    def __init__(self, lab, command, channels):
        self.folder = lab.folder()
        self._lab = lab
        self._listeners = {channel: socket.create_server(("127.0.0.1", 0)) for channel in channels}
        words = []
        for channel, listener in self._listeners.items():
            port = listener.getsockname()[1]
            words += ["-chardev", f"socket,id={channel},host={HERE},port={port},nodelay=on"]
        self.process = Process(lab, command + words, self.folder)

    def connection(self, channel, seconds):
        """Wait for QEMU and return the socket of CHANNEL, which is the caller's to close.

        Raises OSError when QEMU ends before, or does not come.
        """
        listener = self._listeners[channel]
        listener.settimeout(0.2)

        def connection():
            try:
                return listener.accept()[0]
            except TimeoutError:
                return self.process.status() is not None and "ended"

        found = polling.until(connection, seconds)
        if found == "ended":
            raise ConnectionError("it has ended")
        if not found:
            raise TimeoutError(f"nothing within {seconds:.0f} s")
        found.settimeout(None)
        return found

    def clean(self):
        """Remove what is left when the process has ended."""
        for listener in self._listeners.values():
            listener.close()
        self._lab.remove(self.folder)


class Process:
    """A program on the host LAB, in the style of process.Process; FOLDER is its own."""

    def __init__(self, lab, command, folder):
        self.command = [str(word) for word in command]
        self._lab = lab
        self._folder = folder
        self._status = None
        words = " \\\n".join(shlex.quote(word) for word in self.command)
        status, output = lab.script(f"""cd {folder} || exit
            setsid sh -c '"$@" > errors 2>&1 < /dev/null & echo $! > pid; wait $!
                echo $? > new; mv new status' run {words} > /dev/null 2>&1 < /dev/null &
            until [ -s pid ]; do sleep 0.01; done
            cat pid""")
        if status:
            raise GuestError(f"{lab.guest.name}: {self.command[0]} cannot be started: {output}")
        self.pid = int(output)

    def status(self):
        """Exit status, negative for a signal; None while it runs."""
        return self.wait(0)

    def wait(self, seconds):
        """Wait for the end; return the exit status, None if it still runs after SECONDS."""
        if self._status is None and not self._lab.alive():
            self._status = -9
        if self._status is None:
            try:
                output = self._lab.check(
                    f"i=0; while [ ! -e {self._folder}/status ] && [ $i -lt {int(seconds * 20)} ]; "
                    f"do sleep 0.05; i=$((i + 1)); done; cat {self._folder}/status 2> /dev/null "
                    "|| true", 30 + 2 * seconds / FACTOR)
            except GuestError:
                return None
            if output:
                status = int(output)
                self._status = status if status <= 128 else 128 - status
        return self._status

    def errors(self):
        """What it has written to standard output and standard error so far."""
        try:
            return self._lab.check(f"cat {self._folder}/errors")
        except GuestError:
            # The host is lost; its describe() says more.
            return ""

    def kill(self):
        """End it; harmless if it has ended."""
        if self.status() is None and self._lab.alive():
            self._lab.shell(f"kill -9 {self.pid}")
            self.wait(5 * FACTOR)

    def resident(self):
        """Resident memory in KiB that is its own."""
        return own_memory(self._lab.check(f"cat /proc/{self.pid}/smaps_rollup"))

    def threads(self):
        """Number of threads."""
        return int(self._lab.check(f"ls /proc/{self.pid}/task | wc -l"))

    def descriptors(self):
        """Number of open file descriptors."""
        return int(self._lab.check(f"ls /proc/{self.pid}/fd | wc -l"))
