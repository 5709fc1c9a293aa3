# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of sanitizers: had in files, understood, and compared with those that are known."""
