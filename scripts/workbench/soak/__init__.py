# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest to which everything happens, in random order, and what must hold after each step."""
