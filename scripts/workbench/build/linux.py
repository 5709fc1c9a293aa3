# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux for the emulated Arm host, where Debian's own has not what is to be tested: iommufd.

The source is Debian's package linux-source-VERSION. The configuration is files/iommufd.config and
nothing else: what it does not name is off. Debian's own configuration has thousands of modules, and
arm64's defconfig the drivers of all boards, which would take hours.
"""

import os
import re
import shutil
from pathlib import Path

from ..system import atomic, debfiles, host, lock, paths
from ..system.programs import need_space, run
from ..ui.report import WorkbenchError, info, step
from . import cross, emulators

FRAGMENT = Path(__file__).parent / "files" / "iommufd.config"
# What finds the source package, and the suites that are asked; the first that has one decides.
# Linux checks a vf-token with iommufd since 6.17; the older kernel is for what comes before that.
SOURCES = {
    "iommufd-6.12": (r"linux-source-6\.12", ("trixie",)),
    "iommufd": (r"linux-source-7\.\d+", ("trixie-backports", "testing", "sid")),
}
SPACE = 5               # GiB, most of it the source, which is removed in the end
IMAGE = "arch/arm64/boot/Image"


def names():
    """The kernels that build() knows, oldest first."""
    return tuple(SOURCES)


def build(name):
    """Have the kernel NAME, one of names(); returns its folder below build/linux.

    In it are "vmlinuz", the modules (NAME.ko), "config", and "package", the source that it is made
    of. It is built again when the configuration has changed. Raises WorkbenchError when the source
    or a program is not to be had, when an option cannot be set, or with the end of the log.
    """
    folder = paths.LINUX / name
    paths.LINUX.mkdir(parents=True, exist_ok=True)
    with lock.held(paths.LINUX / "lock", "waiting for another run to build Linux"):
        if not is_built(name):
            host.require("series", "build", "linux")
            cross.toolchain()
            work = paths.LINUX / f"{name}-work"
            source = _source(name, work)
            tree = work / "build"
            tree.mkdir(exist_ok=True)
            _configure(source, tree, name)
            step(f"Building Linux {name} for the Arm host")
            _make(source, tree, name, IMAGE.rsplit("/", 1)[1], "modules")
            _collect(work, folder)
            shutil.rmtree(work)
    return folder


def is_built(name):
    """True when build(NAME) has nothing to do."""
    return atomic.holds(paths.LINUX / name / "fragment", FRAGMENT.read_text(encoding="utf-8"))


def _source(name, work):
    """Have the source in WORK/source; returns that."""
    folder = work / "source"
    if folder.exists():
        return folder
    need_space(paths.LINUX, SPACE, "Building Linux")
    # A newer source must not be built over what is left of an older one.
    shutil.rmtree(work, ignore_errors=True)
    packed = debfiles.have(work / "packed", SOURCES[name], "all",
                           {"linux.tar.xz": r"usr/src/linux-source-[\d.]+\.tar\.xz"},
                           f"the source of Linux {name}")
    shutil.copy(packed / "package", work)
    with atomic.new_folder(folder) as new:
        run(["tar", "--no-same-owner", "--strip-components=1", "-C", new, "-xf",
             packed / "linux.tar.xz"], what="Unpacking the source of Linux",
            log=paths.LOGS / f"unpack-linux-{name}.log")
    shutil.rmtree(packed)
    return folder


def _configure(source, tree, name):
    """Write TREE/.config. Raises WorkbenchError for an option that is not as in FRAGMENT."""
    _make(source, tree, name, "allnoconfig", KCONFIG_ALLCONFIG=FRAGMENT)
    wrong = differing(FRAGMENT.read_text(encoding="utf-8"),
                      (tree / ".config").read_text(encoding="utf-8"))
    if not wrong:
        return
    known = options_of(source)
    unknown = sorted(option for option in wrong if option not in known)
    if unknown:
        info(f"Linux {name} has no options {', '.join(unknown)}")
    missed = [f"{option}={wanted}, which is {found}"
              for option, (wanted, found) in wrong.items() if option in known]
    if missed:
        raise WorkbenchError(
            f"Linux {name} cannot be configured as {FRAGMENT.relative_to(paths.TOP)} asks for: "
            f"{'; '.join(missed)}. Each of these depends on options that are off; the files "
            f"Kconfig in {source} say which. Add them to that file.")


def differing(fragment, config):
    """{option without CONFIG_: (wanted, found)} of what FRAGMENT sets and CONFIG has otherwise.

    Both are texts in the form of .config; "n" stands for an option that is not set.
    """
    found = _settings(config)
    return {option: (wanted, found.get(option, "n"))
            for option, wanted in _settings(fragment).items() if found.get(option, "n") != wanted}


def _settings(text):
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.M))


def options_of(source):
    """The names of all options that the files Kconfig below the folder SOURCE define."""
    found = set()
    for folder, _, files in os.walk(source):
        for file in files:
            if file.startswith("Kconfig"):
                text = Path(folder, file).read_text(encoding="utf-8", errors="replace")
                found |= set(re.findall(r"^\s*(?:menu)?config\s+(\w+)", text, re.M))
    return found


def _make(source, tree, name, *targets, **variables):
    """Run the kernel's make for TARGETS in TREE, with more VARIABLES for it."""
    prefix = cross.program("gcc").removesuffix("gcc")
    done = [0]

    def count(line):
        done[0] += bool(re.match(r"\s+(CC|AS|HOSTCC)\b", line))
        return f"{done[0]} files"

    # By date, user and host, two builds of the same source would differ.
    settings = {"ARCH": "arm64", "CROSS_COMPILE": prefix, "CC": f"ccache {prefix}gcc",
                "HOSTCC": "ccache gcc", "KBUILD_BUILD_TIMESTAMP": "1970-01-01 00:00 UTC",
                "KBUILD_BUILD_USER": "workbench", "KBUILD_BUILD_HOST": "lab", **variables}
    run(["make", "-C", source, f"O={tree}", f"-j{os.cpu_count()}",
         *(f"{key}={value}" for key, value in settings.items()), *targets],
        what=f"make {' '.join(targets)} of Linux {name}", parse=count,
        env=emulators.environment({"CCACHE_COMPILERCHECK": "%compiler% --version"}),
        log=paths.LOGS / f"linux-{name}-{targets[0]}.log")


def _collect(work, folder):
    """Put what was built in WORK into FOLDER."""
    tree = work / "build"
    with atomic.new_folder(folder) as new:
        shutil.copy(tree / IMAGE, new / "vmlinuz")
        shutil.copy(tree / ".config", new / "config")
        shutil.copy(work / "package", new)
        for path in tree.rglob("*.ko"):
            shutil.copy(path, new)
        shutil.copy(FRAGMENT, new / "fragment")
