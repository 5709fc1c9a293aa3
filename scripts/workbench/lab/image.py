# SPDX-License-Identifier: GPL-2.0-or-later
"""What the emulated Arm host boots with: kernel, modules, and QEMU with all that a guest needs."""

from pathlib import Path

from ..build import cross
from ..guest import assets, initramfs
from ..system import atomic, paths
from ..ui.report import WorkbenchError, step
from . import kernels

HOOK = Path(__file__).parent / "files" / "hook"
DISK_SIZE = 64 << 20


def binary(name=cross.TARGETS[0]):
    """Path of the program NAME of QEMU that runs inside. Raises WorkbenchError if it is missing."""
    path = (paths.PATCHED_ARM64 if cross.needed() else paths.PATCHED) / name
    if not path.exists():
        raise WorkbenchError(f"{path} does not exist: run scripts/lab build first.")
    return path


def contents(kernel=kernels.DEFAULT):
    """{name on the host: path here} of what is added to the initial RAM disk of test guests.

    KERNEL, one of kernels.names(), is the host's. What guests boot has its place there, too, so
    that most tests need to copy nothing.
    """
    programs = [binary(name) for name in cross.TARGETS]
    files = {f"lib/{name}": path for name, path in cross.libraries_of(*programs).items()}
    for path in programs:
        files[f"bin/{path.name}"] = _stripped(path)
    files |= kernels.module_files(kernel)
    files["etc/hook"] = HOOK
    files |= {f"lab/{path.name}": path for path in guest_files()}
    return files


def guest_files():
    """The default kernel, initial RAM disk and firmware of guests inside."""
    return assets.kernel(), assets.initrd(), assets.firmware().efi


def known():
    """{path here: name on the host} of the files that a test may name."""
    result = {path.resolve(): f"/lab/{path.name}" for path in guest_files()}
    for name in cross.TARGETS:
        result[binary(name).resolve()] = f"/bin/{name}"
    return result


def _stripped(path):
    target = paths.LAB / path.name
    if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
        with atomic.new_file(target) as new:
            cross.strip(path, new)
    return target


def initrd(kernel=kernels.DEFAULT):
    """Return the path of the host's initial RAM disk, made anew when something in it changed.

    KERNEL, one of kernels.names(), is the host's. Raises WorkbenchError when QEMU for the host is
    not built or a package cannot be had.
    """
    base = assets.initrd()
    files = contents(kernel)
    wanted = "".join(f"{name} {path} {path.stat().st_mtime_ns} {path.stat().st_size}\n"
                     for name, path in sorted({**files, "": base}.items()))
    name = "initrd" if kernel == kernels.DEFAULT else f"initrd-{kernel}"
    target, stamp = paths.LAB / f"{name}.cpio", paths.LAB / f"{name}.files"
    if target.exists() and atomic.holds(stamp, wanted):
        return target
    step(f"Making the Arm host's {target.relative_to(paths.TOP)}")
    with atomic.new_file(target) as new:
        new.write_bytes(initramfs.extended(base.read_bytes(), files))
    stamp.write_text(wanted, encoding="utf-8")
    return target


def disk():
    """Return the path of the image behind the host's NVMe controller; use it with snapshot=on."""
    path = paths.LAB / "nvme.img"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as image:
        image.truncate(DISK_SIZE)
    return path
