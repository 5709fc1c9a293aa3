#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Old and new kernels and firmware: all CPUs at boot, and hot-plug where the kernel can."""

import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from workbench.guest import assets  # noqa: E402

# Linux before 6.11 cannot use CPUs that come later, but must not be harmed by them.
WITHOUT_HOTPLUG = ("6.1",)

# Since these commits Linux shows a free slot as present only once a CPU was added there.
COMMITS = "18a4e5cf633f and f9a82544c717 (June 2026)"
WITHOUT_COMMITS = ("6.12",)


class Kernels(guestcase.GuestCase):

    def check_all(self, kernel, firmware, flash=False, **changes):
        """All CPUs of -smp are online at boot; then a CPU comes and goes; then a reset.

        FLASH starts the firmware from flash drives and not with -bios.
        """
        if flash:
            changes["extra"] = self.flash(firmware)
            firmware = None
        config = self.config(kernel, firmware, smp="4,maxcpus=8", **changes)
        guest, cpus = self.boot(config)
        view = cpus.view()
        self.assertEqual(view.online, set(range(4)), f"the guest shows {view}")
        if kernel in WITHOUT_HOTPLUG:
            cpus.add(5)
            self.assertEqual(cpus.view().online, set(range(4)))
            cpus.work(range(4))
            self.reset(guest)
            # It counts the CPUs that it finds, so the one in slot 5 is its fifth.
            self.assertEqual(cpus.view().online, set(range(5)), f"the guest shows {cpus.view()}")
            cpus.work(range(5))
            return
        self.assert_age(guest, kernel, view.present)
        self.assert_cpus(cpus, range(4))
        cpus.plug(5)
        cpus.unplug(2)
        cpus.work({0, 1, 3, 5})
        self.reset(guest)
        self.assert_cpus(cpus, {0, 1, 3, 5})
        cpus.plug(2)
        cpus.unplug(5)
        self.assert_cpus(cpus, range(4))

    def assert_age(self, guest, kernel, present):
        """The KERNEL is one with COMMITS, or one without, as the tests take it for.

        PRESENT are the CPUs that it shows as such after a boot with four CPUs and four free slots.
        """
        count, which = (8, "without") if kernel in WITHOUT_COMMITS else (4, "with")
        release, folder = guest.check("uname -r"), assets.kernel(kernel).parent
        self.assertEqual(
            present, set(range(count)),
            f"CPUs that Linux {release} shows as present. The tests take \"{kernel}\" for a kernel "
            f"{which} {COMMITS}, since which free slots are not. If this is another one, remove "
            f"{folder}, and use a mirror that has a kernel {which} them.")

    def flash(self, firmware):
        """Options for FIRMWARE in two flash drives, as libvirt starts it."""
        files = assets.firmware(firmware)
        variables = self.folder() / "vars.fd"
        shutil.copyfile(files.vars, variables)
        return ["-drive", f"if=pflash,format=raw,readonly=on,file={files.code}",
                "-drive", f"if=pflash,format=raw,file={variables}"]

    def test_6_1_with_2022_11(self):
        self.check_all("6.1", "2022.11")

    def test_6_12_with_2022_11(self):
        self.check_all("6.12", "2022.11")

    def test_7_with_2025_02_in_flash(self):
        self.check_all("7", "2025.02", flash=True, cpu="max,pauth-impdef=on")

    @guestcase.long_only
    def test_6_1_with_2025_02(self):
        self.check_all("6.1", "2025.02", cpu="cortex-a57")

    @guestcase.long_only
    def test_6_12_with_2025_02(self):
        self.check_all("6.12", "2025.02", cpu="cortex-a57")

    @guestcase.long_only
    def test_6_12_with_2025_02_in_flash(self):
        self.check_all("6.12", "2025.02", flash=True, cpu="max,pauth-impdef=on")

    @guestcase.long_only
    def test_6_12_with_2022_11_in_flash(self):
        self.check_all("6.12", "2022.11", flash=True)

    @guestcase.long_only
    def test_7_with_2022_11(self):
        self.check_all("7", "2022.11")

    @guestcase.long_only
    def test_7_with_2025_02(self):
        self.check_all("7", "2025.02", cpu="cortex-a57")

    def test_without_acpi(self):
        """Without firmware there is no hot-plug; the guest starts as ever, device_add says why."""
        guest, cpus = self.boot(self.config(firmware=None, append="quiet harness acpi=off"))
        self.assertEqual(cpus.view().online, {0, 1})
        self.assert_without(guest, "it needs (UEFI firmware|ACPI)")

    def test_gic_version_2(self):
        """So with GICv2."""
        guest, cpus = self.boot(self.config(machine="virt,gic-version=2"))
        self.assertEqual(cpus.view().online, {0, 1})
        self.assert_without(guest, "it needs a GICv3")

    def assert_without(self, guest, reason):
        """A CPU is refused, for REASON."""
        self.assert_refused(f"not available on this machine: {reason}", guest.qmp,
                            "device_add", {"driver": "neoverse-n1-arm-cpu", "id": "cpu2",
                                           "core-id": 2, "cluster-id": 0, "socket-id": 0,
                                           "thread-id": 0})


if __name__ == "__main__":
    guestcase.main()
