#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""A QEMU that ends or complains in a way that no test has asked for is a failure of that test.

The machine does not matter here, so it has none to boot from.
"""

import io
import os
import signal
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from workbench.compare.instance import Instance  # noqa: E402
from workbench.guest import guest, qemu  # noqa: E402
from workbench.system import process  # noqa: E402
from workbench.testing import tap  # noqa: E402

UNUSED = ["-global", "no-such-device.option=1"]
WARNING = "warning: global no-such-device.option has invalid class name"


class Endings(guestcase.GuestCase):

    def start_plain(self, **changes):
        """A QEMU that is not ended by the test case."""
        return guest.Guest(guest.Config(qemu=guestcase.QEMU, smp="1", memory="64M", **changes),
                           self.guest_name(), paused=True)

    def start_instance(self, **options):
        """One of those that are compared."""
        return Instance(guestcase.QEMU, ["-S", "-machine", "none"], qtest=False, **options)

    def test_in_order(self):
        """Told to quit, it ends with status 0, and may be closed again."""
        for one in (self.start_plain(), self.start_instance()):
            one.close()
            one.close()

    def test_signal(self):
        """It crashes: named, unless expected; not judged after a failure."""
        for start in (self.start_plain, self.start_instance):
            one = start()
            os.kill(one.process.pid, signal.SIGSEGV)
            with self.assertRaisesRegex(guestcase.GuestError,
                                        r"ended with signal 11 \(SIGSEGV\) and not with"):
                one.close()
            one = start()
            one.expect(status=-signal.SIGABRT)
            os.kill(one.process.pid, signal.SIGABRT)
            one.close()
            one = start()
            os.kill(one.process.pid, signal.SIGABRT)
            one.close(force=True)

    def test_status(self):
        """It ends where it was not to end; status 0 instead of another is no better."""
        one = self.start_plain()
        one.expect(status=1)
        with self.assertRaisesRegex(guestcase.GuestError, "status 0 and not with status 1"):
            one.close()

    def test_hangs(self):
        """It does not answer, so it is killed, and that is said."""
        one = self.start_plain()
        os.kill(one.process.pid, signal.SIGSTOP)
        with mock.patch.object(qemu, "FACTOR", 0.05), \
                self.assertRaisesRegex(guestcase.GuestError, "does not answer when told to quit"):
            one.close()
        self.assertEqual(one.process.status(), -signal.SIGKILL)

    def test_words(self):
        """What it writes, unless expected."""
        one = self.start_plain(extra=UNUSED)
        with self.assertRaisesRegex(guestcase.GuestError, f"nobody expects:\n.*{WARNING}"):
            one.close()
        self.start_plain(extra=UNUSED, says=(WARNING,)).close()

    def test_words_of_shared_guest(self):
        """Between tests, what is new is judged once; so is the end."""
        one = self.start_plain(extra=UNUSED)
        with self.assertRaisesRegex(guestcase.GuestError, WARNING):
            one.judge()
        one.judge()
        os.kill(one.process.pid, signal.SIGKILL)
        one.process.wait(20)
        with self.assertRaisesRegex(guestcase.GuestError, "signal 9"):
            one.judge()
        one.close(force=True)


class Results(unittest.TestCase):
    """What the tests' output says of it."""

    def run_case(self, case):
        """The TAP output of the tests of CASE."""
        out = io.StringIO()
        tap._Runner(message_log=tap.DIAGNOSTICS, test_output_log=tap.DIAGNOSTICS,
                    output_stream=out).run(unittest.defaultTestLoader.loadTestsFromTestCase(case))
        return out.getvalue()

    def test_left_running(self):
        """A program that nobody has ended is a failure."""
        class Case(unittest.TestCase):
            def test(self):
                self.left = process.Process(["sleep", "100"])
                started.append(self.left)

        started = []
        text = self.run_case(Case)
        started[0].kill()
        self.assertRegex(text, "ok 1 .*\nnot ok 2 process left running by the tests: sleep 100\n1..2")

    def test_end_of_class(self):
        """What goes wrong with a guest that tests share has a line and its reason."""
        class Case(unittest.TestCase):
            def test(self):
                pass

            @classmethod
            def tearDownClass(cls):
                raise guestcase.GuestError("why it ended")

        text = self.run_case(Case)
        self.assertRegex(text, r"ok 1 .*\nnot ok 2 tearDownClass \(.*\)\n(# .*\n)*# .*why it ended\n"
                         r"(#.*\n)*1\.\.2\n")


if __name__ == "__main__":
    guestcase.main()
