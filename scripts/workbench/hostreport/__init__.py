# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host offers to guests; no module here needs more than Python 3.6."""
