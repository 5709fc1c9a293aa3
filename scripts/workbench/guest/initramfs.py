# SPDX-License-Identifier: GPL-2.0-or-later
"""Initial RAM disks of the test guests: busybox, a few scripts, and what a test adds."""

import gzip
import os
import stat
from pathlib import Path

GUEST_FILES = Path(__file__).resolve().parent / "files"


class Archive:
    """A cpio archive of the "newc" kind, the format that Linux unpacks.

    Written by hand because cpio(1) is not part of a minimal Debian, and this way device nodes need
    no root and equal input gives equal bytes.
    """

    def __init__(self):
        self._data = bytearray()
        self._folders = set()
        self._inode = 0

    def _entry(self, name, mode, data=b"", device=(0, 0)):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._pad()
        self._data += data
        self._pad()

    def _pad(self):
        self._data += b"\0" * (-len(self._data) % 4)

    def folder(self, name):
        """Add the folder NAME (relative to the root) and those above it."""
        parts = Path(name).parts
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            if path not in self._folders:
                self._folders.add(path)
                self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        """Add the regular file NAME with the bytes DATA."""
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, data)

    def symlink(self, name, target):
        """Add NAME as a symbolic link to TARGET."""
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name, major, minor):
        """Add the character device NAME."""
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def bytes(self):
        """Return the finished archive; nothing can be added to the copy that is returned."""
        done = Archive()
        done._data = bytearray(self._data)
        done._inode = self._inode
        done._entry("TRAILER!!!", 0)
        return bytes(done._data)


def base(busybox):
    """Return the gzip-compressed initial RAM disk of a test guest.

    BUSYBOX is the path of a static busybox for the guest's architecture.
    """
    archive = Archive()
    add_base(archive, busybox)
    return gzip.compress(archive.bytes(), compresslevel=6, mtime=0)


def add_base(archive, busybox, programs="bin"):
    """Add to ARCHIVE what init needs, and init. PROGRAMS is the folder that /bin is."""
    for folder in (programs, "dev", "proc", "sys", "tmp"):
        archive.folder(folder)
    # The kernel opens it for init before anything is mounted.
    archive.node("dev/console", 5, 1)
    archive.file(f"{programs}/busybox", Path(busybox).read_bytes(), 0o755)
    # Enough for init, which lets busybox make the links of all its other commands.
    archive.symlink(f"{programs}/sh", "busybox")
    for script in sorted(GUEST_FILES.iterdir()):
        name = "init" if script.name == "init" else f"{programs}/{script.name}"
        archive.file(name, script.read_bytes(), 0o755)


def extended(initrd, files):
    """Return INITRD (bytes) with FILES added: {name in the guest: path on the host}.

    Linux unpacks archives that follow each other; the added one stays uncompressed, because it is
    made anew for a test and guests unpack slowly under emulation.
    """
    archive = Archive()
    for name, path in sorted(files.items()):
        path = Path(path)
        archive.file(name, path.read_bytes(), path.stat().st_mode & 0o777)
    return initrd + b"\0" * (-len(initrd) % 4) + archive.bytes()
