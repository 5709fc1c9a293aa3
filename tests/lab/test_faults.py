#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1200 suite=kvm parallel
"""Plugs with KVM at which something goes wrong, or at a bad moment."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import labcase  # noqa: E402
from faultcases import FaultCases  # noqa: E402
from guestcase import long_only  # noqa: E402
from labcase import GuestError  # noqa: E402
from workbench.testing.preload import Preloaded  # noqa: E402
from workcases import WorkCases  # noqa: E402

RING = "kvm,dirty-ring-size=1024"


class Fault(FaultCases, labcase.LabCase):
    """device_add fails late; the guest goes on, and the next try works."""

    def setUp(self):
        super().setUp()
        if not labcase.native():
            # Guests are started by this shell.
            self.place.check("export MALLOC_ARENA_MAX=1")

    def test_thread(self):
        self.check_fault("pthread_create", 1, "^Cannot create the thread 'CPU 1/KVM': Resource "
                         "temporarily unavailable$")

    def test_mmap(self):
        """What QEMU and the kernel share of a vCPU, and its dirty ring."""
        self.check_fault("mmap", 2, r"^kvm_init_vcpu: mmap'ing .* failed \(1\): Cannot allocate "
                         "memory$", accel=RING)

    def test_vcpu(self):
        """KVM makes all vCPUs at the start, see test_start(): a plug needs no new one."""
        _, cpus, config = self.boot_preloaded()
        config.fail("KVM_CREATE_VCPU", 1)
        for _ in range(2):
            cpus.plug(1)
            self.assert_cpus(cpus, {0, 1})
            cpus.unplug(1)
        self.assertFalse(config.done("failed"))

    def test_size(self):
        self.check_fault("KVM_GET_VCPU_MMAP_SIZE", 1, "^kvm_init_vcpu: KVM_GET_VCPU_MMAP_SIZE "
                         "failed: Cannot allocate memory$")

    def test_features(self):
        self.check_fault("KVM_ARM_VCPU_INIT", 1, r"^kvm_init_vcpu: kvm_arch_init_vcpu failed "
                         r"\(1\): Cannot allocate memory$")

    def test_capability(self):
        """The CPU refuses what it is to be, which it cannot know before it is being made."""
        self.check_fault("KVM_CAP_STEAL_TIME", 1, "^'kvm-steal-time' cannot be enabled on this "
                         "host$", properties={"kvm-steal-time": True})

    def test_leak(self):
        self.check_leak("KVM_ARM_VCPU_INIT", 30)

    @long_only
    def test_leak_of_thread(self):
        self.check_leak("pthread_create", 30)

    def test_start(self):
        """A vCPU that cannot be created at the start ends QEMU with the reason."""
        said = []
        while True:
            config = Preloaded.of(self.config(smp="1,maxcpus=2"), self.folder())
            config.fail("KVM_CREATE_VCPU", len(said) + 1)
            try:
                self.start(config, paused=True)
                break
            except GuestError as error:
                self.assertRegex(str(error), "QEMU ended with (exit )?status 1")
                said.append(str(error))
        self.assertFalse(config.done("failed"))
        self.assertRegex(said[-1], "KVM cannot create vCPU 1, for a CPU that may be plugged later: "
                         "Cannot allocate memory")


class Work(WorkCases, labcase.LabCase):
    """Work is queued for a CPU while it is removed."""

    def test_migration_with_dirty_ring(self):
        """With a ring for each vCPU, all are asked to leave the guest at each collection."""
        self.check_migration("dirty-ring", accel=RING)

    def test_kick(self):
        """A vCPU's thread is kicked when it has given back what a kick needs."""
        config = Preloaded.of(self.config(smp="1,maxcpus=2"), self.folder())
        guest, cpus = self.boot(config)
        for _ in range(2):
            cpus.plug(1)
            config.ask("kick")
            cpus.unplug(1)
            self.assertTrue(config.done("kicked"))
            config.stop("kick")
        self.assert_cpus(cpus, {0})


if __name__ == "__main__":
    labcase.main()
