#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 suite=vfio parallel
"""An NVMe disk goes from the host to a guest and back, with what is on it."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import vfiocase  # noqa: E402
import vfiodevicecases  # noqa: E402


class Nvme(vfiodevicecases.NvmeCases, vfiocase.VfioCase):
    """The cases of vfiodevicecases.py."""


if __name__ == "__main__":
    vfiocase.labcase.main()
