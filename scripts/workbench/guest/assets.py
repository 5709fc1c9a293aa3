# SPDX-License-Identifier: GPL-2.0-or-later
"""What guests boot: kernels, firmware and the initial RAM disk, from Debian packages.

Each function returns files below build/guest/ and fetches only what is missing there, so that a
machine without network goes on working with what it has. All raise WorkbenchError when a package
cannot be had.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..build import datafiles
from ..system import aptroot, atomic, debfiles, paths
from ..ui.report import step
from . import initramfs

DEFAULT_KERNEL = "6.12"
DEFAULT_FIRMWARE = "2025.02"

# What finds the newest package of the kind, and the suites that are asked, the first that has one
# decides. From 7.x on linux-image is a metapackage and the kernel itself is in linux-binary.
_KERNELS = {
    "6.1": (r"linux-image-6\.1\.0-\d+-arm64", ("bookworm",)),
    "6.12": (r"linux-image-6\.12\.\d+\+deb13-arm64", ("trixie",)),
    "7": (r"linux-binary-7\.\d+\.\d+\+deb\d+-arm64", ("trixie-backports", "testing", "sid")),
}
# From 6.9 on, Linux takes TCG's x86 for bare metal and refuses to add CPUs there.
_KERNEL_X86 = (r"linux-image-6\.1\.0-\d+-amd64", ("bookworm",))
_FIRMWARE_SUITES = {"2022.11": ("bookworm",), "2025.02": ("trixie",)}

# The libraries of kexec, by the package that has them. kexec does not start without those of Xen.
_KEXEC_LIBRARIES = {
    "libc6": ("ld-linux-aarch64.so.1", "libc.so.6"),
    "zlib1g": ("libz.so.1",),
    "libxentoollog1": ("libxentoollog.so.1",),
    "libxencall1": ("libxencall.so.1",),
    "libxenevtchn1": ("libxenevtchn.so.1",),
    "libxengnttab1": ("libxengnttab.so.1",),
    "libxenforeignmemory1": ("libxenforeignmemory.so.1",),
    "libxendevicemodel1": ("libxendevicemodel.so.1",),
    "libxentoolcore1": ("libxentoolcore.so.1",),
}


@dataclass(frozen=True)
class Firmware:
    """EFI is for -bios; CODE and VARS are for the two flash drives, VARS is to be copied."""

    efi: Path
    code: Path
    vars: Path


def kernel_names():
    """The kernels that kernel() knows, oldest first."""
    return tuple(_KERNELS)


def firmware_names():
    """The firmware versions that firmware() knows, oldest first."""
    return tuple(_FIRMWARE_SUITES)


def kernel(name=DEFAULT_KERNEL):
    """Return the path of an arm64 kernel of Debian: "6.1", "6.12" or "7" (the newest 7.x)."""
    folder = debfiles.have(paths.GUEST / f"kernel-{name}", _KERNELS[name], "arm64",
                           {"vmlinuz": r"(boot/vmlinuz-.*|usr/lib/modules/[^/]*/vmlinuz)"},
                           f"the Linux {name} kernel")
    return folder / "vmlinuz"


def kernel_package(name=DEFAULT_KERNEL):
    """The package that kernel(NAME) is from, and the suites to ask for others of its version."""
    stem = (kernel(name).parent / "package").read_text().strip().removesuffix(".deb")
    package, version, arch = stem.split("_")
    return aptroot.Package(package, arch, _KERNELS[name][1], version)


def kernel_x86():
    """Return the path of an amd64 kernel, for comparisons with q35."""
    folder = debfiles.have(paths.GUEST / "kernel-x86", _KERNEL_X86, "amd64",
                           {"vmlinuz": r"boot/vmlinuz-.*"}, "an x86 kernel")
    return folder / "vmlinuz"


def bios_x86():
    """Return the folders, for -L, with the firmware files that q35 needs to boot a kernel."""
    return [debfiles.have(paths.GUEST / "firmware-x86", (r"seabios", ("trixie",)), "all",
                          {"bios-256k.bin": r"usr/share/seabios/bios-256k\.bin"}, "SeaBIOS"),
            debfiles.have(paths.GUEST / "optionrom-x86", (r"qemu-system-data", ("trixie",)), "all",
                          {name: rf"usr/share/(qemu|seabios)/{re.escape(name)}"
                           for name in ("linuxboot_dma.bin", "kvmvapic.bin")}, "x86 option ROMs")]


def firmware(version=DEFAULT_FIRMWARE):
    """Return the UEFI Firmware of Debian's qemu-efi-aarch64 VERSION: "2022.11" or "2025.02"."""
    files = {"QEMU_EFI.fd": datafiles.EFI, "AAVMF_CODE.fd": datafiles.CODE,
             "AAVMF_VARS.fd": datafiles.VARIABLES}
    folder = debfiles.have(paths.GUEST / f"firmware-{version}",
                           (datafiles.FIRMWARE, _FIRMWARE_SUITES[version]), "all", files,
                           f"UEFI firmware {version}")
    return Firmware(*(folder / name for name in files))


