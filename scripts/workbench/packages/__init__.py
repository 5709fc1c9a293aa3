# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages for distributions, which install the patched QEMU beside the distribution's own."""
