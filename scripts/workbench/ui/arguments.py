# SPDX-License-Identifier: GPL-2.0-or-later
"""What arguments of several commands mean. The functions are types for argparse."""

import argparse
import re

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def duration(text):
    """Seconds by TEXT such as 90, 30m or 2h. Raises ArgumentTypeError, for argparse."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text)
    if not match or match[2] not in _UNITS or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write seconds, or a number with m "
                                         "or h, for instance 90, 30m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def number(text):
    """A whole number from 1 on. Raises ArgumentTypeError, for argparse."""
    if not re.fullmatch(r"\d+", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
