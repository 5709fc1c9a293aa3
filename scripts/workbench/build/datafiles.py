# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of QEMU's data folder that its tarball lacks: option ROMs and firmware of Arm guests.

They come from Debian packages, and are linked into the data folder of a build, where QEMU looks for
them. So a guest with default devices starts as it does with an installed QEMU.
"""

import os

from ..system import debfiles, paths
from ..ui.report import WorkbenchError, info

SUITES = ("trixie",)
# Network cards that have an option ROM, by the name of its files.
_NETWORK = ("e1000", "e1000e", "eepro100", "ne2k_pci", "pcnet", "rtl8139", "virtio", "vmxnet3")
# In a build folder, QEMU takes qemu-bundle for the root folder of what is installed.
DATA = "qemu-bundle/usr/local/share/qemu"
DESCRIPTOR = "firmware/60-edk2-aarch64.json"


def fetch():
    """Have all files; returns {name in the data folder: path}. Raises WorkbenchError."""
    roms = {f"{kind}-{card}.rom": rf"usr/(share|lib/ipxe)/qemu/{kind}-{card}\.rom"
            for kind in ("efi", "pxe") for card in _NETWORK}
    # The names are those that QEMU's own tarball gives to these files, and that its documents use;
    # QEMU_EFI.fd is for -bios.
    firmware = {"QEMU_EFI.fd": r"usr/share/qemu-efi-aarch64/QEMU_EFI\.fd",
                "edk2-aarch64-code.fd": r"usr/share/AAVMF/AAVMF_CODE(\.no-secboot)?\.fd",
                "edk2-arm-vars.fd": r"usr/share/AAVMF/AAVMF_VARS\.fd"}
    found = {}
    for folder, package, files, what in (
            ("option-roms", "ipxe-qemu", roms, "option ROMs of network cards"),
            ("firmware", "qemu-efi-aarch64", firmware, "UEFI firmware")):
        place = debfiles.have(paths.DATA / folder, (package, SUITES), "all", files, what)
        found.update({name: place / name for name in files})
    return found


def descriptor(folder):
    """The description of the firmware in the data folder FOLDER, as libvirt reads it: a text.

    See docs/interop/firmware.json in QEMU.
    """
    template = paths.QEMU_SRC / "pc-bios/descriptors/60-edk2-aarch64.json"
    return template.read_text(encoding="utf-8").replace("@DATADIR@", str(folder))


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
    data = build / DATA
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
        place.write_text(descriptor(data), encoding="utf-8")
