#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel sanitizers=asan,tsan
"""Migration and snapshots of guests whose CPUs came and went."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
import migrationcases  # noqa: E402


class Migration(migrationcases.MigrationCases, guestcase.GuestCase):
    """The cases of migrationcases.py with TCG."""


class Modes(migrationcases.ModeCases, guestcase.GuestCase):
    """The cases of migrationcases.py with TCG."""


class Messages(migrationcases.MessageCases, guestcase.GuestCase):
    """The cases of migrationcases.py with TCG."""


class Snapshot(migrationcases.SnapshotCases, guestcase.GuestCase):
    """The cases of migrationcases.py with TCG."""


if __name__ == "__main__":
    guestcase.main()
