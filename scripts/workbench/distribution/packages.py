# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages of the Debian image, and those of the guest that makes it."""

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..system import aptroot
from ..ui.report import WorkbenchError

SUITE = "trixie"
ARCH = "arm64"

# What the variant "required" of mmdebstrap installs without being told, as apt calls it.
VARIANT = ("?essential", "?priority(required)", "apt")
BASE = ("init", "systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2",
        "e2fsprogs")
BOOT = ("linux-image-arm64", "initramfs-tools", "zstd", "grub-efi-arm64")
# What the tests look at, or work with.
SUBJECTS = ("numactl", "irqbalance", "linux-perf", "stress-ng", "kdump-tools", "kexec-tools",
            "chrony", "qemu-guest-agent", "python3-minimal")
IMAGE = BASE + BOOT + SUBJECTS
# For the guest that makes the image.
BUILDER = ("?essential", "mmdebstrap", "apt", "xz-utils", "mount", "fdisk", "e2fsprogs",
           "dosfstools", "kmod")


@dataclass(frozen=True)
class Packages:
    """Files of packages: IMAGE for the image, BUILDER for the guest that makes it, and KERNEL, one
    of IMAGE, for both."""

    image: list
    builder: list
    kernel: Path


def fetch():
    """Have all packages; returns Packages. Raises WorkbenchError when they cannot be had."""
    image = aptroot.closure(VARIANT + IMAGE, ARCH, SUITE)
    builder = aptroot.closure(BUILDER, ARCH, SUITE)
    kernels = [number for number, package in enumerate(image)
               if re.fullmatch(r"linux-image-\d.*-arm64", package.name)]
    if len(kernels) != 1:
        raise WorkbenchError(f"Not one kernel in the packages of {SUITE}, but {len(kernels)}.")
    debs = aptroot.fetch(image + builder)
    return Packages(debs[:len(image)], debs[len(image):], debs[kernels[0]])


_MAGIC = b"!<arch>\n"
_HEADER = 60                    # bytes before each member of an ar archive
_SIZE = slice(48, 58)           # of the member, as text in the header


def store(deb, folder):
    """Write the package DEB to FOLDER with its files uncompressed; returns the path.

    A guest takes long to decompress: it is emulated, and this machine is not.
    """
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE,
                             check=True).stdout
    target = folder / deb.name
    with open(deb, "rb") as source, open(target, "wb") as out:
        out.write(source.read(len(_MAGIC)))
        while header := source.read(_HEADER):
            data = source.read(int(header[_SIZE]))
            source.read(len(data) % 2)
            if header.startswith(b"data.tar"):
                data = content
                header = b"data.tar".ljust(16) + header[16:48] + b"%-10d" % len(data) + header[58:]
            out.write(header + data + b"\n" * (len(data) % 2))
    return target


def index(debs):
    """The text of a "Packages" file for DEBS, which are in the same folder as it."""
    stanzas = []
    for deb in debs:
        fields = subprocess.run(["dpkg-deb", "--field", deb], capture_output=True, text=True,
                                check=True).stdout
        with open(deb, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stanzas.append(f"{fields}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\n"
                       f"SHA256: {digest}\n")
    return "\n".join(stanzas)
