# SPDX-License-Identifier: GPL-2.0-or-later
"""A time server for guests, which reach it at 10.0.2.2 through QEMU's user networking."""

import socket
import struct
import threading
import time

_EPOCH = 2208988800             # seconds from 1900, from which NTP counts, to 1970
_FORMAT = struct.Struct(">BBbbII4sQQQQ")


def _now():
    return int((time.time() + _EPOCH) * (1 << 32))


class TimeServer:
    """Answers NTP requests with the time of this machine until close(); port is its UDP port."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            request, client = self._socket.recvfrom(1024)
            received = _now()
            if not request:
                return
            if len(request) < _FORMAT.size:
                continue
            version, poll = request[0] >> 3 & 7, struct.unpack_from("b", request, 2)[0]
            sent_by_client = struct.unpack_from(">Q", request, 40)[0]
            # A server (mode 4) with a clock of its own (stratum 1), precise to a microsecond.
            self._socket.sendto(_FORMAT.pack(
                version << 3 | 4, 1, poll, -20, 0, 0, b"LOCL", received, sent_by_client, received,
                _now()), client)

    def close(self):
        """Stop it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()
