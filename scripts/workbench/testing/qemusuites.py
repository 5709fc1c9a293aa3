# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own test suites, run on a build folder but from a private working folder.

The tests look for firmware, option ROMs and expected ACPI tables relative to where they run. A
build of a repacked source has no blobs, and neither source nor build folder may be changed. So
Meson starts each test in a folder of our own: the distribution's firmware in pc-bios, stand-ins
for the option ROMs, which no test executes, and a copy of tests/data.
"""

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..series import git
from ..system import paths, programs, tools
from ..ui.report import WorkbenchError

# Expected tables that hold an address which the firmware of QEMU's own tarball chose; another
# firmware chooses another one. With the test that makes each.
MOVING_TABLES = {"HEST": "/aarch64/acpi/virt", "SSDT.memhp": "/aarch64/acpi/virt/memhp"}

# Multiplies every timeout: for machines that are much slower than the one the defaults fit.
FACTOR = float(os.environ.get("GUEST_TIMEOUT_FACTOR", "1"))

_TABLES = Path("tests/data/acpi/aarch64/virt")
_RAM = range(0x40000000, 0xc0000000)    # where virt's firmware can have put anything below 4 GiB


# Of a shell script: its arguments, but for "-accel kvm".
_WITHOUT_KVM = """\
left=$#
while [ $left -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    if [ "$word" = -accel ] && [ "$1" = kvm ]; then
        shift
        left=$((left - 1))
    else
        set -- "$@" "$word"
    fi
done
"""


@dataclass(frozen=True)
class Result:
    """How a test ended: status OK, SKIP, FAIL, ERROR or TIMEOUT in Meson's words.

    subtests maps the name of each TAP line to "ok", "not ok" or "skip".
    """

    name: str
    status: str
    subtests: dict
    output: str

    @property
    def failed(self):
        """Names of the failing subtests, and the one that was running when the test died."""
        bad = {name for name, how in self.subtests.items() if how == "not ok"}
        if self.status not in ("OK", "SKIP"):
            running = re.findall(r"^# Running (\S+)", self.output, re.M)
            if running and running[-1] not in self.subtests:
                bad.add(running[-1])
        return bad


def subtests(output):
    """{name: "ok", "not ok" or "skip"} of the lines of TAP in OUTPUT."""
    found = {}
    for how, name, skip in re.findall(
            r"^(ok|not ok) \d+ -? ?(\S+)(?:.*# (SKIP))?", output, re.M | re.I):
        found[name] = "skip" if skip else how
    return found


class Workplace:
    """A folder to run tests in, with QEMU being BINARY (a qemu-system-TARGET).

    FOLDER is made anew. SOURCE is the QEMU source that the tests belong to, CODE and VARS are
    the two flash images for Arm, or None. BLOBS are other files: {name in pc-bios: path}.
    WITHOUT_KVM takes "-accel kvm" from QEMU's options: tables of a PC differ where KVM has no SMM.
    """

    def __init__(self, folder, source, binary, code=None, vars=None, blobs=None,
                 without_kvm=False):
        self.folder = Path(folder)
        self.source = Path(source)
        self.binary = Path(binary)
        shutil.rmtree(self.folder, ignore_errors=True)
        roms = self.folder / "pc-bios"
        roms.mkdir(parents=True)
        shutil.copytree(self.source / "tests/data", self.folder / "tests/data")
        (self.folder / "scripts").symlink_to(self.source / "scripts")
        for file in (self.source / "pc-bios").iterdir():
            if file.suffix != ".bz2":
                (roms / file.name).symlink_to(file)
        given = {"edk2-aarch64-code.fd": code, "edk2-arm-vars.fd": vars, **(blobs or {})}
        for name, file in given.items():
            if file:
                (roms / name).unlink(missing_ok=True)
                (roms / name).symlink_to(Path(file).resolve())
        for name in self._blobs():
            if not (roms / name).exists():
                size = 256 * 1024 if name.startswith("bios") else 2048
                (roms / name).write_bytes(bytes(size))
        self.wrapper = self.folder / self.binary.name
        # exec keeps the process id, which libqtest kills in the end.
        self.wrapper.write_text("#!/bin/sh\n" + (_WITHOUT_KVM if without_kvm else "")
                                + f"exec {shlex.quote(str(self.binary))} "
                                f"-L {shlex.quote(str(roms))} \"$@\"\n")
        self.wrapper.chmod(0o755)
        for name in ("qemu-img", "storage-daemon"):
            if (self.binary.parent / name).exists():
                (self.folder / name).symlink_to(self.binary.parent / name)

    def _blobs(self):
        """The firmware and ROM files that a complete QEMU source has."""
        text = (self.source / "pc-bios/meson.build").read_text()
        found = re.search(r"^blobs = \[(.*?)^\]", text, re.S | re.M)
        if not found:
            raise WorkbenchError(f"{self.source}/pc-bios/meson.build has no list of blobs "
                                 "any more; look there for what names them now.")
        return re.findall(r"'([^']+)'", found.group(1))


def _meson(build):
    meson = Path(build, "pyvenv/bin/meson")
    if not meson.exists() or not Path(build, "build.ninja").exists():
        raise WorkbenchError(f"{build} is not a configured build folder. Build it first "
                             "(scripts/build).")
    return [str(meson)]


def _tests(build):
    """What Meson knows of each test of the build folder BUILD, as a list of dictionaries."""
    done = subprocess.run(_meson(build) + ["introspect", "--tests", str(build)],
                          env=tools.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkbenchError(f"meson introspect {build} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def names(build, suite):
    """The names of the tests of Meson suite SUITE in the build folder BUILD, as a sorted list."""
    # Meson puts the project's name before each suite.
    return sorted({test["name"] for test in _tests(build)
                   if suite in [one.split(":")[-1] for one in test["suite"]]})


def binaries(build, wanted):
    """The programs of the tests WANTED (names), as ninja calls them in the build folder BUILD.

    BUILD may be configured only. Raises WorkbenchError for a test that it does not know.
    """
    found = {test["name"]: Path(test["cmd"][0]) for test in _tests(build)}
    if missing := set(wanted) - set(found):
        raise WorkbenchError(f"{build} does not know the tests {', '.join(sorted(missing))}.")
    return sorted({os.path.relpath(Path(build, found[name]), build) for name in wanted})


def run(build, place, tests, label, jobs=None):
    """Run the TESTS (names) of build folder BUILD in the Workplace PLACE; {name: Result}.

    LABEL names the log files in build/logs. The build must be complete: nothing is rebuilt.
    Raises WorkbenchError when Meson cannot run them.
    """
    build = Path(build)
    env = tools.environment()
    # Without it the functional suite skips the vmstate check.
    env["QEMU_TEST_FLAKY_TESTS"] = "1"
    # Meson gives some tests the binary by a relative path, which fits the folder as it is, and
    # others by an absolute one.
    wrapper = ["env", "-C", str(place.folder), f"QEMU_TEST_QEMU_BINARY={place.wrapper}",
               f"MESON_BUILD_ROOT={place.folder}"]
    base = f"workbench-{label}"
    command = _meson(build) + ["test", "-C", str(build), "--no-rebuild", "--logbase", base,
                               "--num-processes", str(jobs or os.cpu_count()),
                               "--timeout-multiplier", str(2 * FACTOR),
                               "--wrapper", shlex.join(wrapper)] + list(tests)
    logs = [build / "meson-logs" / f"{base}-env.{kind}" for kind in ("json", "txt", "junit.xml")]
    for log in logs:
        log.unlink(missing_ok=True)
    # What QEMU's own tests leave behind is not ours to mend.
    with tempfile.TemporaryDirectory(prefix="qt-") as scratch:
        programs.run(command, what=f"QEMU's own tests ({label})", env=dict(env, TMPDIR=scratch),
                   check=False, log=paths.LOGS / f"{base}.log",
                   parse=lambda line: line.strip() if re.match(r"\s*\d+/\d+ ", line) else None)
    if not logs[0].exists():
        raise WorkbenchError(f"meson test in {build} did not run. Its last lines:\n"
                             + programs.tail(paths.LOGS / f"{base}.log"))
    results = {}
    for line in logs[0].read_text().splitlines():
        test = json.loads(line)
        name = test["name"].split(" / ", 1)[-1]
        output = (test.get("stdout") or "") + (test.get("stderr") or "")
        results[name] = Result(name, test["result"], subtests(test.get("stdout") or ""), output)
    shutil.copy(logs[1], paths.LOGS / f"{base}.txt")
    for log in logs:
        log.unlink(missing_ok=True)
    missing = set(tests) - set(results)
    if missing:
        raise WorkbenchError(f"meson test in {build} did not run {', '.join(sorted(missing))}; "
                             f"see {paths.LOGS}/{base}.log")
    return results


def unchanged_since_base(test):
    """Whether the source of TEST, like qtest-aarch64/numa-test, is that of the pristine QEMU.

    False for a test that the series adds, and when build/qemu is not there to tell.
    """
    stem = test.rsplit("/", 1)[-1]
    functional = re.match(r"func-[^-]+-(.*)", test)
    if functional:
        return git.run("diff", "--quiet", "refs/tags/base", "--", "tests/functional/qemu_test",
                       f":(glob)tests/functional/*/test_{functional.group(1)}.py",
                       check=False) is not None
    file = f"tests/qtest/{stem}.c"
    if stem == "migration-test":
        file = "tests/qtest/migration"
    return (git.run("cat-file", "-e", f"refs/tags/base:{file}", check=False) is not None
            and git.run("diff", "--quiet", "refs/tags/base", "--", file, "tests/qtest/libqos",
                        "tests/qtest/libqtest.c", check=False) is not None)


# --- expected ACPI tables ------------------------------------------------------------------------

def only_moved(old, new):
    """Whether two tables are equal but for 32-bit addresses in RAM that all moved alike.

    The checksum (offset 9) follows from them and does not count. What firmware allocates is
    aligned to pages, so addresses move by whole pages.
    """
    if len(old) != len(new):
        return False
    old, new = bytearray(old), bytearray(new)
    old[9] = new[9] = 0
    moved = set()
    while old != new:
        at = next(i for i, (a, b) in enumerate(zip(old, new)) if a != b)
        for start in range(max(at - 3, 36), min(at, len(old) - 4) + 1):
            a, b = (struct.unpack_from("<I", data, start)[0] for data in (old, new))
            if a in _RAM and b in _RAM and (a - b) % 4096 == 0:
                moved.add(a - b)
                old[start:start + 4] = new[start:start + 4] = bytes(4)
                break
        else:
            return False
    return len(moved) <= 1


def expect_tables_of(place, pristine, build):
    """Replace the MOVING_TABLES expected in the Workplace PLACE by those of another firmware.

    PRISTINE, the pristine QEMU, makes them with the bios-tables-test of BUILD, in a copy of the
    folder. Raises WorkbenchError unless they are QEMU's own but for a moved address, and all
    other tables of these tests are QEMU's own as they are.
    """
    maker = Workplace(place.folder.with_name(place.folder.name + "-expected"), place.source,
                      pristine, *((place.folder / "pc-bios" / name).resolve() for name in
                                  ("edk2-aarch64-code.fd", "edk2-arm-vars.fd")))
    program = [str(Path(build, "tests/qtest/bios-tables-test"))]
    env = dict(os.environ, QTEST_QEMU_BINARY=f"./{maker.wrapper.name}",
               TEST_ACPI_REBUILD_AML="1")
    listed = subprocess.run(program + ["-l"], cwd=maker.folder, env=env, capture_output=True,
                            text=True, check=False).stdout.split()
    for test in MOVING_TABLES.values():
        if test not in listed:
            raise WorkbenchError(f"bios-tables-test of {build} has no test {test}, which makes "
                                 "an expected table that holds an address")
    wanted = set(MOVING_TABLES.values())
    skip = [word for test in listed if test.startswith("/") and test not in wanted
            for word in ("-s", test)]
    programs.run(program + ["--tap", "-k", "-p", "/aarch64/acpi/virt"] + skip, cwd=maker.folder,
               env=env, what="Expected ACPI tables of this firmware",
               log=paths.LOGS / "expected-tables.log")
    for file in sorted((maker.folder / _TABLES).iterdir()):
        own = (place.folder / _TABLES / file.name)
        old = own.read_bytes() if own.exists() else b""
        new = file.read_bytes()
        if old == new:
            continue
        if file.name not in MOVING_TABLES or not only_moved(old, new):
            raise WorkbenchError(
                f"The pristine QEMU and this firmware give another table {file.name} than "
                f"{_TABLES} of the source holds, and not only by a moved address. Use firmware of "
                "edk2 2025.02 (package qemu-efi-aarch64 of Debian 13); compare "
                f"{file} with {own}.")
        shutil.copy(file, own)
    shutil.rmtree(maker.folder)
