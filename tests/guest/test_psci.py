#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""PSCI calls and register accesses by a guest that was written for that."""

import guestcase
import pscicases


class Calls(pscicases.CallCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


class Off(pscicases.OffCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


class Hostile(pscicases.HostileCases, guestcase.GuestCase):
    """The cases of pscicases.py with TCG."""


if __name__ == "__main__":
    guestcase.main()
