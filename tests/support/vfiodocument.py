# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of docs/system/devices/vfio-pci.rst: what fails, and with which errno."""

import errno
import functools
import os
import re

from workbench.system import paths

FILE = paths.QEMU_SRC / "docs/system/devices/vfio-pci.rst"


@functools.cache
def rows():
    """[(words of the message, names of errno)] of all rows. The names are a tuple, which is empty
    for a message without errno.
    """
    found, step = [], ""
    for row in re.split(r"\n   \* -", FILE.read_text(encoding="utf-8"))[1:]:
        what, names = re.split(r"\n     -", row)[:2]
        # A row without words is about those of the row above.
        step = " ".join(what.split()) or step
        found.append((step.strip("`"), tuple(re.findall(r"\bE[A-Z0-9]+\b", names))))
    return found


def explains(message):
    """True if there is a row with the words of MESSAGE, a refusal of vfio-pci, and with its errno.
    """
    given = {name for _, names in rows() for name in names
             if os.strerror(getattr(errno, name)) in message}
    return any((not given or given & set(names)) and re.search(_pattern(step), message)
               for step, names in rows())


def _pattern(step):
    """The regular expression for the words of a row: "..." is anything, N a number."""
    pattern = re.escape(step).replace(re.escape("..."), ".*")
    return re.sub(r"N(?![a-z])", r"\\d+", pattern)
