# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an installed package has its files: each has the package's name in its path, so none can be
a file of another package.

    /usr/bin/qemu-virt-hotplug-system-aarch64, -img, -nbd, …       programs
    /usr/lib/qemu-virt-hotplug/bin/qemu-system-aarch64, …          links, with the usual names
    /usr/share/qemu-virt-hotplug/                                  QEMU's data folder
    /usr/share/AAVMF/qemu-virt-hotplug-CODE.fd, -VARS.fd           firmware
    /usr/share/qemu/firmware/70-qemu-virt-hotplug-aarch64.json     its description, for libvirt
    /etc/apparmor.d/abstractions/libvirt-qemu.d/qemu-virt-hotplug  what libvirt's profile must allow

Programs are where libvirt's own AppArmor profile lets it start them. virt-aa-helper refuses
firmware but below a few folders, of which AAVMF is one that each of its versions knows.
"""

import os
import shutil
from pathlib import Path

from ..build import datafiles
from ..ui.report import WorkbenchError
from . import texts
from .texts import NAME

OWN = f"usr/lib/{NAME}"
DATA = f"usr/share/{NAME}"
DOCUMENTS = f"usr/share/doc/{NAME}"
FIRMWARE = {"edk2-aarch64-code.fd": f"usr/share/AAVMF/{NAME}-CODE.fd",
            "edk2-arm-vars.fd": f"usr/share/AAVMF/{NAME}-VARS.fd"}
# A low priority: guests get the distribution's firmware as before if that is installed.
DESCRIPTOR = f"usr/share/qemu/firmware/70-{NAME}-aarch64.json"
APPARMOR = f"etc/apparmor.d/abstractions/libvirt-qemu.d/{NAME}"
# Headers for plugins, and what a desktop shows: the distribution's package has the same.
UNWANTED = ("usr/include", "usr/share/applications", "usr/share/icons")


def places(libraries, version):
    """Options of configure that say where things are installed.

    LIBRARIES is the distribution's folder for them; VERSION is what --version says beside QEMU's.
    """
    return ("--prefix=/usr", "--sysconfdir=/etc", "--localstatedir=/var", f"--libdir={libraries}",
            f"--libexecdir=/{OWN}", f"--with-suffix={NAME}", f"--localedir=/{DATA}/locale",
            f"--firmwarepath=/{DATA}", f"--with-pkgversion={version}")


def renamed(name):
    """The name of a program or page NAME of QEMU in the package."""
    for start in ("qemu-", "qemu."):
        if name.startswith(start):
            return NAME + start[-1] + name.removeprefix(start)
    return f"{NAME}-{name}"


def arrange(root, apparmor):
    """Move what QEMU's build has installed below ROOT to where the package has it; add the rest.

    APPARMOR False leaves the rules for it out. Raises WorkbenchError for a file whose path lacks
    the package's name.
    """
    root = Path(root)
    for name in UNWANTED:
        shutil.rmtree(root / name, ignore_errors=True)
    _programs(root)
    for page in sorted((root / "usr/share/man").glob("man*/*")):
        page.rename(page.with_name(renamed(page.name)))
    page = root / f"usr/share/man/man1/{NAME}.1"
    if page.exists():
        for program in (root / "usr/bin").glob(f"{NAME}-system-*"):
            (page.parent / f"{program.name}.1").symlink_to(page.name)
    _firmware(root)
    _documents(root, apparmor)
    if apparmor:
        _write(root / APPARMOR, texts.apparmor(f"/{DATA}"))
    strange = foreign(str(path.relative_to(root)) for path in root.rglob("*")
                      if path.is_symlink() or not path.is_dir())
    if strange:
        raise WorkbenchError("Other packages may have these files, too: " + ", ".join(strange)
                             + ". scripts/workbench/packages/layout.py must rename them or leave "
                             "them out.")


def foreign(names):
    """Those of the paths NAMES that lack the package's name."""
    return [name for name in names if NAME not in name]


def _programs(root):
    links = root / OWN / "bin"
    links.mkdir(parents=True, exist_ok=True)
    for program in sorted((root / "usr/bin").iterdir()):
        new = program.rename(program.with_name(renamed(program.name)))
        (links / program.name).symlink_to(os.path.relpath(new, links))


def _firmware(root):
    data = root / DATA
    for name, place in FIRMWARE.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        (data / name).rename(target)
        (data / name).symlink_to(os.path.relpath(target, data))
    shutil.rmtree(data / "firmware")
    code, variables = (f"/{place}" for place in FIRMWARE.values())
    _write(root / DESCRIPTOR, datafiles.descriptor(code, variables))


def _documents(root, apparmor):
    folder = root / DOCUMENTS
    if folder.exists():
        # QEMU installs its pages straight into it.
        pages = folder.rename(folder.with_name(f"{NAME}.html"))
        folder.mkdir()
        pages.rename(folder / "html")
    for origin in datafiles.ORIGINS:
        place = origin.place()
        target = folder / "firmware" / f"{origin.package}.{datafiles.LICENCE}"
        _write(target, (place / datafiles.LICENCE).read_text(encoding="utf-8"))
    _write(folder / "firmware/README", texts.sources(datafiles.ORIGINS))
    _write(folder / "README", texts.readme(f"/{OWN}/bin", apparmor and f"/{APPARMOR}"))


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
