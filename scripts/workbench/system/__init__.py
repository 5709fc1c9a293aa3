# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine: paths, programs, processes, locks, packages of the distribution."""
