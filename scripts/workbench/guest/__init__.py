# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest boots with, its QEMU, its console, its CPUs."""
