# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated Arm host, in which guests run with KVM."""
