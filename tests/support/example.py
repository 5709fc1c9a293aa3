# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of examples/ share."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from workbench.guest import assets
from workbench.guest.guest import Config
from workbench.guest.place import LOCAL
from workbench.system import paths

FOLDER = paths.TOP / "examples"


def domain(name, initrd, disk, place=LOCAL):
    """The domain of the example NAME as an element, changed to boot a kernel in 512 MiB.

    INITRD, and what else it boots with, are files of this machine, and the domain has their paths
    at PLACE. DISK, the path of its disk, is of the place.
    """
    element = ElementTree.parse(FOLDER / name).getroot()
    element.find("memory").text = "512"
    element.find("memory").set("unit", "MiB")
    firmware = assets.firmware()
    boot = element.find("os")
    boot.find("loader").text = str(place.file(firmware.code))
    boot.find("nvram").set("template", str(place.file(firmware.vars)))
    for tag, text in (("kernel", place.file(assets.kernel())), ("initrd", place.file(initrd)),
                      ("cmdline", "console=ttyAMA0 quiet harness")):
        ElementTree.SubElement(boot, tag).text = str(text)
    element.find("devices/disk[@device='disk']/source").set("file", str(disk))
    return element


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
