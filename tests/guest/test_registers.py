#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The state of CPUs that came later."""

import guestcase
import registercases


class Registers(registercases.RegisterCases, guestcase.GuestCase):
    """The cases of registercases.py with TCG."""


if __name__ == "__main__":
    guestcase.main()
