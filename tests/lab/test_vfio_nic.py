#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=vfio parallel
"""Virtual functions of a network card in guests, the way a user goes."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
import vfiodevicecases  # noqa: E402


class Nic(vfiodevicecases.NicCases, vfiocase.VfioCase):
    """The cases of vfiodevicecases.py."""


if __name__ == "__main__":
    vfiocase.labcase.main()
