# SPDX-License-Identifier: GPL-2.0-or-later
"""The patch series: its topics, its files and its branch."""
