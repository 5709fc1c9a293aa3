# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the tests of a file, with TAP on standard output."""

import unittest

from ..system import tools

tools.activate()

# The module comes from a Debian package that may only be unpacked below build/, see activate().
import pycotap              # noqa: E402

from ..system import process  # noqa: E402

DIAGNOSTICS = pycotap.LogMode.LogToDiagnostics


class _Left:
    """Stands for a process that no test has ended."""

    def __init__(self, process):
        self._process = process

    def id(self):
        """For the line of the result."""
        return f"process left running by the tests: {' '.join(self._process.command)[:200]}"


class _Result(pycotap.TAPTestResult):
    """Counts what goes wrong outside of tests, too, and shows all of what is said about it."""

    _lines = 0

    def print_result(self, result, test, directive=None):
        """A line, with a number of its own."""
        self._lines += 1
        self.print_raw(f"{result} {self._lines} {test.id()}"
                       + (f" # {directive}" if directive else "") + "\n")

    def addSubTest(self, test, subtest, err):
        """A failed part of a test is a line; pycotap prints none, so the failure would be lost."""
        super().addSubTest(test, subtest, err)
        if err:
            kind = self.failures if issubclass(err[0], test.failureException) else self.errors
            self.message.write(kind[-1][1] + "\n")
            self.not_ok(subtest)

    def printErrors(self):
        """The end of the output."""
        for left in process.running():
            # Killed at the end of Python, so nobody would learn how it ends.
            self.errors.append((_Left(left), ""))
            self.not_ok(_Left(left))
        self.stopTest(None)
        self.print_raw(f"1..{self._lines}\n")
        self._reset_streams()


class _Runner(pycotap.TAPTestRunner):

    def run(self, test):
        """Run the suite TEST."""
        result = _Result(self.output_stream, self.error_stream, self.message_log,
                         self.test_output_log)
        test(result)
        result.printErrors()
        return result


def main(**options):
    """Run the tests of the calling file; what they print and log becomes diagnostics.

    OPTIONS are further ones of pycotap.TAPTestRunner. A QEMU that still runs in the end is a
    failure.
    """
    unittest.main(testRunner=_Runner(test_output_log=DIAGNOSTICS, **options))
