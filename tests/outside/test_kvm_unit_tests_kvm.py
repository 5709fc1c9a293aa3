#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=7200
"""kvm-unit-tests with KVM: the patched QEMU gives the results of the pristine one."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import kvmunitcases  # noqa: E402
import labcase  # noqa: E402
import outsidecase  # noqa: E402
from workbench.build import cross  # noqa: E402
from workbench.lab import image  # noqa: E402
from workbench.lab.lab import native  # noqa: E402
from workbench.system import paths  # noqa: E402

# Firmware takes long to boot where KVM is emulated itself: those that look at CPUs and the GIC.
WITH_FIRMWARE = ("selftest_smp", "gic_ipi", "gic_active", "its_introspection", "its_trigger",
                 "its_pending_migration", "timer")


@kvmunitcases.each(efi=WITH_FIRMWARE)
class Kvm(kvmunitcases.KvmUnitCases, labcase.LabCase):

    cpu = "host"
    seconds = 300
    laps = 2

    def binary(self, which):
        if which == kvmunitcases.PATCHED:
            return guestcase.QEMU if native() else image.binary()
        if not cross.needed():
            return outsidecase.pristine()
        pristine = paths.PRISTINE_ARM64 / "qemu-system-aarch64"
        if not pristine.exists():
            raise RuntimeError(f"{pristine} does not exist: scripts/test --suite outside builds it")
        # It is copied to the host, a tenth of its size.
        small = paths.OUTSIDE / "qemu-system-aarch64"
        if not small.exists() or small.stat().st_mtime < pristine.stat().st_mtime:
            cross.strip(pristine, small)
        return small


if __name__ == "__main__":
    labcase.main()
