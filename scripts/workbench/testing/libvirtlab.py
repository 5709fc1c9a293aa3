# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt with its daemon for the emulated Arm host, as Debian 13 has it.

The host's Linux is Debian's, but its system is a few files in memory. So libvirt gets a folder
there in which it runs by chroot(1): the packages that libvirt needs, for arm64, unpacked into a tar
file, which the host has as a disk. This machine need not be able to run what is in them. What they
would run when they are installed is left out; the script files/libvirt-root does the few things of
that which libvirt needs.
"""

import fnmatch
import tarfile
from pathlib import Path

from ..system import aptroot, atomic, debfiles, debroot, paths
from ..system.programs import need_space
from ..ui.report import WorkbenchError, info, step
from . import libvirtroots

SUITE = "trixie"
ARCH = "arm64"
PACKAGES = libvirtroots.DAEMON + libvirtroots.LIBRARIES
FOLDER = paths.LAB / "libvirt"
DISK = "/dev/vda"               # on the host, which has no other disk of the kind
ROOT = "/libvirt"               # on the host
# Run on the host, with DISK and ROOT, it makes ROOT.
SCRIPT = Path(__file__).parent / "files" / "libvirt-root"

_SPACE = 1                      # GiB while it is made
_RECIPE = f"{SUITE} {ARCH} {' '.join(PACKAGES)} without {' '.join(libvirtroots.PROVIDED)}\n"
# In Debian these are links to the folders in usr, which another package than those here has.
_LINKS = ("bin", "lib", "sbin")


def tarball():
    """Return the path of the tar file with libvirt's root, made if needed.

    Its packages stay as new as they were then. Raises WorkbenchError when they cannot be had.
    """
    stamp = FOLDER / "recipe"
    if not atomic.holds(stamp, _RECIPE):
        need_space(paths.LAB, _SPACE, "libvirt for the Arm host")
        step(f"Unpacking libvirt for the Arm host into {FOLDER.relative_to(paths.TOP)}")
        debs = aptroot.fetch(aptroot.closure(PACKAGES, ARCH, SUITE,
                                             provided=libvirtroots.PROVIDED))
        with atomic.new_folder(FOLDER) as new:
            root = new.with_name("root")
            for deb in debs:
                debfiles.unpack(deb, root)
            pack(root, new / "root.tar")
            (new / "packages").write_text("".join(f"{deb.name}\n" for deb in debs),
                                          encoding="utf-8")
            (new / stamp.name).write_text(_RECIPE, encoding="utf-8")
    return FOLDER / "root.tar"


def pack(root, target):
    """Write the tar file TARGET with what is in the folder ROOT, but what nobody reads there.

    All files belong to root. Raises WorkbenchError when ROOT is not laid out as expected.
    """
    for name in _LINKS:
        if (root / name).is_dir():
            raise WorkbenchError(f"A package of {SUITE} has the folder /{name}, which is a link to "
                                 f"/usr/{name} in Debian: libvirtlab.py must learn of that.")

    def taken(member):
        if any(fnmatch.fnmatchcase(f"/{member.name}", pattern) for pattern in debroot.LEFT_OUT):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    # busybox takes long names in this format only.
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, path.name, filter=taken)
        for name in _LINKS:
            link = tarfile.TarInfo(name)
            link.type = tarfile.SYMTYPE
            link.linkname = f"usr/{name}"
            archive.addfile(link)


def options():
    """Options of the host's QEMU for DISK, to be put behind all others. Raises as tarball()."""
    file = str(tarball()).replace(",", ",,")
    return ["-drive", f"if=none,id=libvirt,format=raw,readonly=on,file={file}",
            "-device", "virtio-blk-pci,drive=libvirt,bus=pcie.0"]


def fetch():
    """Have the tar file before the tests, which run against the clock."""
    try:
        tarball()
    except WorkbenchError as error:
        # The tests say themselves what they lack.
        info(f"libvirt is not tested on the Arm host: {error}")
