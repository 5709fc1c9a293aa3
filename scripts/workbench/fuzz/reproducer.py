# SPDX-License-Identifier: GPL-2.0-or-later
"""From what the fuzzer logs of an input to a test for QEMU that does the same.

The log has, among others, lines of QEMU's qtest server and of the fuzz target:

    [QEMU] aarch64 -display none …      the command line
    [R +0.001234] writel 0x90d0000 0x1  a command of the qtest protocol
    [QMP] {"execute": "device_add", …}  a command of the monitor
    [EVENTS]                            the main loop has run
"""

import json
import re
import shlex
import textwrap
from dataclasses import dataclass, field

# qtest_sequence() takes 4096 bytes.
SEQUENCE = 3500
# libqtest has an accelerator and a display of its own.
OWN_OPTIONS = {"-display": 1, "-qtest": 1, "-qtest-log": 1}


@dataclass
class Recording:
    """What an input does.

    arguments: QEMU's. steps: ("qmp", dictionary) and ("access", list of commands), in order; the
    commands of one list come without the main loop in between.
    """

    arguments: list = field(default_factory=list)
    steps: list = field(default_factory=list)


def read(text):
    """The Recording in the log TEXT; without steps if the log has none."""
    found, together = Recording(), False
    for line in text.splitlines():
        match = re.match(r"\[(QEMU|QMP|EVENTS|R \+[\d.]+)\] ?(.*)", line)
        if not match:
            continue
        kind, rest = match.groups()
        if kind == "QEMU":
            found.arguments = _arguments(shlex.split(rest)[1:])
        elif kind == "QMP":
            found.steps.append(("qmp", json.loads(rest)))
        elif kind != "EVENTS" and together:
            found.steps[-1][1].append(rest)
        elif kind != "EVENTS":
            found.steps.append(("access", [rest]))
        together = kind.startswith("R ")
    return found


def _arguments(words):
    kept, skip = [], 0
    for word in words:
        if skip:
            skip -= 1
        elif word in OWN_OPTIONS:
            skip = OWN_OPTIONS[word]
        else:
            kept.append(word.replace(",accel=qtest", ""))
    return kept


def test(name, found):
    """The C function NAME, for a test with libqtest, that does what the Recording FOUND says."""
    lines = [f"static void {name}(void)", "{",
             "    QTestState *qts = qtest_init(" + _string(" ".join(found.arguments)) + ");", ""]
    for kind, content in found.steps:
        if kind == "access":
            lines += _accesses(content)
        elif content == {"execute": "system_reset"}:
            lines.append("    qtest_system_reset(qts);")
        else:
            lines.append("    qobject_unref(qtest_qmp(qts, "
                         + _string(json.dumps(content).replace("%", "%%")) + "));")
    return "\n".join([*lines, "    qtest_quit(qts);", "}", ""])


def _accesses(commands):
    """Calls of qtest_sequence() for the COMMANDS, as few as possible."""
    calls, size = [], SEQUENCE
    for command in commands:
        if size + len(command) + 1 > SEQUENCE:
            calls.append([])
            size = 0
        calls[-1].append(command)
        size += len(command) + 1
    lines = []
    for call in calls:
        lines.append("    g_strfreev(qtest_sequence(qts,")
        lines += [f'        "{command}\\n"' for command in call]
        lines[-1] += "));"
    return lines


def _string(text):
    """TEXT as a C string, over several lines if it is long."""
    parts = textwrap.wrap(text, 50, break_long_words=False, break_on_hyphens=False,
                          drop_whitespace=False) or [""]
    return ("\n" + " " * 8).join(
        '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)
