# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU without a guest: a monitor, and accesses to its bus over a qtest socket."""

import base64
from pathlib import Path

from ..guest.qemu import FACTOR, Qemu
from .builds import DEPRECATED

# Neither Debian's source nor the build has it, and no test of ours needs it.
NO_ROM = r"^rom: file kvmvapic\.bin +: error Failed to open file"
# qemu64, the model of the x86 machines that are compared.
NO_THREADS = "warning: This family of AMD CPU doesn't support hyperthreading"

_TIMEOUT = 60 * FACTOR


def empty_firmware(folder):
    """Make an image of zeros in FOLDER, of a size that all machines accept, and return its path."""
    image = Path(folder, "firmware")
    image.write_bytes(bytes(256 * 1024))
    return image


class Instance(Qemu):
    """A running QEMU. Use it in a with statement.

    BINARY and WORDS, the arguments, make the command; nothing is added but -nodefaults and what
    keeps it silent. SAYS are regular expressions for what it may write. What is raised: as with
    Qemu.
    """

    def __init__(self, binary, words, qtest=True, says=()):
        self._socket = self._qtest = None
        command = [binary, "-nodefaults", "-no-user-config", "-display", "none", *words]
        if qtest:
            command += ["-qtest", "chardev:qtest", "-qtest-log", "/dev/null"]
        super().__init__(command, Path(binary).name, channels=("qtest",) if qtest else (),
                         says=(DEPRECATED, NO_ROM, NO_THREADS, *says))

    def connected(self, channel, connection):
        connection.settimeout(_TIMEOUT)
        self._socket, self._qtest = connection, connection.makefile("r")

    def disconnect(self):
        if self._socket is not None:
            self._qtest.close()
            self._socket.close()

    def last_words(self):
        return f"\n  command: {' '.join(self.command)}"

    def qtest(self, line):
        """Send LINE in the qtest protocol and return the words after OK.

        Raises GuestError for another answer, or none. By hand, as QEMU's own client is part of its
        source tree and needs more of it than this.
        """
        try:
            self._socket.sendall(line.encode() + b"\n")
            answer = self._qtest.readline().split()
        except OSError as e:
            raise self.failure(f"qtest broke at {line[:60]!r} ({e})") from None
        if answer[:1] != ["OK"]:
            raise self.failure(f"qtest: {line[:60]!r} was answered {' '.join(answer)!r}")
        return answer[1:]

    def read(self, address, size):
        """SIZE bytes of guest memory at ADDRESS."""
        return base64.b64decode(self.qtest(f"b64read {address:#x} {size:#x}")[0]) if size else b""

    def write(self, address, data):
        """Write DATA (bytes) to the guest's bus at ADDRESS."""
        self.qtest(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def writeb(self, address, value):
        """Write VALUE to the 8-bit register at ADDRESS."""
        self.qtest(f"writeb {address:#x} {value:#x}")

    def readl(self, address):
        """The value of the 32-bit register at ADDRESS."""
        return int(self.qtest(f"readl {address:#x}")[0], 0)

    def writel(self, address, value):
        """Write VALUE to the 32-bit register at ADDRESS."""
        self.qtest(f"writel {address:#x} {value:#x}")
