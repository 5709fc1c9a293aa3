# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU, compiled for this machine and for an Arm host."""
