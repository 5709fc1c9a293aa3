# SPDX-License-Identifier: GPL-2.0-or-later
"""How two texts differ, for people."""

import difflib


def lines(old, new, labels=("pristine", "patched"), most=60):
    """The lines OLD and NEW as a unified difference of at most MOST lines; empty when equal."""
    shown = list(difflib.unified_diff(old, new, *labels, lineterm="", n=2))
    if len(shown) > most:
        shown[most:] = [f"... {len(shown) - most} more lines"]
    return "\n".join(shown)
