# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's serial console: wait for text, run commands."""

import contextlib
import itertools
import os
import queue
import re
import threading
import time

from ..system import tools

tools.activate()

# These come from Debian packages that may only be unpacked below build/, see activate().
from pexpect import EOF, TIMEOUT                # noqa: E402
from pexpect.spawnbase import SpawnBase         # noqa: E402

_MARKER = re.compile(r"@(begin|end)-\d+@")
_ESCAPES = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[()][0-9A-B]|[=>78])|\r")
READY = r"guest-ready (\S+)\r?\n"


class ConsoleError(Exception):
    """The console did not show what was waited for; the text ends with its last lines."""


class _Stream(SpawnBase):
    """pexpect for a socket that is read at all times.

    pexpect's own class reads only while something is expected. A guest that writes on meanwhile
    fills the socket, and QEMU then waits in the serial port and does not answer its monitor.
    """

    def __init__(self, socket, log):
        super().__init__(timeout=None, encoding="utf-8", codec_errors="replace")
        self._socket = socket
        self._log = log
        self._arrived = queue.SimpleQueue()
        self._ended = False
        threading.Thread(target=self._read_all, daemon=True).start()

    def _read_all(self):
        with open(self._log or os.devnull, "wb", buffering=0) as log:
            data = b"-"
            while data:
                try:
                    data = self._socket.recv(65536)
                except OSError:
                    data = b""
                log.write(data)
                self._arrived.put(data)

    def read_nonblocking(self, size=1, timeout=None):
        """What has arrived, at least one byte; may be more than SIZE. For pexpect."""
        if self._ended:
            raise EOF("the console is closed")
        try:
            data = self._arrived.get(timeout=timeout)
            with contextlib.suppress(queue.Empty):
                while data and (more := self._arrived.get_nowait()):
                    data += more
                self._ended = True
        except queue.Empty:
            raise TIMEOUT("nothing more on the console") from None
        if not data:
            raise EOF("the console is closed")
        return self._decoder.decode(data, final=False)

    def send(self, text):
        """Write TEXT."""
        self._socket.sendall(text.encode())


class Console:
    """The console behind the connected SOCKET. NAME is used in messages.

    With the path LOG, all that comes is written there too.
    """

    def __init__(self, socket, name, log=None):
        self._name = name
        self._count = 0
        self._seen = ""
        self._stream = _Stream(socket, log)

    def _expect(self, patterns, seconds, wanted):
        try:
            index = self._stream.expect(patterns, timeout=seconds)
        except TIMEOUT:
            raise ConsoleError(f"{self._name}: no {wanted} within {seconds:.0f} s"
                               f"{self.last_lines()}") from None
        except (EOF, OSError) as error:
            if isinstance(error, EOF):
                # Then pexpect keeps no buffer.
                self._seen += self._stream.before
            raise ConsoleError(f"{self._name}: the console was closed while waiting for {wanted}"
                               f"{self.last_lines()}") from None
        self._seen = (self._seen + self._stream.before + str(self._stream.after))[-8000:]
        return index

    def last_lines(self, count=15):
        """The last COUNT lines of the console as an indented block, for messages."""
        # Nothing may have been expected since the last of it came.
        if self._stream.expect([EOF, TIMEOUT], timeout=0.1) == 0:
            self._seen += self._stream.before
        # What pexpect has read and not matched is still in its buffer.
        text = _ESCAPES.sub("", self._seen + (self._stream.buffer or ""))
        lines = [line for line in text.splitlines() if line.strip() and not _MARKER.match(line)]
        # Polling asks the same again and again.
        lines = [line for line, _ in itertools.groupby(lines)][-count:]
        if not lines:
            return "\n  (the console has shown nothing)"
        return "\n  last console lines:" + "".join(f"\n    {line}" for line in lines)

    def wait_text(self, pattern, seconds, wanted=None):
        """Wait for the regular expression PATTERN; return the match. WANTED names it in messages.

        Raises ConsoleError after SECONDS.
        """
        self._expect([pattern], seconds, wanted or f"text like {pattern!r}")
        return self._stream.match

    def send(self, line):
        """Send LINE and a newline. Raises ConsoleError when the console is closed."""
        self.type(line + "\n")

    def type(self, text):
        """Send TEXT as it is. Raises ConsoleError when the console is closed."""
        try:
            self._stream.send(text)
        except OSError as error:
            raise ConsoleError(f"{self._name}: the console is closed ({error})"
                               f"{self.last_lines()}") from None

    def arrived(self, seconds):
        """Take what has come, waiting up to SECONDS; may be empty. Raises ConsoleError at the end.

        For a person at the console; what was taken is not there for the other methods.
        """
        try:
            return self._stream.read_nonblocking(timeout=seconds)
        except TIMEOUT:
            return ""
        except EOF:
            raise ConsoleError(f"{self._name}: the console was closed") from None

    def run(self, command, seconds):
        """Run the shell command in the guest; return (exit status, output without last newline).

        The guest must have shown that it is ready. Raises ConsoleError after SECONDS, or when the
        guest restarts meanwhile.
        """
        self._count += 1
        begin, end = f"@begin-{self._count}@", f"@end-{self._count}@"
        # Written as two words, so that a terminal that echoes cannot be taken for the answer.
        self.send(f"echo '@begin''-{self._count}@'\n{command}\n"
                  f"_status=$?; echo; echo '@end''-{self._count}@' $_status")
        return self._answer(command, begin, end, seconds)

    def _answer(self, command, begin, end, seconds):
        what = f"answer to {command.splitlines()[0]!r}"
        deadline = time.monotonic() + seconds
        for pattern in (re.escape(begin) + r"\r?\n", re.escape(end) + r" (\d+)\r?\n"):
            left = max(deadline - time.monotonic(), 0.1)
            if self._expect([pattern, READY], left, what) == 1:
                raise ConsoleError(f"{self._name}: the guest restarted its shell or itself instead "
                                   f"of giving the {what}{self.last_lines()}")
        output = self._stream.before.replace("\r\n", "\n")
        return int(self._stream.match.group(1)), output.rstrip("\n")

    def lines_with_time(self, command, last, seconds):
        """Run COMMAND; yield (time.monotonic() of arrival, line) until a line starts with LAST.

        For measurements; call run() only when the generator has ended. Raises ConsoleError.
        """
        self._count += 1
        self.send(f"{command}\necho '@end''-{self._count}@'")
        finished = False
        while True:
            index = self._expect([r"(@end-%d@)\r?\n" % self._count, r"([^\r\n]+)\r?\n"], seconds,
                                 f"line of {command!r}")
            if index == 0:
                break
            line = self._stream.match.group(1)
            if line.startswith("@end-"):
                break
            yield time.monotonic(), line
            finished = finished or line.startswith(last)
        if not finished:
            raise ConsoleError(f"{self._name}: {command!r} ended without a line {last!r}"
                               f"{self.last_lines()}")
