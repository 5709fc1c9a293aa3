# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands in QEMU's manual, of the pages that the series writes."""

import re
import shlex
from dataclasses import dataclass

from workbench.system import paths

_FOLDER = paths.QEMU_SRC / "docs/system"
_LINE = re.compile(r" +(?P<prompt>\$|#|\(qemu\)) (?P<words>.+)")


@dataclass
class Command:
    """PROMPT is "$" for a user, "#" for root, or "(qemu)"; OUTPUT is what the page shows below."""

    prompt: str
    words: str
    output: str = ""


def blocks(name):
    """[Command] of each literal block of the page NAME that has some, in the order of the page."""
    found = []
    for block in re.split(r"::\n\n", (_FOLDER / name).read_text(encoding="utf-8"))[1:]:
        # It ends with the first line that is not indented.
        text = re.split(r"\n(?=\S)", block)[0]
        commands = []
        for line in re.sub(r" \\\n +", " ", text).splitlines():
            match = _LINE.fullmatch(line)
            if match:
                commands.append(Command(**match.groupdict()))
            elif commands:
                commands[-1].output = f"{commands[-1].output}\n{line.strip()}".strip()
        if commands:
            found.append(commands)
    return found


def options(command):
    """What COMMAND gives qemu-system-aarch64; "..." is what a user's machine has besides."""
    words = shlex.split(command.words)
    assert words[0] == "qemu-system-aarch64" and "..." in words, command
    return [word for word in words[1:] if word != "..."]
