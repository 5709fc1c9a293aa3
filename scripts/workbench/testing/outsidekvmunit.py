# SPDX-License-Identifier: GPL-2.0-or-later
"""kvm-unit-tests for arm64: built, booted in place of a kernel, and what they report."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..build import cross, emulators
from ..guest.guest import Config
from ..system import atomic, lock, paths
from ..system.programs import run
from ..ui.report import step
from . import outside

NAME = "kvm-unit-tests"
# For the mended programs. lib/arm/setup.c takes each GICC of the MADT for a CPU, where lib/arm/gic.c
# looks at the flag Enabled; arm/psci.c does not know the answer ON_PENDING.
PATCHES = sorted((Path(__file__).parent / "files").glob("kvm-unit-tests-*.patch"))

DEVICE_TREE, EFI = "device-tree", "efi"
_SUFFIXES = {DEVICE_TREE: "flat", EFI: "efi"}
_OPTIONS = {DEVICE_TREE: (), EFI: ("--enable-efi", "--enable-efi-direct")}

# Tests that crash or hang hosts with certain old defects are left out unless they are asked for.
ENVIRONMENT = "ERRATA_FORCE=y\n"

MIGRATE = "Now migrate the VM"
NO_MIGRATION = "Skipped VM migration"
END = r"EXIT: STATUS=(\d+)"


def program(name, kind, mended=False):
    """Have the programs of the KIND built; returns the path of the one called NAME.

    kind: DEVICE_TREE or EFI, by which they learn of the machine and are started. mended: with
    PATCHES. Raises outside.Missing without a source, WorkbenchError with the end of the log of a
    failed build.
    """
    source = outside.source(NAME)
    folder = paths.OUTSIDE / NAME / (f"{kind}-mended" if mended else kind)
    stamp = folder / "built-from"
    patches = PATCHES if mended else ()
    wanted = outside.stamp(NAME) + "".join(patch.read_text(encoding="utf-8") for patch in patches)
    with lock.held(folder.parent / "lock", f"waiting for another run to build {NAME}"):
        if not atomic.holds(stamp, wanted):
            step(f"Building {NAME}, {folder.name}")
            with atomic.new_folder(folder) as new:
                _build(kind, source, patches, new)
                (new / stamp.name).write_text(wanted, encoding="utf-8")
    return folder / f"{name}.{_SUFFIXES[kind]}"


def _build(kind, source, patches, folder):
    """Put the programs of the KIND, with PATCHES, into FOLDER."""
    cross.toolchain()
    prefix = cross.program("gcc").removesuffix("gcc")
    if patches:
        source = shutil.copytree(source, folder / "source", symlinks=True)
    for patch in patches:
        run(["patch", "-p1", "-i", patch], cwd=source, what=f"Patching {NAME}",
            log=paths.LOGS / f"patch-{NAME}.log",
            remedy=f"If this source needs {patch.name} no more, remove it.")
    build = folder / "build"
    build.mkdir()
    env = emulators.environment()
    run([source / "configure", "--arch=arm64", f"--cross-prefix={prefix}", *_OPTIONS[kind]],
        cwd=build, env=env, what=f"Configuring {NAME}",
        log=paths.LOGS / f"configure-{NAME}-{kind}.log")
    run(["make", f"-j{os.cpu_count()}"], cwd=build, env=env, what=f"Building {NAME}",
        log=paths.LOGS / f"build-{NAME}-{kind}.log")
    for path in (build / "arm").glob(f"*.{_SUFFIXES[kind]}"):
        path.rename(folder / path.name)
    for left in (build, folder / "source"):
        shutil.rmtree(left, ignore_errors=True)


@dataclass
class Program(Config):
    """A Config that boots one of the programs; ARGUMENTS is a text with those of the test."""

    arguments: str = ""

    @classmethod
    def of(cls, config, program, arguments):
        """CONFIG with the file PROGRAM as what is booted. One for EFI needs CONFIG's firmware."""
        fields = {**vars(config), "kernel": program, "arguments": arguments,
                  "initrd": atomic.write_if_changed(paths.OUTSIDE / NAME / "environment",
                                                    ENVIRONMENT.encode())}
        if program.suffix != ".efi":
            fields["firmware"] = None
        return cls(**fields)

    def boot_words(self):
        # The firmware hands an EFI program its own name as the first word.
        words = [self.kernel.name] if self.kernel.suffix == ".efi" else []
        line = " ".join(words + ([self.arguments] if self.arguments else []))
        return ["-kernel", str(self.place.file(self.kernel)), "-append", line,
                "-initrd", str(self.place.file(self.initrd)), *map(str, self.extra)]


def results(text):
    """What a program reports in TEXT, all of its console: (tuple of checks, status).

    A check is a line such as "PASS: psci: cpu-on"; the last one may be an ABORT. The status is the
    program's own, None when it has not come to its end: 0 for success, 1 if a check failed, 38 if
    all were skipped, 63 after an ABORT or a failed assertion.
    """
    text = text.replace("\r", "")
    checks = re.findall(r"^((?:PASS|FAIL|XPASS|XFAIL|KFAIL|SKIP|ABORT): .*)$", text, re.M)
    status = re.search(f"^{END}$", text, re.M)
    return tuple(checks), int(status.group(1)) >> 1 if status else None
