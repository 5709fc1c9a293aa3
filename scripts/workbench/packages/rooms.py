# SPDX-License-Identifier: GPL-2.0-or-later
"""Building packages in private roots of Debian, with no network.

The repository is there under its own path, so that the workbench itself compiles QEMU in the root,
with the compiler and libraries of that release (steps.py).
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from ..build import datafiles, features
from ..series import tree
from ..system import aptroot, atomic, debfiles, debroot, host, paths, tools
from ..system.programs import need_space, run
from ..system.room import Room
from ..ui.report import WorkbenchError, info, step
from . import layout, texts

SPACE = 8.0             # GiB for a root and a build
# {architecture on which packages are built, in Debian's words: in those of Linux and Fedora}
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
# What the workbench takes from build/tools on this machine, for roots of all releases.
TOOLS = paths.PACKAGES / "tools"


@dataclass(frozen=True)
class Place:
    """Where a package is built. suite: codename of a release of Debian; kind: "deb" or "rpm".

    packages: names of what the root must have beside what QEMU needs. Those in `wanted` may be
    missing in the release: QEMU is then built without the feature.
    """

    kind: str
    suite: str
    packages: tuple
    wanted: tuple

    @property
    def name(self):
        """For folders and logs."""
        return f"{self.kind}-{self.suite}"

    @property
    def folder(self):
        """The build folder of QEMU, which is beside its source for the sake of ccache."""
        return paths.BUILD / f"full-{self.name}"

    @property
    def stage(self):
        """The folder in which the package is made."""
        return paths.PACKAGES / self.name

    def offered(self):
        """Those of `wanted` that the release has. Raises WorkbenchError without a mirror."""
        have = aptroot.offered(self.wanted, aptroot.native(), self.suite)
        return tuple(name for name in self.wanted if name in have)

    def root(self, more=()):
        """Have the root, with the packages MORE as well; returns its folder."""
        packages = (*self.packages, *self.offered(), *more)
        return debroot.have(debroot.Recipe(f"package-{self.name}", (self.suite,), packages))


def machine():
    """This machine's architecture, one of the values of ARCHITECTURES. Raises WorkbenchError."""
    arch = aptroot.native()
    if arch not in ARCHITECTURES:
        raise WorkbenchError(f"Packages are built on {' and '.join(ARCHITECTURES)}, not on {arch}.")
    return ARCHITECTURES[arch]


def build_packages():
    """Names of Debian's packages that any build of QEMU needs."""
    return tuple(dict.fromkeys(need.debian for need in host.NEEDS["build"]))


def prepare(place):
    """Have all that a build in PLACE needs; says what the release cannot have.

    Returns the folder of the root. Raises WorkbenchError.
    """
    need_space(paths.BUILD, SPACE, "Building a package")
    host.require("series")
    tree.ensure()
    datafiles.fetch()
    if not TOOLS.exists():
        step(f"Unpacking tools into {TOOLS.relative_to(paths.TOP)}")
        debs = aptroot.fetch([aptroot.Package(tool.debian, suites=tool.suites)
                              for tool in tools.TOOLS])
        with atomic.new_folder(TOOLS) as new:
            for deb in debs:
                debfiles.unpack(deb, new)
    for name in set(place.wanted) - set(place.offered()):
        lost = [feature.name for feature in features.FEATURES
                if name in features.packages((feature,))]
        info(f"{place.suite} has no {name}: the package comes without {', '.join(lost) or 'it'}")
    return place.root()


def keep(made, older):
    """Move the file MADE, a package, to build/packages in place of those like the pattern OLDER.

    Returns its path.
    """
    for old in paths.PACKAGES.glob(older):
        old.unlink()
    return shutil.move(made, paths.PACKAGES / made.name)


def kept(name):
    """The package whose file is called NAME, if keep() has got it; else None."""
    path = paths.PACKAGES / name
    return path if path.exists() else None


def write_settings(place, libraries, version, more=()):
    """Write what steps.py reads; returns the path.

    LIBRARIES and VERSION are for layout.places(), MORE are further options of configure.
    """
    settings = {"folder": str(place.folder), "name": place.folder.name,
                "places": layout.places(libraries, f"{texts.NAME} {version}"), "more": more,
                "apparmor": place.kind == "deb"}
    return atomic.write_if_changed(place.stage / "settings.json",
                                   json.dumps(settings, indent=1).encode())


def environment():
    """Variables for programs in the room: ccache's folder and the moment of the package."""
    moment = int(texts.released().timestamp())
    return {"CCACHE_DIR": ccache_folder(), "SOURCE_DATE_EPOCH": str(moment),
            "PYTHONPATH": str(paths.SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1",
            "DEB_BUILD_OPTIONS": f"parallel={os.cpu_count()} nocheck noautodbgsym"}


def ccache_folder():
    """Have the folder of this machine's ccache, or one in build/ where there is no ccache."""
    folder = ""
    if shutil.which("ccache"):
        folder = subprocess.run(["ccache", "--get-config", "cache_dir"], capture_output=True,
                                text=True, check=False).stdout.strip()
    folder = folder or str(paths.PACKAGES / "ccache")
    os.makedirs(folder, exist_ok=True)
    return folder


def work(place, root, command, what):
    """Run COMMAND, a list of words, in the root with the repository; log and progress as usual.

    Raises WorkbenchError with the end of the log.
    """
    paths.TOOLS.mkdir(parents=True, exist_ok=True)

    def progress(line):
        match = re.search(r"(Configuring QEMU|Building QEMU \[\d+/\d+\]|^   dh_\w+)", line)
        return match.group(1).strip() if match else None

    folders = [paths.TOP, ccache_folder(), (TOOLS, paths.TOOLS)]
    with Room(root, folders, name="package") as room:
        run(room.command(command, environment()), what=what, parse=progress,
            log=paths.LOGS / f"package-{place.name}.log",
            remedy="QEMU's own log is beside it: build-" + place.folder.name + ".log")
