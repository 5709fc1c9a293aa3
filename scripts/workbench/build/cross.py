# SPDX-License-Identifier: GPL-2.0-or-later
"""The patched QEMU for an Arm host, built on a machine of another kind.

Compiler, headers and libraries are Debian's, unpacked below build/cross; nothing is installed.
They are of Debian 12, whatever the machine runs: programs built there run on all later releases.
"""

import os
import re
import subprocess
from pathlib import Path

from ..series import tree
from ..system import aptroot, atomic, debfiles, host, paths, tools
from ..ui.report import WorkbenchError, step
from . import emulators

SUITES = ("bookworm",)
TRIPLET = "aarch64-linux-gnu"
TOOLS = paths.CROSS / "tools"           # programs that run here
SYSROOT = paths.CROSS / "sysroot"       # what the programs made here find at run time
WRAPPERS = paths.CROSS / "bin"

# libbinutils is for libsframe, which later releases have in another version.
_TOOL_PACKAGES = ("gcc-12-aarch64-linux-gnu", "cpp-12-aarch64-linux-gnu",
                  "binutils-aarch64-linux-gnu", "libbinutils")
_TOOL_PACKAGES_ALL = ("libgcc-12-dev-arm64-cross",)
_SYSROOT_PACKAGES = (
    "libc6", "libc6-dev", "linux-libc-dev", "libcrypt1", "libcrypt-dev", "libgcc-s1",
    "libglib2.0-0", "libglib2.0-dev", "libpixman-1-0", "libpixman-1-dev", "libfdt1", "libfdt-dev",
    "zlib1g", "zlib1g-dev",
    # What the .pc files of glib want.
    "libpcre2-8-0", "libpcre2-dev", "libffi8", "libffi-dev", "libmount1", "libmount-dev",
    "libblkid1", "libblkid-dev", "libselinux1", "libselinux1-dev", "libsepol2", "libsepol-dev")

_UNWANTED = ("--cc=", "--cxx=", "--target-list=", "--enable-plugins", "--enable-vhost-user",
             "--enable-slirp", "--enable-vnc")
OPTIONS = tuple(o for o in emulators.OPTIONS if not o.startswith(_UNWANTED)) + (
    "--target-list=aarch64-softmmu", f"--cross-prefix={WRAPPERS}/{TRIPLET}-",
    f"--cc=ccache {WRAPPERS}/{TRIPLET}-gcc")
TARGETS = ("qemu-system-aarch64", "qemu-img")


def needed():
    """False on a machine that is an Arm host itself: there, build/patched is what runs."""
    return os.uname().machine != "aarch64"


def build(targets=TARGETS, which="patched"):
    """Build one tree; returns the path of its qemu-system-aarch64.

    which: "patched" (build/qemu as it stands, edits included) or "pristine" (the base).
    Only what changed is built again. Raises WorkbenchError with the end of the log.
    """
    host.require("series", "build")
    tools.ensure()
    tree.ensure()
    if which == "patched":
        source, folder, name = paths.QEMU_SRC, paths.PATCHED_ARM64, "cross"
    elif which == "pristine":
        source, folder, name = paths.BASE_SRC, paths.PRISTINE_ARM64, "pristine-cross"
        tree.have_base()
    else:
        raise ValueError(f"no such tree: {which}")
    make(source, folder, targets, name)
    return folder / emulators.BINARY


def make(source, folder, targets, name, options=OPTIONS):
    """Build the tree SOURCE in FOLDER, as emulators.configure_and_make() does."""
    toolchain()
    # The wrapper, which ccache sees as the compiler, is made anew with build/; the version is
    # what counts.
    emulators.configure_and_make(source, folder, targets, name, options,
                                 {"CCACHE_COMPILERCHECK": "%compiler% --version"})


def built():
    """Path of the binary if it is there, else None. Says nothing about its age."""
    binary = paths.PATCHED_ARM64 / emulators.BINARY
    return binary if binary.exists() else None


