# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/build --full: QEMU with all features that a distribution's has, and its installation."""

import json
import os
import shlex
import tempfile
from pathlib import Path

from ..series import tree
from ..system import host, paths, tools
from ..system.programs import run
from ..ui.report import WorkbenchError, info, step, warn
from . import datafiles, emulators, features

TARGETS = ("aarch64",)
PREFIX = "/usr/local"
# Without the tests' needs: the compiler may warn of anything, and functions are not checked twice.
BASE = (
    f"--python={tools.PYTHON}", "--cc=ccache gcc", "--cxx=ccache g++", "--host-cc=ccache gcc",
    "--disable-download", "--disable-containers", "--disable-install-blobs", "--disable-werror",
    "--disable-rust", "--enable-trace-backends=log",
)


def options(targets, places, more=()):
    """Options of configure: for the TARGETS, with all features that this machine can have.

    PLACES are options that say where things are installed, MORE are the user's own, which come
    last and so win.
    """
    return (*BASE, emulators.target_list(targets), *features.options(), *places, *more)


def build(wanted=(), prefix=None, more=(), only=()):
    """Build build/qemu as it stands in build/full; returns the paths of the emulators.

    wanted: targets as in emulators.known_targets(), default TARGETS. prefix: below which it is to
    be installed. more: further options of configure. only: names of ninja targets, default
    everything that is installed. What a feature lacks is installed if that is allowed, else the
    feature is left out and named. Raises WorkbenchError.
    """
    refuse(more)
    host.require("series", "build")
    lacking = host.obtain("full")
    tools.ensure()
    tree.ensure()
    names = emulators.select(paths.QEMU_SRC, list(wanted) or TARGETS)
    if lacking:
        _tell(lacking)
    emulators.configure_and_make(
        paths.QEMU_SRC, paths.FULL, list(only) or installed, "full",
        options(names, (f"--prefix={prefix or PREFIX}",), more))
    datafiles.provide(paths.FULL)
    return [paths.FULL / emulators.program(name) for name in names]


def refuse(more):
    """Raise WorkbenchError for those of the options MORE that this command sets by itself."""
    for word in more:
        name = word.partition("=")[0]
        if name in ("--help", "-h"):
            raise WorkbenchError(f"{word} would configure nothing. The options are listed by "
                                 f"{paths.QEMU_SRC.relative_to(paths.TOP)}/configure --help.")
        if name in ("--prefix", "--target-list"):
            other = "--install" if name == "--prefix" else "--target"
            raise WorkbenchError(f"{word} is for scripts/build itself to set: use {other} before "
                                 "the '--'.")
        if not word.startswith("-"):
            raise WorkbenchError(f"\"{word}\" after '--' is no option of configure. Targets of "
                                 "ninja come before the '--'.")


def _tell(lacking):
    """Say which features are left out, and how they can be had."""
    _, bad = features.split()
    warn("Not all features of Debian's package can be built: "
         + "; ".join(f"{feature.name}: {why}" for feature, why in bad.items()))
    info(f"To have them: {host.how_to_install(lacking)}")


def installed(folder):
    """Names of the ninja targets of the build folder FOLDER that make what is installed."""
    targets = json.loads((folder / "meson-info/intro-targets.json").read_text(encoding="utf-8"))
    return sorted({os.path.relpath(name, folder) for target in targets if target["installed"]
                   for name in target["filename"]})


def check_writable(prefix):
    """Raise WorkbenchError if nothing can be installed below PREFIX, with DESTDIR before it."""
    root = destination()
    if not prefix.startswith("/"):
        raise WorkbenchError(f"--install takes an absolute path, not \"{prefix}\".")
    place = Path(root + prefix)
    while not place.exists():
        place = place.parent
    try:
        # Root has all permissions, and yet there are folders in which it cannot make one.
        with tempfile.TemporaryDirectory(dir=place, prefix=".workbench-"):
            pass
    except OSError as error:
        raise WorkbenchError(
            f"Nothing can be written to {place} ({error.strerror}), so QEMU cannot be installed in "
            f"{root}{prefix}. Run the command as a user who can, name another folder, or put one "
            f"before it: DESTDIR=/ANY/FOLDER scripts/build --full --install {shlex.quote(prefix)}"
        ) from error


def destination():
    """DESTDIR of the environment, absolute and without a slash at its end; "" if it is not set."""
    root = os.environ.get("DESTDIR", "")
    return os.path.abspath(root).rstrip("/") if root else ""


def install(folder, root=""):
    """Install what is built in FOLDER, below ROOT, with the option ROMs and firmware.

    Returns the path of the folder of programs. Raises WorkbenchError.
    """
    step(f"Installing QEMU in {root or '/'}")
    env = emulators.environment({"DESTDIR": root})
    run([folder / "pyvenv/bin/meson", "install", "-C", folder, "--no-rebuild"],
        what="Installing", log=paths.LOGS / f"install-{folder.name}.log", env=env)
    data = datafiles.configured(folder)
    datafiles.install(Path(f"{root}{data}"), data)
    text = (folder / "config-host.h").read_text(encoding="utf-8")
    programs = text.partition('#define CONFIG_BINDIR "')[2].partition('"')[0]
    return Path(root + programs)
