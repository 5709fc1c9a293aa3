# SPDX-License-Identifier: GPL-2.0-or-later
"""The patches: source, git repository, mirror, checks, and the forms that they leave in."""