def toolchain():
    """Have the compiler and the libraries, if this is no Arm host, which has its own.

    Raises WorkbenchError when a package cannot be had.
    """
    if not needed():
        return
    native = aptroot.native() if aptroot.available() else ""
    packages = [aptroot.Package(name, native, SUITES) for name in _TOOL_PACKAGES]
    packages += [aptroot.Package(name, "all", SUITES) for name in _TOOL_PACKAGES_ALL]
    inside = [aptroot.Package(name, "arm64", SUITES) for name in _SYSROOT_PACKAGES]
    stamp = paths.CROSS / "packages"
    wanted = "".join(f"{package}\n" for package in packages + inside)
    if not atomic.holds(stamp, wanted):
        step(f"Unpacking a compiler for arm64 into {paths.CROSS.relative_to(paths.TOP)}")
        debs = aptroot.fetch(packages + inside)
        with atomic.new_folder(paths.CROSS) as new:
            for number, deb in enumerate(debs):
                folder = TOOLS if number < len(packages) else SYSROOT
                debfiles.unpack(deb, new / folder.name)
            relative_links(new / SYSROOT.name)
            (new / stamp.name).write_text(wanted, encoding="utf-8")
    _write_wrappers()


def relative_links(folder):
    """Make the absolute symbolic links below FOLDER, a root, lead to what they mean in it."""
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            link = os.path.join(path, name)
            if os.path.islink(link) and os.path.isabs(target := os.readlink(link)):
                os.unlink(link)
                os.symlink(os.path.relpath(f"{folder}{target}", path), link)


def _write_wrappers():
    """Commands with the triplet as prefix, which find their libraries and those of the target."""
    WRAPPERS.mkdir(exist_ok=True)
    libraries = sorted((TOOLS / "usr/lib").glob("*-linux-gnu/libbfd-*.so"))
    if not libraries:
        raise WorkbenchError(f"The cross compiler in {TOOLS} is not complete. Delete "
                             f"{paths.CROSS} and run again.")
    start = (f'#!/bin/sh\nexport LD_LIBRARY_PATH="{libraries[0].parent}'
             '${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\n')
    scripts = {}
    for program in (TOOLS / "usr/bin").glob(f"{TRIPLET}-*"):
        name = re.sub(r"-12$", "", program.name)
        sysroot = f' --sysroot="{SYSROOT}"' if name.endswith(("-gcc", "-cpp")) else ""
        scripts[name] = f'{start}exec "{program}"{sysroot} "$@"\n'
    folder = f"{SYSROOT}/usr"
    scripts[f"{TRIPLET}-pkg-config"] = (
        f'#!/bin/sh\nexport PKG_CONFIG_SYSROOT_DIR="{SYSROOT}" PKG_CONFIG_PATH=\n'
        f'export PKG_CONFIG_LIBDIR="{folder}/lib/{TRIPLET}/pkgconfig:{folder}/share/pkgconfig"\n'
        'exec pkg-config "$@"\n')
    for name, text in scripts.items():
        path = WRAPPERS / name
        if not atomic.holds(path, text):
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755)


def program(name):
    """The program NAME of gcc or binutils for arm64, as a command. Needs toolchain()."""
    return str(WRAPPERS / f"{TRIPLET}-{name}") if needed() else name


def libraries_of(*binaries, root=None):
    """{name: path} of all shared libraries that the programs need, the loader included.

    They are looked for below the folder ROOT, by default where the programs made here find theirs.
    Raises WorkbenchError when one is not there.
    """
    root = root or (SYSROOT if needed() else Path("/"))
    found = {}
    queue = [str(binary) for binary in binaries]
    while queue:
        out = subprocess.run([program("readelf"), "-d", *queue], check=True,
                             capture_output=True, text=True).stdout
        queue = []
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", out):
            if name in found:
                continue
            candidates = [root / folder / TRIPLET / name for folder in ("lib", "usr/lib")]
            found[name] = next((path for path in candidates if path.exists()), None)
            if not found[name]:
                raise WorkbenchError(f"{root} has no {name}, which is needed by "
                                     + " or ".join(str(binary) for binary in binaries))
            queue.append(str(found[name]))
    return found


def strip(binary, target):
    """Write BINARY without symbols to the path TARGET."""
    subprocess.run([program("strip"), "-o", target, binary], check=True)
