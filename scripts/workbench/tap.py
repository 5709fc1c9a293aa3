# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the tests of a file, with TAP on standard output."""

import unittest

from . import tools

tools.activate()

# The module comes from a Debian package that may only be unpacked below build/, see activate().
import pycotap              # noqa: E402

DIAGNOSTICS = pycotap.LogMode.LogToDiagnostics


def main(**options):
    """Run the tests of the calling file; what they print and log becomes diagnostics.

    OPTIONS are further ones of pycotap.TAPTestRunner.
    """
    unittest.main(testRunner=pycotap.TAPTestRunner(test_output_log=DIAGNOSTICS, **options))
