# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for something that sends no word when it has come about."""

import time


def until(condition, seconds, pause=0.02):
    """Call CONDITION until it returns something true, and return that.

    After SECONDS returns what came last, which is false.
    """
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result or time.monotonic() > end:
            return result
        time.sleep(pause)
