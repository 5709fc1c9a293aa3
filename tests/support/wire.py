# SPDX-License-Identifier: GPL-2.0-or-later
"""A network cable from a guest to the test, which asks at its end who is there."""

import socket

ARP = b"\x08\x06"
REQUEST, REPLY = b"\0\1", b"\0\2"
# ARP is about Ethernet and IPv4, with addresses of six and four bytes.
FORMAT = b"\0\1\x08\0\6\4"
OWN_MAC = bytes.fromhex("020000000001")


class Wire:
    """Sockets below FOLDER; options is the QEMU option of the netdev ID."""

    def __init__(self, folder, ident):
        guest, own = folder / "wire-guest", folder / "wire-own"
        self._guest = str(guest)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(own))
        self._socket.settimeout(0.5)
        self.options = ["-netdev", f"dgram,id={ident},local.type=unix,local.path={guest},"
                        f"remote.type=unix,remote.path={own}"]

    def close(self):
        """Give the socket back."""
        self._socket.close()

    def answers(self, address, sender="10.0.0.1"):
        """Ask for the IPv4 ADDRESS once; True if a card at the other end says that it has it."""
        wanted, own = socket.inet_aton(address), socket.inet_aton(sender)
        self._socket.sendto(b"\xff" * 6 + OWN_MAC + ARP + FORMAT + REQUEST + OWN_MAC + own
                            + bytes(6) + wanted, self._guest)
        try:
            while True:
                frame = self._socket.recv(65536)
                # Whatever else a guest says when its network comes up may be between.
                if frame[12:22] == ARP + FORMAT + REPLY and frame[28:32] == wanted:
                    return True
        except TimeoutError:
            return False
