# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain-text tables for the commands' results."""


def render(headings, rows):
    """Return HEADINGS and ROWS (sequences of text) as lines with aligned columns."""
    rows = [tuple(str(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in [tuple(headings), *rows])
              for column in range(len(headings))]
    lines = [tuple(headings), tuple("-" * width for width in widths), *rows]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)
