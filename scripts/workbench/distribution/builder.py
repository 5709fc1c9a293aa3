# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest boots that makes the Debian image: a kernel, and mmdebstrap with what it needs.

The maintainer scripts of packages are arm64 programs. Another machine can run them by the kernel's
binfmt_misc, which only root may set up and containers do not have. A guest needs nothing of that,
nor a loop device or any other right of root.
"""

import re
from pathlib import Path

from ..guest import assets, initramfs
from ..system import debfiles
from ..ui.report import WorkbenchError

FILES = Path(__file__).parent / "files"
# Of the kernel: what is needed to write the file systems of the image.
_MODULES = (r"kernel/(drivers/block/virtio_blk|fs/(ext4|jbd2|fat)/|fs/nls/nls_(ascii|cp437)\."
            r"|fs/mbcache|lib/(crc16|libcrc32c)|crypto/crc32c)|modules\.(builtin|order)")
_KERNEL = r"boot/vmlinuz-.*"
# Nobody reads them there.
_LEFT_OUT = r"usr/share/(doc|man|info|locale)/"
# Debian's own folders with these names are links to those in usr.
_LINKS = ("bin", "lib", "sbin")


def make(packages, kernel, initrd):
    """Write the files KERNEL and INITRD (paths) from PACKAGES, a Packages.

    Raises WorkbenchError when a package is broken.
    """
    archive = initramfs.Archive()
    for name in _LINKS:
        archive.folder(f"usr/{name}")
        archive.symlink(name, f"usr/{name}")
    # Before the packages: of two links with the same name the last stays, and mmdebstrap wants
    # Debian's own shell.
    initramfs.add_base(archive, assets.busybox(), "usr/bin")
    for deb in packages.builder:
        for name, member, data in _members(deb):
            if not re.match(_LEFT_OUT, name):
                _add(archive, name, member, data)
    for name, member, data in _members(packages.kernel):
        if re.fullmatch(_KERNEL, name):
            kernel.write_bytes(data())
        elif re.match(rf"usr/lib/modules/[^/]+/({_MODULES})", name):
            _add(archive, name, member, data)
    if not kernel.exists():
        raise WorkbenchError(f"{packages.kernel} holds no {_KERNEL}: its layout has changed.")
    archive.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    archive.file("etc/hook", (FILES / "hook").read_bytes())
    archive.folder("target")
    initrd.write_bytes(archive.bytes())


def _members(deb):
    """Yield (name, TarInfo, function that returns the content) of each file of the package DEB."""
    with debfiles.opened(deb) as archive:
        for member in archive:
            name = member.name.removeprefix("./").strip("/")
            if name.partition("/")[0] in _LINKS:
                name = f"usr/{name}"
            yield name, member, lambda m=member: archive.extractfile(m).read()


def _add(archive, name, member, data):
    """Add one MEMBER of a package to ARCHIVE."""
    if name in ("", ".", *(f"usr/{link}" for link in _LINKS)):
        return
    if member.isdir():
        archive.folder(name)
    elif member.issym():
        archive.symlink(name, member.linkname)
    elif member.islnk():
        archive.symlink(name, "/" + member.linkname.removeprefix("./").strip("/"))
    elif member.isfile():
        archive.file(name, data(), member.mode & 0o777)
