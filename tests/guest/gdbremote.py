# SPDX-License-Identifier: GPL-2.0-or-later
"""A debugger on QEMU's gdbstub: the few packets of gdb's remote serial protocol that tests need.

By hand, because no gdb that knows Arm belongs to what the tests install, and a real one chooses
by itself which packets it sends and when.
"""

from workbench.guest.qemu import FACTOR, GuestError

AARCH64_PC = 32 * 16            # where the program counter is in the answer to "g", in hex digits
AARCH64_REGISTERS = 33 * 16 + 8  # x0 to x30, sp, pc, cpsr


class Gdb:
    """The debugger's side of CONNECTION, a socket. Connecting stopped the machine, as gdb does.

    Raises GuestError when QEMU does not answer or breaks the protocol.
    """

    def __init__(self, connection, seconds=20):
        self._socket = connection
        self._socket.settimeout(seconds * FACTOR)
        self._buffer = b""
        # Thread ids with a process, as gdb uses them.
        self.ask("qSupported:multiprocess+")

    def close(self):
        """Hang up, without a word."""
        self._socket.close()

    def _byte(self):
        if not self._buffer:
            try:
                self._buffer = self._socket.recv(65536)
            except TimeoutError:
                raise GuestError("no answer from the gdbstub") from None
            if not self._buffer:
                raise GuestError("the gdbstub hung up")
        first, self._buffer = self._buffer[:1], self._buffer[1:]
        return first

    def send(self, packet):
        """Send PACKET and wait until it has arrived, but not for an answer."""
        data = packet.encode()
        self._socket.sendall(b"$%s#%02x" % (data, sum(data) % 256))
        answer = self._byte()
        if answer != b"+":
            raise GuestError(f"the gdbstub answers {answer} to the packet {packet}")

    def receive(self):
        """The next packet from QEMU."""
        while self._byte() != b"$":
            pass
        data = b""
        while not data.endswith(b"#"):
            data += self._byte()
        data = data[:-1]
        check = self._byte() + self._byte()
        if int(check, 16) != sum(data) % 256:
            raise GuestError(f"the gdbstub sent a damaged packet: {data}")
        self._socket.sendall(b"+")
        # "*" and a character repeat the one before: run-length encoding.
        text, position = "", 0
        while position < len(data):
            if data[position:position + 1] == b"*":
                text += text[-1] * (data[position + 1] - 29)
                position += 1
            else:
                text += chr(data[position])
            position += 1
        return text

    def ask(self, packet):
        """Send PACKET and return the answer to it."""
        self.send(packet)
        return self.receive()

    def go(self):
        """Let the machine run; it then answers nothing until it stops."""
        self.send("vCont;c")

    def interrupt(self):
        """Stop the running machine; returns QEMU's stop reply."""
        self._socket.sendall(b"\x03")
        return self.receive()

    def threads(self):
        """All threads, one for each CPU, as QEMU names them."""
        found, answer = [], self.ask("qfThreadInfo")
        while answer.startswith("m"):
            found += answer[1:].split(",")
            answer = self.ask("qsThreadInfo")
        if answer != "l":
            raise GuestError(f"the gdbstub ends the list of threads with {answer!r}")
        return found

    def select(self, thread):
        """Select a thread for reading and for execution; returns both answers."""
        return self.ask(f"Hg{thread}"), self.ask(f"Hc{thread}")

    def program_counter(self):
        """That of the selected CPU, from all its registers."""
        registers = self.ask("g")
        if len(registers) < AARCH64_REGISTERS:
            raise GuestError(f"the gdbstub answers {registers!r} to a request for registers")
        return int.from_bytes(bytes.fromhex(registers[AARCH64_PC:AARCH64_PC + 16]), "little")
