# SPDX-License-Identifier: GPL-2.0-or-later
"""Running tests, the project's and QEMU's own, and judging what they leave and skip."""
