# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests that others wrote share here."""

import unittest

from workbench.compare import builds
from workbench.testing import outside


class OutsideCase:
    """For a GuestCase that needs the source named SUITE, one of outside.KNOWN."""

    suite = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            note = outside.note(cls.suite)
        except outside.Missing as missing:
            raise unittest.SkipTest(str(missing)) from None
        if note:
            print(f"note: {note}")


def pristine():
    """The pristine qemu-system-aarch64 for this machine. Raises RuntimeError if it is not built."""
    binary = builds.default_binary(builds.PRISTINE, "aarch64")
    if not binary.exists():
        raise RuntimeError(f"{binary} does not exist: run scripts/build --pristine first, or name "
                           "its folder in COMPAT_PRISTINE")
    return binary
