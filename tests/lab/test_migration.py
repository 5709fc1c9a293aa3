#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 suite=kvm
"""Migration, snapshots and restarts under KVM of guests whose CPUs came and went."""

import labcase
import migrationcases
import restartcases
from guestcase import long_only


class HotplugCase(labcase.LabCase):
    """The guests of the cases that are shared with TCG."""

    def config(self, *arguments, **changes):
        return super().config(*arguments, **{"smp": "2,maxcpus=8", **changes})


class Migration(migrationcases.MigrationCases, HotplugCase):
    """The cases of migrationcases.py, in part."""

    test_after_removal = long_only(migrationcases.MigrationCases.test_after_removal)
    test_added_then_removed = long_only(migrationcases.MigrationCases.test_added_then_removed)
    test_pending_insertion = long_only(migrationcases.MigrationCases.test_pending_insertion)
    test_request_during_migration = long_only(
        migrationcases.MigrationCases.test_request_during_migration)
    test_destination_has_another_cpu = long_only(
        migrationcases.MigrationCases.test_destination_has_another_cpu)
    test_destination_has_cpu_too_many = long_only(
        migrationcases.MigrationCases.test_destination_has_cpu_too_many)


class Messages(migrationcases.MessageCases, HotplugCase):
    """The cases of migrationcases.py."""


class Snapshot(migrationcases.SnapshotCases, HotplugCase):
    """The cases of migrationcases.py."""

    test_other_cpus = long_only(migrationcases.SnapshotCases.test_other_cpus)


class Reboot(restartcases.RebootCases, HotplugCase):
    """The cases of restartcases.py."""

    test_removed = long_only(restartcases.RebootCases.test_removed)
    test_added_during_boot = long_only(restartcases.RebootCases.test_added_during_boot)


if __name__ == "__main__":
    labcase.main()
