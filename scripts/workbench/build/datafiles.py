# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of QEMU's data folder that its tarball lacks: option ROMs and firmware of Arm guests.

They come from Debian packages, and are linked into the data folder of a build, where QEMU looks for
them. So a guest with default devices starts as it does with an installed QEMU.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..system import debfiles, paths
from ..ui.report import WorkbenchError, info

SUITES = ("trixie",)
# In a build folder, QEMU takes qemu-bundle for the root folder of what is installed.
BUNDLE = "qemu-bundle"
DESCRIPTOR = "firmware/60-edk2-aarch64.json"
LICENCE = "copyright"

# What guests boot, in the package FIRMWARE: an image for -bios, and those for two flash drives. Of
# the code there is a plain file in Debian 12, and since then a link to the one without secure boot.
FIRMWARE = "qemu-efi-aarch64"
EFI = r"usr/share/qemu-efi-aarch64/QEMU_EFI\.fd"
CODE = r"usr/share/AAVMF/AAVMF_CODE(\.no-secboot)?\.fd"
VARIABLES = r"usr/share/AAVMF/AAVMF_VARS\.fd"

# Network cards and displays that have an option ROM, by the name of its files.
_NETWORK = ("e1000", "e1000e", "eepro100", "ne2k_pci", "pcnet", "rtl8139", "virtio", "vmxnet3")
_DISPLAYS = ("ati", "bochs-display", "cirrus", "qxl", "ramfb", "stdvga", "virtio", "vmware")
_BOARDS = ("npcm7xx", "npcm8xx")


@dataclass(frozen=True)
class Origin:
    """A Debian package with such files. folder: below build/data. files: {name in QEMU's data
    folder: regular expression for the path in the package}."""

    folder: str
    package: str
    what: str
    files: dict

    def place(self):
        """The folder that has the files after fetch(), and with them LICENCE and "package", the
        name of the package's file."""
        return paths.DATA / self.folder


ORIGINS = (
    Origin("option-roms", "ipxe-qemu", "option ROMs of network cards",
           {f"{kind}-{card}.rom": rf"usr/(share|lib/ipxe)/qemu/{kind}-{card}\.rom"
            for kind in ("efi", "pxe") for card in _NETWORK}),
    Origin("video-roms", "seabios", "option ROMs of displays",
           {f"vgabios-{name}.bin": rf"usr/share/seabios/vgabios-{name}\.bin"
            for name in _DISPLAYS}),
    Origin("boot-roms", "qemu-system-data", "boot ROMs of boards",
           {f"{board}_bootrom.bin": rf"usr/share/qemu/{board}_bootrom\.bin"
            for board in _BOARDS}),
    # The names are those that QEMU's own tarball gives to these files, and that its documents use;
    # QEMU_EFI.fd is for -bios.
    Origin("firmware", FIRMWARE, "UEFI firmware",
           {"QEMU_EFI.fd": EFI, "edk2-aarch64-code.fd": CODE, "edk2-arm-vars.fd": VARIABLES}),
)


def fetch():
    """Have all files; returns {name in the data folder: path}. Raises WorkbenchError."""
    found = {}
    for origin in ORIGINS:
        licence = {LICENCE: rf"usr/share/doc/{origin.package}/copyright"}
        place = debfiles.have(origin.place(), (origin.package, SUITES), "all",
                              {**origin.files, **licence}, origin.what)
        found.update({name: place / name for name in origin.files})
    return found


def configured(build):
    """The data folder, an absolute path, with which the build folder BUILD was configured."""
    text = (build / "config-host.h").read_text(encoding="utf-8")
    return Path(re.search(r'^#define CONFIG_QEMU_DATADIR "(.*)"', text, re.MULTILINE)[1])


def inside(build):
    """The data folder of QEMU when it runs in the build folder BUILD."""
    return build / BUNDLE / str(configured(build)).lstrip("/")


def descriptor(code, variables):
    """The description of the firmware in the files CODE and VARIABLES, as libvirt reads it: a text.

    See docs/interop/firmware.json in QEMU.
    """
    template = paths.QEMU_SRC / "pc-bios/descriptors/60-edk2-aarch64.json"
    text = template.read_text(encoding="utf-8")
    return text.replace("@DATADIR@/edk2-aarch64-code.fd", str(code)) \
        .replace("@DATADIR@/edk2-arm-vars.fd", str(variables))


def _described(folder):
    """descriptor() of the files in the data folder FOLDER."""
    return descriptor(folder / "edk2-aarch64-code.fd", folder / "edk2-arm-vars.fd")


def provide(build):
    """Link the files into the data folder of the build folder BUILD, if they can be had.

    Otherwise the user is told what does not work. Files that the build has of its own stay.
    """
    try:
        files = fetch()
    except WorkbenchError as error:
        info(f"{build.relative_to(paths.TOP)} lacks option ROMs and firmware ({error}). Start QEMU "
             "with -L and a data folder that has them, or with '-nic none' and '-bios FILE'.")
        return
    data = inside(build)
    data.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        link = data / name
        target = os.path.relpath(file, data)
        if link.is_symlink() and os.readlink(link) == target or link.exists():
            continue
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    place = data / DESCRIPTOR
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        place.write_text(_described(data), encoding="utf-8")


def install(folder, meant):
    """Copy the files to the data folder FOLDER, which will be found as MEANT when QEMU runs.

    Raises WorkbenchError when they cannot be had.
    """
    files = fetch()
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        copy(file, folder / name)
    place = folder / DESCRIPTOR
    place.parent.mkdir(exist_ok=True)
    place.write_text(_described(meant), encoding="utf-8")


def copy(file, target):
    """Copy FILE to the path TARGET, readable for all. Zeros become holes: a flash image of 64 MiB
    has a few MiB of other contents."""
    subprocess.run(["cp", "--remove-destination", "--sparse=always", file, target], check=True)
    target.chmod(0o644)
