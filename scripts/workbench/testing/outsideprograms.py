# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of Debian that tests of others want in a guest, where busybox will not do."""

import re

from ..build import cross
from ..guest import assets, initramfs
from ..system import aptroot, atomic, debfiles, lock, paths
from ..ui.report import WorkbenchError, step

SUITES = ("trixie",)
FOLDER = paths.OUTSIDE / "programs"

# Where the programs are in the guest. They are not in /bin, which is busybox's.
BIN = "outside/bin"
# busybox's own shell runs busybox's ps and the like, whatever is in PATH.
SHELL = f"{BIN}/dash"
# Their names in the guest, relative to its root, and in their packages.
_FILES = {f"{BIN}/{path.rsplit('/', 1)[1]}": path for path in (
    "usr/bin/dash", "usr/bin/ps", "usr/bin/pgrep", "usr/bin/top", "usr/bin/taskset", "usr/bin/make",
    "usr/bin/stress-ng")}
# pkill is a link to pgrep, sar one by the alternatives system to sar.sysstat.
_FILES |= {f"{BIN}/pkill": "usr/bin/pgrep", f"{BIN}/sar": "usr/bin/sar.sysstat",
           "usr/libexec/sysstat/sadc": "usr/libexec/sysstat/sadc"}
# What top asks for about the terminal that it does not use.
_TERMINAL = "usr/share/terminfo/d/dumb"

# With the libraries of the programs, by the package that has them.
_PACKAGES = (
    "dash", "procps", "sysstat", "util-linux", "make", "stress-ng", "ncurses-base",
    "libacl1", "libapparmor1", "libbsd0", "libc6", "libcap2", "libcrypt1", "libdrm2", "libegl1",
    "libexpat1", "libgbm1", "libgcc-s1", "libgles2", "libglvnd0", "libgmp10", "libjpeg62-turbo",
    "libjudydebian1", "libkmod2", "libmd0", "libmpfr6", "libproc2-0", "libsctp1", "libsensors5",
    "libssl3t64", "libstdc++6", "libsystemd0", "libtinfo6", "libxxhash0", "libzstd1", "zlib1g")


def files():
    """{name in a guest's initial RAM disk: path} of the programs and their libraries.

    Raises WorkbenchError when a package cannot be had, or lacks what is expected in it.
    """
    root = _root()
    found = {name: root / path for name, path in _FILES.items()}
    missing = [name for name in (*_FILES.values(), _TERMINAL) if not (root / name).exists()]
    if missing:
        raise WorkbenchError(f"The packages in {root} have no {', '.join(missing)}: their layout "
                             "must have changed.")
    cross.toolchain()                   # for readelf
    libraries = cross.libraries_of(*found.values(), root=root)
    found |= {f"lib/{name}": path for name, path in libraries.items()}
    return {**found, _TERMINAL: root / _TERMINAL}


def version(package):
    """The version of one of the packages, as Debian writes it. Raises WorkbenchError."""
    listed = (_root() / "packages").read_text(encoding="utf-8")
    return re.search(rf"^{re.escape(package)}_(.*)_\w+\.deb$", listed, re.M).group(1)


def _root():
    """Have all packages unpacked in one folder; returns it."""
    stamp = FOLDER / "packages"
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with lock.held(FOLDER.parent / "lock", "waiting for another run to fetch programs"):
        if stamp.exists() and _names(stamp.read_text(encoding="utf-8")) == sorted(_PACKAGES):
            return FOLDER
        step(f"Fetching programs for guests into {FOLDER.relative_to(paths.TOP)}")
        debs = aptroot.fetch([aptroot.Package(name, "arm64", SUITES) for name in _PACKAGES])
        with atomic.new_folder(FOLDER) as new:
            for deb in debs:
                debfiles.unpack(deb, new)
            (new / stamp.name).write_text("".join(f"{deb.name}\n" for deb in debs),
                                          encoding="utf-8")
    return FOLDER


def _names(listed):
    return sorted(line.partition("_")[0] for line in listed.splitlines())


def initrd(name="programs", more=None):
    """Path of the test guests' initial RAM disk with the programs, and MORE: {name: path}.

    NAME is for the file of the RAM disk. Raises WorkbenchError when something cannot be had.
    """
    return atomic.write_if_changed(
        paths.OUTSIDE / f"initrd-{name}.cpio",
        initramfs.extended(assets.initrd().read_bytes(), {**files(), **(more or {})}))
