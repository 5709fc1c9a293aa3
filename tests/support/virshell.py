# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt without its daemons: virsh that has libvirt's QEMU driver in its own process."""

import atexit
import contextlib
import os
import pwd
import re
import shlex
import shutil
import signal
import tempfile
from pathlib import Path

from pexpect import EOF, TIMEOUT
from pexpect.popen_spawn import PopenSpawn
from workbench.guest.ending import Judge
from workbench.guest.qemu import FACTOR, GuestError
from workbench.system import polling, process
from workbench.testing import libvirt

# As root, libvirt wants a user of its own to run QEMU.
USER = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
PROMPT = "virsh # "
# virsh shows parts of long lines only, if it knows how wide the terminal is.
WIDE = {"COLUMNS": "10000"}
# In the log of a domain: what libvirt writes, which ends with QEMU's command, and QEMU's last word.
OWN_WORDS = (r"^\d{4}-\d\d-\d\d .*: (starting up libvirt version|shutting down, reason=destroyed|"
             r"Domain id=\d+ is tainted: (custom-argv|custom-monitor))", r" \\$", "^-msg timestamp=on$",
             r"terminating on signal 15 from pid \d+",
             "char device redirected to /dev/pts/",
             # libvirt's way to ask for a monitor.
             "-mon chardev=charmonitor,.* warning: '-mon' is deprecated")


class Refused(Exception):
    """libvirt refused a command; str() is what it says."""


def _become_user():
    if USER:
        os.setgroups([])
        os.setgid(USER.pw_gid)
        os.setuid(USER.pw_uid)
    # After the change of user, which clears it.
    process.die_with_parent()


class Virsh:
    """A running virsh whose libvirt keeps everything below its folder; no domain outlives close().

    Raises WorkbenchError when libvirt is missing here.
    """

    def __init__(self):
        driver = libvirt.driver()
        # libvirt has sockets there, whose paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="virsh-"))
        atexit.register(self.close)
        (self.folder / "etc").mkdir()
        # Without virtlogd.
        (self.folder / "etc/qemu.conf").write_text('stdio_handler = "file"\n', encoding="utf-8")
        self.hand_over(self.folder, self.folder / "etc")
        folder = str(self.folder)
        self._count = 0
        self._shell = PopenSpawn(
            ["virsh", "-c", f"qemu:///embed?root={folder}"], encoding="utf-8",
            codec_errors="replace", preexec_fn=_become_user, cwd=folder, env={
                "PATH": "/usr/bin:/bin", "HOME": folder, "XDG_RUNTIME_DIR": folder,
                "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder, "LC_ALL": "C.UTF-8",
                "LIBVIRT_DRIVER_DIR": driver, "LIBVIRT_LOG_OUTPUTS": f"3:file:{folder}/log.txt",
                **WIDE})

    def hand_over(self, *paths):
        """Let libvirt's user own PATHS."""
        for path in paths if USER else ():
            os.chown(path, USER.pw_uid, USER.pw_gid)

    def __call__(self, *words, seconds=60):
        """Run a command of virsh; returns its output. Raises Refused, GuestError after SECONDS."""
        self._count += 1
        end = f"@end-{self._count}@"
        what = shlex.join(str(word) for word in words)
        try:
            self._shell.sendline(f"{what}\necho {end}")
            self._shell.expect(rf"\n{end}\r?\n", timeout=seconds * FACTOR)
        except (TIMEOUT, EOF, OSError) as error:
            raise GuestError(f"virsh {what}: no answer ({type(error).__name__}), but: "
                             f"{self._shell.before}") from None
        # It shows what it reads.
        lines = [line for line in self._shell.before.splitlines()
                 if not line.startswith(PROMPT)]
        output = "\n".join(lines).strip()
        if re.search(r"^error: ", output, re.M):
            raise Refused(output)
        return output

    def refers_to(self, pid):
        """True if the process PID is a QEMU of this libvirt."""
        try:
            return str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def end(self):
        """End all domains and judge how they ran and ended, as Guest.close() does.

        Raises GuestError if a QEMU ended by itself, or wrote what nobody expects.
        """
        wrong = []
        for name in self("list", "--name").split():
            self("destroy", name, "--graceful")
        for log in sorted(self.folder.glob("**/log/qemu/*.log")):
            text = log.read_text(encoding="utf-8", errors="replace")
            lines = Judge(OWN_WORDS).unexpected(text)
            if "shutting down, reason=destroyed" not in text:
                lines.append("(libvirt has not ended it)")
            wrong += [f"{log.stem}: {line}" for line in lines]
        if wrong:
            raise GuestError("domains that ended, or wrote, what nobody expects:\n  "
                             + "\n  ".join(wrong))

    def close(self):
        """End everything; harmless if that was done."""
        with contextlib.suppress(OSError):
            self._shell.kill(signal.SIGKILL)
            self._shell.wait()
        for path in self.folder.glob("run/qemu/*.pid"):
            pid = int(path.read_text(encoding="ascii"))
            # A number without process may belong to another one by now.
            if self.refers_to(pid):
                os.kill(pid, signal.SIGKILL)
                polling.until(lambda: not self.refers_to(pid), 5 * FACTOR)
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)


class Domain:
    """A domain with a shell on its console, for what otherwise asks a Guest."""

    def __init__(self, console):
        self.console = console

    def run(self, command, seconds=30):
        """Like Guest.run()."""
        return self.console.run(command, seconds * FACTOR)

    def check(self, command, seconds=30):
        """Like Guest.check()."""
        status, output = self.run(command, seconds)
        if status:
            raise GuestError(f"{command!r} in the domain ended with status {status}:\n{output}")
        return output

    def wait_for(self, condition, wanted, seconds=20):
        """Like Guest.wait_for()."""
        result = polling.until(condition, seconds * FACTOR)
        if not result:
            text = wanted() if callable(wanted) else wanted
            raise GuestError(f"not within {seconds * FACTOR:.0f} s: {text}"
                             f"{self.console.last_lines()}")
        return result
