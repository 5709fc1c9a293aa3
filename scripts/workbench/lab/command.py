# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/lab: the emulated Arm host for a person, who may leave it running."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import sys
import termios
import time
import tty
from pathlib import Path

from ..build import cross, emulators, linux
from ..system import paths, tools
from ..ui.report import WorkbenchError, info, step
from . import kernels

STATE = paths.LAB / "running.json"
_PROMPT = "host# "


def build(options):
    """Build what the lab needs, as far as something changed: both QEMUs, and OPTIONS.kernel if that
    is made here.
    """
    emulators.build("patched", ["qemu-system-aarch64", "qemu-img"])
    if cross.needed():
        cross.build()
    if options.kernel in linux.names():
        linux.build(options.kernel)
    return 0


def _prepare(options):
    """Build, or, if OPTIONS say not to, raise WorkbenchError for a kernel that is not built."""
    if options.build:
        build(options)
    elif options.kernel in linux.names() and not linux.is_built(options.kernel):
        raise WorkbenchError(f"The kernel {options.kernel} is not built: run scripts/lab --kernel "
                             f"{options.kernel} build first.")


class _Running:
    """A host that an earlier command has left running, with the parts of Guest that Lab uses."""

    def __init__(self, pid, folder):
        from ..guest.console import Console
        self.name = "lab"
        self.process = self
        self.pid = pid
        self.folder = Path(folder)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(self.folder / "console"))
        self.console = Console(self._socket, self.name)

    def status(self):
        """None while it runs."""
        return None if _alive(self.pid) else -9

    def errors(self):
        """Its standard error went with the command that started it."""
        return ""

    def run(self, command, seconds=30):
        """Like Guest.run()."""
        from ..guest.console import ConsoleError
        from ..guest.qemu import FACTOR, GuestError
        try:
            return self.console.run(command, seconds * FACTOR)
        except ConsoleError as error:
            raise GuestError(str(error)) from None

    def close(self, _force=False):
        """Let go of it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _alive(pid):
    # Not by name alone: the number may have been given to another process since.
    with contextlib.suppress(OSError):
        return str(paths.LAB).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _state():
    """(process id, folder with its sockets) of the host that runs, or None."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        state = json.loads(STATE.read_text(encoding="utf-8"))
        if _alive(state["pid"]):
            return state["pid"], state["folder"]
    return None


def check_kernel(wanted):
    """Raise WorkbenchError if the host that runs has not the kernel WANTED; None is any."""
    kernel = json.loads(STATE.read_text(encoding="utf-8")).get("kernel", kernels.DEFAULT)
    if wanted not in (None, kernel):
        raise WorkbenchError(f"The host that runs has the kernel {kernel}, not {wanted}: end it "
                             "with scripts/lab stop, then run the same command again.")


def start(options):
    """Boot the host, to go on after this command. OPTIONS has qemu, kernel and build."""
    state = _state()
    if state:
        info(f"the host runs already (process {state[0]})")
        check_kernel(options.kernel)
        return 0
    _prepare(options)
    _activate()
    from ..guest.guest import Guest
    from . import lab
    step("Booting the Arm host")
    begin = time.monotonic()
    kernel = options.kernel or kernels.DEFAULT
    with Guest(lab.config(options.qemu, kernel), "lab", detached=True) as guest:
        release = guest.wait_ready()
        STATE.write_text(json.dumps({"pid": guest.process.pid, "folder": str(guest.folder),
                                     "kernel": kernel}), encoding="utf-8")
        print(f"Linux {release} is up after {time.monotonic() - begin:.0f} s, process "
              f"{guest.process.pid}. Its console: scripts/lab shell. Its end: scripts/lab stop.")
    return 0


def stop(_options):
    """End the host that runs, and all guests in it."""
    state = _state()
    if not state:
        info("no host runs")
        return 0
    pid, folder = state
    os.kill(pid, signal.SIGTERM)
    shutil.rmtree(folder, ignore_errors=True)
    STATE.unlink()
    return 0


def _activate():
    tools.ensure()
    tools.activate()


@contextlib.contextmanager
def _host(options):
    """Yield a Lab: the host that runs, else a new one that ends with this command."""
    _activate()
    from ..guest.qemu import GuestError
    from . import lab
    state = _state()
    if not state:
        _prepare(options)
    try:
        if state:
            check_kernel(options.kernel)
            host = lab.Lab(guest=_Running(*state))
        else:
            step("Booting the Arm host")
            host = lab.Lab("lab", lab.config(options.qemu, options.kernel or kernels.DEFAULT))
        with host:
            yield host
    except GuestError as error:
        raise WorkbenchError(str(error)) from None


def run(options):
    """Run the program or shell script OPTIONS.file on the host; returns its exit status.

    OPTIONS has arguments and timeout (seconds), too.
    """
    file = Path(options.file)
    if not file.is_file():
        raise WorkbenchError(f"{file}: there is no such file.")
    with _host(options) as host:
        start_with = [] if os.access(file, os.X_OK) else ["sh"]
        return host.stream([*start_with, host.file(file), *options.arguments], sys.stdout.buffer,
                           options.timeout)


def shell(options):
    """A shell on the host for the person at the terminal."""
    with _host(options) as host:
        size = shutil.get_terminal_size()
        info("Ctrl-D or exit leaves this shell")
        terminal = "/dev/ttyAMA0"
        host.check(f"stty -F {terminal} rows {size.lines} cols {size.columns}")
        # When the shell ends, Linux hangs up its terminal, which ends the outer shell as well; init
        # starts that one anew and says so.
        host.guest.console.send(f"PS1='{_PROMPT}' exec setsid cttyhack sh -i < {terminal}")
        # What comes earlier would be thrown away.
        host.guest.console.wait_text(re.escape(_PROMPT), 20, "prompt")
        sys.stdout.write(_PROMPT)
        sys.stdout.flush()
        _relay(host.guest.console)
    return 0


def _relay(console):
    """Connect this terminal with the console until the shell on it has ended."""
    keys = sys.stdin.fileno()
    from ..guest.console import READY
    settings = termios.tcgetattr(keys) if os.isatty(keys) else None
    waiting = [keys]
    seen = ""
    try:
        if settings:
            tty.setraw(keys)
        while not re.search(READY, seen):
            if select.select(waiting, [], [], 0.01)[0]:
                typed = os.read(keys, 1024)
                if not typed:
                    waiting = []
                console.type(typed.decode(errors="replace") or "\x04")
            text = console.arrived(0.01)
            seen = (seen + text)[-4096:]
            sys.stdout.write(re.sub(READY, "", text))
            sys.stdout.flush()
    finally:
        if settings:
            termios.tcsetattr(keys, termios.TCSADRAIN, settings)
