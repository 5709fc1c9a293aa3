# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of examples/ share."""

from dataclasses import dataclass, field
from pathlib import Path

from workbench.guest.guest import Config
from workbench.system import paths

FOLDER = paths.TOP / "examples"


@dataclass
class Script(Config):
    """A guest that SCRIPT starts. Its VARIABLES are of the guest's place, as EXTRA is.

    Besides these, the script is given the fields that it has variables for, and what to boot.
    """

    script: Path = None
    variables: dict = field(default_factory=dict)

    def command(self):
        """The QEMU command as a list, without monitor and console."""
        file = self.place.file
        variables = {"QEMU": file(self.qemu), "ACCEL": self.accel, "CPU": self.cpu,
                     "SMP": self.smp, "MEMORY": self.memory, "SERIAL": "chardev:console",
                     **self.variables}
        return ["env", *(f"{name}={value}" for name, value in variables.items()),
                "sh", str(file(self.script)), "-display", "none", *self.boot_words()]

    def serial(self):
        """Nothing: the variable SERIAL does it."""
        return []
