# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading what the kernel shows as files, and remembering what it does not show."""

import errno
import os
import re
from pathlib import Path

_ONE_OF_MANY = re.compile(r"(?<=/cpu)\d+|(?<=/node)\d+|(?<=^/proc/)\d+|(?<=/fd/)\d+|"
                          r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d")


class Tree:
    """The files of a host below the folder ROOT. All names begin with a slash.

    What is not there reads as None. What is there but cannot be read, too, and goes to unseen:
    a dictionary {what: why}.
    """

    def __init__(self, root="/"):
        self.root = Path(root)
        self.unseen = {}

    @property
    def live(self):
        """Whether these are the files of the running kernel."""
        return self.root == Path("/")

    def path(self, name):
        """Where the file NAME is."""
        return self.root / name.lstrip("/")

    def miss(self, what, why):
        """Remember that WHAT could not be seen, and why."""
        self.unseen.setdefault(what, why)

    def _failed(self, name, error):
        # EINVAL and ENODEV are how sysfs says that a file means nothing for this device, and
        # ESRCH is a process that has ended meanwhile.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENODEV, errno.ESRCH):
            return
        why = os.strerror(error.errno)
        if isinstance(error, PermissionError):
            why += "; root may read it"
        self.miss(_ONE_OF_MANY.sub("*", name), why)

    def data(self, name):
        """The bytes of a file, or None."""
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            self._failed(name, error)
            return None

    def head(self, name, size):
        """The first SIZE bytes of a file, or None. No more is read, which a device may answer."""
        try:
            with open(str(self.path(name)), "rb", buffering=0) as file:
                return file.read(size)
        except OSError as error:
            self._failed(name, error)
            return None

    def text(self, name):
        """The text of a file without white space around it, or None."""
        data = self.data(name)
        return None if data is None else data.decode(errors="replace").strip()

    def number(self, name):
        """The number in a file, or None; a hexadecimal one must begin with 0x."""
        try:
            return int(self.text(name) or "", 0)
        except ValueError:
            return None

    def names(self, folder, pattern=".*"):
        """Names in a folder that match PATTERN as a whole, numbers in the order of their value."""
        try:
            names = [path.name for path in self.path(folder).iterdir()]
        except OSError as error:
            self._failed(folder, error)
            return []
        return sorted((name for name in names if re.fullmatch(pattern, name)), key=_natural)

    def link(self, name):
        """The last part of what a symbolic link points to, or None."""
        target = self.target(name)
        return target and os.path.basename(target)

    def target(self, name):
        """What a symbolic link points to, relative to its folder as sysfs has it, or None."""
        try:
            return os.readlink(str(self.path(name)))
        except OSError as error:
            self._failed(name, error)
            return None

    def exists(self, name):
        """Whether the file or folder is there."""
        return os.path.exists(str(self.path(name)))


def _natural(name):
    return [(0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in re.split(r"(\d+)", name)]


def members(ranges):
    """The numbers in a list of the kernel such as 0-3,8; empty for None."""
    result = []
    for part in (ranges or "").split(","):
        first, _, last = part.partition("-")
        if first:
            result += range(int(first), int(last or first) + 1)
    return result
