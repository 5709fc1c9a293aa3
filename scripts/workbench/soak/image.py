# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest of a soak boots with, and the disks that come and go."""

import hashlib
from pathlib import Path

from ..guest import assets, initramfs, modules
from ..system import atomic, paths
from .model import DISKS
from .observation import DISK_ID

LOOK = Path(__file__).parent / "files" / "soak-look"
DRIVERS = ("virtio_blk", "virtio_net")
_DISK_SIZE = 4096


def initrd():
    """Path of the initial RAM disk: with drivers, soak-look, and what a kexec needs.

    For the default kernel. Raises WorkbenchError when a package cannot be had.
    """
    base = atomic.write_if_changed(
        paths.GUEST / "initrd-soak.cpio",
        initramfs.extended(modules.initrd(*DRIVERS).read_bytes(), {"bin/soak-look": LOOK}))
    return atomic.write_if_changed(
        paths.GUEST / "initrd-soak-kexec.cpio",
        initramfs.extended(base.read_bytes(), assets.kexec_files(base)))


def disks(folder):
    """Make the file below FOLDER that has the content of all disks; returns its path."""
    return atomic.write_if_changed(folder / "disks", b"".join(
        _content(number) for number in range(DISKS)))


def _content(number):
    return hashlib.sha512(b"disk %d" % number).digest() * (_DISK_SIZE // 64)


def sums():
    """{id of a disk: checksum of its content as md5sum prints it}."""
    return {DISK_ID.format(number): hashlib.md5(_content(number)).hexdigest()
            for number in range(DISKS)}


def disk_options(path):
    """QEMU's options for a block node of each disk in the file PATH of the place."""
    words = ["-blockdev", f"driver=file,node-name=disks,read-only=on,filename={path}"]
    for number in range(DISKS):
        words += ["-blockdev", f"driver=raw,node-name={DISK_ID.format(number)},file=disks,"
                  f"read-only=on,offset={number * _DISK_SIZE},size={_DISK_SIZE}"]
    return words
