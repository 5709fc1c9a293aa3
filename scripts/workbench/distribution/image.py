# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk image of a Debian 13 that boots by itself, made once and kept in build/distribution.

A guest makes it, see builder.py, by the script files/make-image: it partitions the disk and runs
mmdebstrap, which installs packages that this machine has downloaded and verified. That needs no
right of root on this machine.
"""

import hashlib
import subprocess
import tarfile
import time
from io import BytesIO

from ..guest.console import ConsoleError
from ..guest.guest import Config, Guest
from ..guest.qemu import FACTOR, GuestError
from ..system import atomic, lock, paths
from ..system.programs import need_space
from ..ui.report import WorkbenchError, duration, info, step
from . import builder, packages

NAME = "debian-13"
FOLDER = paths.DISTRIBUTION / NAME
SIZE = "8G"                 # of the disk; the file has what is in use
_SPACE = 5                  # GiB that it takes to make it
_STEP = 1500                # seconds that the longest step may take
_WORK = "/work"             # the folder in the guest


def disk():
    """Return the path of the image, a qcow2 file that is not to be changed; made if needed.

    Raises WorkbenchError when packages cannot be had, or QEMU is not built.
    """
    recipe = _recipe()
    if not _current(recipe):
        paths.DISTRIBUTION.mkdir(parents=True, exist_ok=True)
        with lock.held(paths.DISTRIBUTION / "lock", "waiting for another run to make the image of "
                       "Debian"):
            if not _current(recipe):
                _make(recipe)
    return FOLDER / "disk.qcow2"


def versions():
    """{package: version} of all that is in the image. Needs disk()."""
    lines = (FOLDER / "packages").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ") for line in lines)


def _recipe():
    """What the image is made from, as text. Its packages stay as new as they were then."""
    digest = hashlib.sha256()
    for path in sorted(builder.FILES.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(builder.FILES)}\0".encode() + path.read_bytes())
    return f"{packages.SUITE} {SIZE} {' '.join(packages.IMAGE)}\n{digest.hexdigest()}\n"


def _current(recipe):
    return atomic.holds(FOLDER / "recipe", recipe)


def _make(recipe):
    for program in ("qemu-system-aarch64", "qemu-img"):
        if not (paths.PATCHED / program).exists():
            raise WorkbenchError(f"{paths.PATCHED / program} does not exist: run scripts/build "
                                 "first.")
    need_space(paths.DISTRIBUTION, _SPACE, "An image of Debian")
    step(f"Making an image of Debian in {FOLDER.relative_to(paths.TOP)}")
    begin = time.monotonic()
    found = packages.fetch()
    with atomic.new_folder(FOLDER) as new:
        scratch = new.parent
        builder.make(found, scratch / "vmlinuz", scratch / "initrd")
        _pack(found.image, scratch / "work.tar")
        image = new / "disk.qcow2"
        subprocess.run([paths.PATCHED / "qemu-img", "create", "-q", "-f", "qcow2", image, SIZE],
                       check=True)
        info(f"{len(found.image)} packages are here ({duration(time.monotonic() - begin)})")
        try:
            _run(scratch, image)
        except GuestError as error:
            raise WorkbenchError(f"The image of Debian could not be made.\n{error}") from None
        (new / "packages").write_text("".join(
            f"{name} {version}\n" for name, version, _ in
            (deb.name.split("_") for deb in found.image)), encoding="utf-8")
        (new / "recipe").write_text(recipe, encoding="utf-8")
    info(f"made in {duration(time.monotonic() - begin)}")


def _pack(debs, target):
    """Write the tar file TARGET with what make-image finds in its folder, for packages DEBS."""
    def owned_by_root(member):
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    def add(archive, name, text):
        member = tarfile.TarInfo(name)
        member.size = len(text)
        archive.addfile(member, BytesIO(text))

    with tarfile.open(target, "w") as archive:
        archive.add(builder.FILES / "make-image", "make-image", filter=owned_by_root)
        archive.add(builder.FILES / "root", "root", filter=owned_by_root)
        folder = target.with_name("stored")
        folder.mkdir()
        stored = [packages.store(deb, folder) for deb in debs]
        for deb in stored:
            archive.add(deb, f"packages/{deb.name}", filter=owned_by_root)
        add(archive, "packages/Packages", packages.index(stored).encode())
        add(archive, "include", ",".join(packages.IMAGE).encode())


def _run(scratch, image):
    """Boot the guest with the files in SCRATCH and have it fill IMAGE. Raises GuestError."""
    def drive(name, file, options):
        return ["-drive", f"if=none,id={name},{options},file={str(file).replace(',', ',,')}",
                "-device", f"virtio-blk-pci,drive={name}"]

    config = Config(
        qemu=paths.PATCHED / "qemu-system-aarch64", kernel=scratch / "vmlinuz",
        initrd=scratch / "initrd", smp="2", memory="3G", append="quiet harness panic=-1",
        extra=["-no-reboot", *drive("disk", image, "format=qcow2,cache=unsafe,discard=unmap"),
               *drive("work", scratch / "work.tar", "format=raw,readonly=on")])
    with Guest(config, "make-debian") as guest:
        guest.wait_ready()
        guest.check(f"mkdir {_WORK} && tar -C {_WORK} -xf /dev/vdb", 120)
        try:
            for _, line in guest.console.lines_with_time(f"sh {_WORK}/make-image {_WORK}", "made",
                                                         _STEP * FACTOR):
                info(line)
        except ConsoleError as error:
            raise GuestError(str(error)) from None
        guest.console.send("sync; exec busybox poweroff -f")
        guest.wait_end(60)