def firmware_loongarch():
    """Return the two flash images, code and variables, of UEFI firmware for LoongArch."""
    files = {"QEMU_EFI.fd": r"usr/share/qemu-efi-loongarch64/QEMU_EFI\.fd",
             "QEMU_VARS.fd": r"usr/share/qemu-efi-loongarch64/QEMU_VARS\.fd"}
    folder = debfiles.have(paths.GUEST / "firmware-loongarch",
                           ("qemu-efi-loongarch64", _FIRMWARE_SUITES[DEFAULT_FIRMWARE]), "all",
                           files, "UEFI firmware for LoongArch")
    return tuple(folder / name for name in files)


def firmware_sparc64():
    """Return the path of OpenBIOS for sun4u."""
    return debfiles.have(paths.GUEST / "firmware-sparc64", (r"qemu-system-data", ("bookworm",)),
                         "all", {"openbios-sparc64": r"usr/share/qemu/openbios-sparc64"},
                         "OpenBIOS for sun4u") / "openbios-sparc64"


def busybox(arch="arm64"):
    """Return the path of a static busybox for ARCH, "arm64" or "amd64"."""
    folder = debfiles.have(paths.GUEST / f"busybox-{arch}", ("busybox-static", ("trixie",)), arch,
                           {"busybox": r"(usr/)?bin/busybox"}, f"busybox for {arch}")
    return folder / "busybox"


def initrd(arch="arm64"):
    """Return the path of the initial RAM disk for test guests of ARCH ("arm64" or "amd64")."""
    name = "initrd.gz" if arch == "arm64" else f"initrd-{arch}.gz"
    return atomic.write_if_changed(paths.GUEST / name, initramfs.base(busybox(arch)))


def kexec_files(initial, kernel_name=DEFAULT_KERNEL):
    """{name in a guest: path} of what kexec needs, for initramfs.extended().

    That is the command kexec, and as /boot/vmlinuz and /boot/initrd.gz what to start with it: the
    kernel KERNEL_NAME and the file INITIAL.
    """
    folder = paths.GUEST / "kexec"
    if not (folder / "package").exists():
        step(f"Fetching kexec for guests into {folder.relative_to(paths.TOP)}")
        suites = ("trixie",)
        xen = aptroot.newest(r"libxenmisc4\.\d+", "arm64", suites)
        packages = {"kexec-tools": {"kexec": r"usr/sbin/kexec"}}
        xenctrl = "libxenctrl.so." + xen.removeprefix("libxenmisc")
        for package, names in {**_KEXEC_LIBRARIES, xen: (xenctrl,)}.items():
            packages[package] = {name: rf"usr/lib/.*/{re.escape(name)}[.0-9]*" for name in names}
        debs = aptroot.fetch([aptroot.Package(package, "arm64", suites) for package in packages])
        with atomic.new_folder(folder) as new:
            for deb, wanted in zip(debs, packages.values()):
                debfiles.extract(deb, wanted, new)
            (new / "package").write_text("".join(f"{deb.name}\n" for deb in debs))
    files = {f"lib/{path.name}": path for path in folder.iterdir() if path.name.startswith("l")}
    return files | {"bin/kexec": folder / "kexec", "boot/vmlinuz": kernel(kernel_name),
                    "boot/initrd.gz": initial}


def initrd_kexec(kernel_name=DEFAULT_KERNEL):
    """Return the path of an initial RAM disk that can kexec, see kexec_files()."""
    base = initrd()
    files = kexec_files(base, kernel_name)
    return atomic.write_if_changed(paths.GUEST / f"initrd-kexec-{kernel_name}.cpio",
                                   initramfs.extended(base.read_bytes(), files))


def defaults():
    """Have the files that a user finds in build/guest/: kernel, initial RAM disk, firmware.

    Returns (kernel path, initrd path, Firmware).
    """
    result = kernel(), initrd(), firmware()
    for path in (result[0], result[2].efi, result[2].code, result[2].vars):
        link = paths.GUEST / path.name
        target = path.relative_to(paths.GUEST)
        if not link.is_symlink() or Path(os.readlink(link)) != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return result
