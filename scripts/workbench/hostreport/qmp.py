# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU that is asked by QMP and ends, with nothing but Python's own library.

A host that is reported on need not have a library for QMP, and its Python may be as old as 3.6.
"""

import contextlib
import json
import socket

from ..system.process import Process


class Failed(Exception):
    """QEMU cannot be asked; the text says why."""


class Refused(Exception):
    """QEMU refused a monitor command; str() is QEMU's own message."""


@contextlib.contextmanager
def asked(command, seconds):
    """Run QEMU's COMMAND and yield a function that sends it a monitor command for an answer.

    QEMU ends with the context. Raises Failed for whatever keeps it from answering within SECONDS.
    What QEMU refuses is raised by the function, as Refused.
    """
    # A pair of sockets, because a named one would be a file.
    ours, theirs = socket.socketpair()
    process = None
    try:
        ours.settimeout(seconds)
        with theirs:
            process = Process([*command, "-chardev", f"socket,id=qmp,fd={theirs.fileno()}",
                               "-qmp", "chardev:qmp"], pass_fds=(theirs.fileno(),))
        with ours.makefile("rb") as answers:
            _next(answers, "QMP")

            def execute(name, **arguments):
                words = {"execute": name, "arguments": arguments}
                ours.sendall(json.dumps(words).encode() + b"\n")
                return _next(answers, "return")

            execute("qmp_capabilities")
            yield execute
    except (OSError, EOFError, ValueError) as error:
        words = process and process.errors()
        raise Failed(words or f"QEMU does not answer ({error!r})") from None
    finally:
        ours.close()
        if process:
            process.kill()


def _next(answers, key):
    """The value of KEY in the next line that is no event."""
    while True:
        line = answers.readline()
        if not line:
            raise EOFError("it ended")
        answer = json.loads(line.decode())
        if "error" in answer:
            raise Refused(answer["error"]["desc"])
        if key in answer:
            return answer[key]
