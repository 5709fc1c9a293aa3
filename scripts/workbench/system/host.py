# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be installed on this machine: checked, and installed when that is allowed."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from ..ui.report import WorkbenchError, step
from . import paths
from .programs import run, tail


@dataclass(frozen=True)
class Need:
    """A command, or a pkg-config module (kind "module"), and the packages that have it."""

    name: str
    debian: str
    fedora: str
    kind: str = "command"


NEEDS = {
    "series": (
        Need("git", "git", "git-core"),
        Need("perl", "perl", "perl-interpreter"),
        Need("tar", "tar", "tar"),
        Need("xz", "xz-utils", "xz"),
    ),
    "build": (
        Need("gcc", "gcc", "gcc"),
        Need("g++", "g++", "gcc-c++"),
        Need("ccache", "ccache", "ccache"),
        Need("ninja", "ninja-build", "ninja-build"),
        Need("make", "make", "make"),
        Need("pkg-config", "pkg-config", "pkgconf-pkg-config"),
        Need("flex", "flex", "flex"),
        Need("bison", "bison", "bison"),
        Need("bzip2", "bzip2", "bzip2"),
        Need("dtc", "device-tree-compiler", "dtc"),
        Need("glib-2.0", "libglib2.0-dev", "glib2-devel", "module"),
        Need("pixman-1", "libpixman-1-dev", "pixman-devel", "module"),
        Need("libfdt", "libfdt-dev", "libfdt-devel", "module"),
        Need("slirp", "libslirp-dev", "libslirp-devel", "module"),
        Need("ensurepip", "python3-venv", "python3", "python"),
    ),
    "test": (
        Need("iasl", "acpica-tools", "acpica-tools"),
        Need("codespell", "codespell", "codespell"),
        Need("patch", "patch", "patch"),
    ),
    "libvirt": (
        Need("virsh", "libvirt-clients", "libvirt-client"),
        # virt-xml-validate runs it.
        Need("xmllint", "libxml2-utils", "libxml2"),
    ),
}


def missing(*groups):
    """The needs of the groups that this machine does not meet, as a list of Need."""
    return [need for group in groups for need in NEEDS[group] if not _met(need)]


def _met(need):
    if need.kind == "command":
        return shutil.which(need.name) is not None
    if need.kind == "python":
        from .tools import PYTHON  # tools needs report only; avoid a cycle at import
        return subprocess.run([PYTHON, "-c", f"import {need.name}"], check=False,
                              capture_output=True).returncode == 0
    if not shutil.which("pkg-config"):
        # libfdt of older Debian releases has no .pc file; the compiler would find it, we cannot.
        return False
    return subprocess.run(["pkg-config", "--exists", need.name], check=False).returncode == 0 \
        or (need.name == "libfdt" and os.path.exists("/usr/include/libfdt.h"))


def require(*groups):
    """Have everything that the groups (keys of NEEDS) name.

    Missing packages are installed with apt-get when this is root or sudo needs no password.
    Otherwise raises WorkbenchError with the exact command to run.
    """
    lacking = missing(*groups)
    if not lacking:
        return
    names = ", ".join(need.name for need in lacking)
    apt = shutil.which("apt-get")
    if not apt:
        packages = " ".join(dict.fromkeys(need.fedora for need in lacking))
        raise WorkbenchError(f"Missing on this machine: {names}. Install what has them, on "
                             f"Fedora with: sudo dnf install {packages}")
    packages = list(dict.fromkeys(need.debian for need in lacking))
    command = ["apt-get", "install", "-y", "--no-install-recommends"] + packages
    prefix = _become_root()
    if prefix is None:
        raise WorkbenchError(
            f"Missing on this machine: {names}. Run this and then the same command again:\n\n"
            f"    sudo apt-get update && sudo {' '.join(command)}\n")
    step("Installing packages: " + " ".join(packages))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    log = paths.LOGS / "apt-install.log"
    if run(prefix + command, what="Installing", log=log, env=env, check=False):
        # Most often the package lists are old or were never loaded.
        run(prefix + ["apt-get", "update"], what="Loading package lists", env=env, check=False,
            log=paths.LOGS / "apt-get-update.log")
        if run(prefix + command, what="Installing", log=log, env=env, check=False):
            raise WorkbenchError(
                f"Installing {' '.join(packages)} failed. The last lines of {log}:\n\n"
                f"{tail(log)}\n\nInstall them by hand and run the same command again.")
    still = missing(*groups)
    if still:
        raise WorkbenchError("Still missing after the packages were installed: "
                             + ", ".join(f"{n.name} (package {n.debian})" for n in still))


def _become_root():
    """Words before a command that make it run as root; None when that takes a password."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], check=False,
                                               capture_output=True).returncode == 0:
        return ["sudo", "-n", "DEBIAN_FRONTEND=noninteractive"]
    return None
