# SPDX-License-Identifier: GPL-2.0-or-later
"""A further QMP monitor, by which requests are sent without waiting for answers."""

import json
import socket
import time

from workbench.guest.qemu import FACTOR, GuestError


def options(name, folder):
    """QEMU's options for a monitor at the socket NAME in FOLDER."""
    return ["-chardev", f"socket,id={name},path={folder}/{name},server=on,wait=off",
            "-object", f"monitor-qmp,id=monitor-{name},chardev={name}"]


class Monitor:
    """The client of a monitor at the socket PATH, see options(). Use it in a with statement."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60 * FACTOR)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r")
        self.events = []
        self._read()            # the greeting
        self.send("qmp_capabilities")
        self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._lines.close()
        self._socket.close()

    def _read(self):
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise GuestError("the second monitor does not answer") from None
        if not line:
            raise GuestError("the second monitor is gone")
        return json.loads(line)

    def send(self, command, arguments=None):
        """Send a request; answers come in the same order."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments or {}})
                             .encode() + b"\n")

    def send_half(self, command, arguments=None):
        """Send the first half of a request, and no more."""
        text = json.dumps({"execute": command, "arguments": arguments or {}}).encode()
        self._socket.sendall(text[:len(text) // 2])

    def answer(self):
        """The next answer: the text of an error, or None if all went well. Keeps events."""
        while True:
            found = self._read()
            if "event" in found:
                self.events.append(found)
            elif "error" in found:
                return found["error"]["desc"]
            else:
                return None

    def wait_event(self, name, seconds=20, **data):
        """Wait for an event with DATA, and take it. Raises GuestError after SECONDS."""
        deadline = time.monotonic() + seconds * FACTOR
        while True:
            for event in self.events:
                if event["event"] == name and all(event["data"].get(key) == value
                                                  for key, value in data.items()):
                    self.events.remove(event)
                    return event
            if time.monotonic() > deadline:
                raise GuestError(f"no event {name} {data} at the second monitor: {self.events}")
            # Asking brings what has come before.
            self.send("query-status")
            self.answer()
            time.sleep(0.02)
