# SPDX-License-Identifier: GPL-2.0-or-later
"""Those of QEMU's qtests and unit tests that exercise what the series touches.

The one list of them, used by the suite qtest and by scripts/series bisect. A name that a build
folder does not know is left out, so the list also fits a tree with only some of the patches.
"""

from . import paths, qemusuites

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
    "qtest-x86_64/cpu-plug-test",
    "qtest-x86_64/device-plug-test",
    "qtest-x86_64/numa-test",
)
# How names of tests end that the series adds; each is run as soon as it exists.
ADDED = ("-hotplug-test", "-pcie-ports-test", "test-cpu-work", "test-vfio-host-device")
TABLES = "qtest-aarch64/bios-tables-test"


def related(build):
    """Those of RELATED, and those that the series adds, that the build folder knows."""
    known = [name for suite in ("qtest-aarch64", "qtest-x86_64", "unit")
             for name in qemusuites.names(build, suite)]
    return [name for name in known if name in RELATED or name.endswith(ADDED)]


def run(build, source, names, label, tables=False):
    """Run tests of a complete build folder; {name: qemusuites.Result}.

    source: the QEMU tree that the folder builds. label: for the names of logs and folders.
    tables: run the Arm bios-tables-test too, which needs the firmware of assets.py and the
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
            from . import assets    # fetches packages; not needed otherwise
            firmware = assets.firmware()
            place = qemusuites.Workplace(folder, source, binary, firmware.code, firmware.vars)
            qemusuites.expect_tables_of(place, paths.PRISTINE / binary.name, build)
            mine.append(TABLES)
        elif mine:
            place = qemusuites.Workplace(folder, source, binary)
        if mine:
            results.update(qemusuites.run(build, place, mine, f"{label}-{target}"))
    return results
