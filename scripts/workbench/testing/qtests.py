# SPDX-License-Identifier: GPL-2.0-or-later
"""Those of QEMU's qtests and unit tests that exercise what the series touches.

The one list of them, used by the suite qtest and by scripts/series bisect. A test of the list, or
one that the series adds, that a build folder does not know is an error: it would pass unseen.
"""

import os
from pathlib import Path, PurePosixPath

from ..series import git
from ..system import paths
from ..ui.report import WorkbenchError
from . import qemusuites

# The build folder that the suite qtest is about, and its source; scripts/sanitize names others.
BUILD = Path(os.environ.get("QTESTS_BUILD", paths.PATCHED))
SOURCE = Path(os.environ.get("QTESTS_SOURCE", paths.QEMU_SRC))

# Not here: what takes minutes (qom-test, device-introspect-test, migration-test). The suite
# compat runs all of qtest-aarch64.
RELATED = (
    "qtest-aarch64/arm-cpu-features",
    "qtest-aarch64/cpu-plug-test",
    "qtest-aarch64/device-plug-test",
    "qtest-aarch64/iommu-smmuv3-test",
    "qtest-aarch64/machine-none-test",
    "qtest-aarch64/numa-test",
    "qtest-aarch64/qmp-cmd-test",
    "qtest-aarch64/qmp-test",
    "qtest-x86_64/cpu-eject-test",
    "qtest-x86_64/cpu-plug-test",
    "qtest-x86_64/device-plug-test",
    "qtest-x86_64/numa-test",
    "qtest-x86_64/pci-bridge-windows-test",
    "qtest-x86_64/pcie-port-test",
    "check-qom-proplist",
)
# Those of them that only a patch of the series builds for the target.
REGISTERED = ("qtest-aarch64/cpu-plug-test", "qtest-aarch64/device-plug-test",
              "qtest-x86_64/cpu-eject-test", "qtest-x86_64/pci-bridge-windows-test",
              "qtest-x86_64/pcie-port-test")
TABLES = "qtest-aarch64/bios-tables-test"
# Tests that the series adds are the new files with such names.
SOURCES = (("tests/qtest", "*-test.c"), ("tests/unit", "test-*.c"))


def added(source):
    """The names, without a target, of the tests that the QEMU tree SOURCE has and the base not."""
    files = git.run("diff", "--no-renames", "--diff-filter=A", "--name-only", "refs/tags/base",
                    "--", *(folder for folder, _ in SOURCES), cwd=source).splitlines()
    return sorted(PurePosixPath(file).stem for file in files for folder, pattern in SOURCES
                  if PurePosixPath(file).parent == PurePosixPath(folder)
                  and PurePosixPath(file).match(pattern))


def own_skips(result, source):
    """What a test that the series adds has skipped, as a list; empty for a test of QEMU itself."""
    if PurePosixPath(result.name).name not in added(source):
        return []
    return (["all"] if result.status == "SKIP" else
            sorted(name for name, how in result.subtests.items() if how == "skip"))


def related(build, source, complete=True):
    """RELATED, and the tests that the series adds, for a build folder of the QEMU tree SOURCE.

    COMPLETE False is for a tree with only some of the patches. Raises WorkbenchError when the
    build does not know one of them.
    """
    known = {name for suite in ("qtest-aarch64", "qtest-x86_64", "unit")
             for name in qemusuites.names(build, suite)}
    own = {stem: {name for name in known if PurePosixPath(name).name == stem}
           for stem in added(source)}
    wanted = {name for name in RELATED if complete or name in known or name not in REGISTERED}
    missing = sorted(wanted - known) + [stem for stem, names in own.items() if not names]
    if missing:
        raise WorkbenchError(f"{build} does not know the tests {', '.join(missing)}. Are they in "
                             "QEMU's meson.build, and was the folder configured since?")
    return sorted(wanted.union(*own.values()))


def run(build, source, names, label, tables=False):
    """Run tests of a complete build folder; {name: qemusuites.Result}.

    source: the QEMU tree that the folder builds. label: for the names of logs and folders.
    tables: run the Arm bios-tables-test too, which needs the firmware of guest/assets.py and the
    pristine binary.
    """
    results = {}
    for target in ("aarch64", "x86_64"):
        # Unit tests, which have no target, go with the first.
        mine = [name for name in names if name.startswith(f"qtest-{target}/")
                or target == "aarch64" and "/" not in name]
        binary = build / f"qemu-system-{target}"
        folder = paths.TMP / f"qtests-{label}-{target}"
        if tables and target == "aarch64":
            from ..guest import assets  # fetches packages; not needed otherwise
            firmware = assets.firmware()
            place = qemusuites.Workplace(folder, source, binary, firmware.code, firmware.vars)
            qemusuites.expect_tables_of(place, paths.PRISTINE / binary.name, build)
            mine.append(TABLES)
        elif mine:
            place = qemusuites.Workplace(folder, source, binary)
        if mine:
            results.update(qemusuites.run(build, place, mine, f"{label}-{target}"))
    return results


def judge(case, name, result, pristine):
    """Let the unittest CASE pass, fail or be skipped by the RESULT of QEMU's test NAME.

    PRISTINE is a function that runs it again with the pristine binary. Only if it fails there in
    the same subtests, and its source is not touched by the series, it is the machine's fault.
    """
    case.assertEqual(own_skips(result, paths.QEMU_SRC), [], "skipped")
    if result.status == "SKIP":
        case.skipTest("skipped by QEMU itself: "
                      + (result.output.strip().splitlines() or ["it has no subtests here"])[-1])
    if result.status == "OK":
        return
    what = (f"{name}: {result.status}, failing: {', '.join(sorted(result.failed)) or 'all'}\n"
            + result.output[-3000:])
    if not qemusuites.unchanged_since_base(name):
        case.fail(what)
    other = pristine()
    if other.status == result.status and other.failed == result.failed:
        case.skipTest("the pristine binary fails alike on this machine, in "
                      f"{', '.join(sorted(result.failed)) or name}")
    case.fail(f"{what}\n\nthe pristine binary: {other.status}, failing: "
              f"{', '.join(sorted(other.failed)) or 'none'}")
