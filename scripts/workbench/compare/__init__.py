# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU against another: tables, migration, answers."""
