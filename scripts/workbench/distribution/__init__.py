# SPDX-License-Identifier: GPL-2.0-or-later
"""A real distribution on a disk, for guests that boot from it."""
