# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzing: QEMU with libFuzzer, run for a while, its inputs kept."""
