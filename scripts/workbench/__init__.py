# SPDX-License-Identifier: GPL-2.0-or-later
"""The workbench: everything behind the thin commands in scripts/."""
