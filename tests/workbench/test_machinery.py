#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""Running commands, missing packages, finding tests and counting their results."""

import contextlib
import errno
import fnmatch
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.system import host, paths, polling, programs  # noqa: E402
from workbench.testing import discovery, leftovers, reaper, runner, skips  # noqa: E402
from workbench.ui import report  # noqa: E402


def ended(pid):
    """Whether the process PID has ended, also if nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


class Report(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = Path(folder.name) / "log"

    def quiet(self, function, *args, **kwargs):
        """Call with standard error caught; returns (result, text)."""
        with contextlib.redirect_stderr(io.StringIO()) as err:
            result = function(*args, **kwargs)
        return result, err.getvalue()

    def test_failure_shows_the_end_of_the_log(self):
        """The message has the step, the status, the last lines and the remedy."""
        with self.assertRaises(report.WorkbenchError) as caught:
            programs.run(["sh", "-c", "echo first; echo last; exit 3"], what="Trying",
                         log=self.log, remedy="Do this.")
        for word in ("Trying failed (exit status 3)", "last", str(self.log), "Do this."):
            self.assertIn(word, str(caught.exception))

    def test_full_disk(self):
        """A full disk in a program's output, or in our own, is said in plain words."""
        with self.assertRaisesRegex(report.WorkbenchError, "The disk is full"):
            programs.run(["sh", "-c", "echo 'x: No space left on device' >&2; exit 1"],
                         what="Trying", log=self.log)

        def full():
            raise OSError(errno.ENOSPC, "No space left on device")
        with self.assertRaises(SystemExit) as caught:
            self.quiet(report.main, full)
        self.assertEqual(caught.exception.code, 1)
        with self.assertRaisesRegex(report.WorkbenchError, "Free some space"):
            programs.need_space(self.log.parent / "not/there/yet", 1e9, "Building")

    def test_heartbeat(self):
        """Without a terminal a long step says that it is alive, with its newest progress."""
        seen = self.log.with_name("seen")

        class Err(io.StringIO):
            """Has the command end when its progress was shown."""

            def write(self, text):
                if "[1/9]" in text:
                    seen.touch()
                return super().write(text)

        command = f"echo '[1/9] x'; for i in $(seq 400); do [ -e {seen} ] && exit; sleep 0.05; done"
        with mock.patch.object(report, "HEARTBEAT", 0.2), contextlib.redirect_stderr(Err()) as err:
            programs.run(["sh", "-c", command], what="Building", log=self.log,
                         parse=lambda line: line[:5] if line[:1] == "[" else None)
        self.assertIn("Building [1/9]", err.getvalue())
        self.assertNotIn("\r", err.getvalue())

    def test_children_end_with_an_interrupt(self):
        """What a command started does not outlive an interrupt."""
        pid_file = self.log.with_name("pid")

        def interrupt(line):
            if line == "go":
                raise KeyboardInterrupt
        with self.assertRaises(KeyboardInterrupt):
            self.quiet(programs.run, ["sh", "-c", f"sleep 100 & echo $! > {pid_file}; "
                                      "echo go; wait"], what="x", log=self.log, parse=interrupt)
        pid = pid_file.read_text().strip()
        self.assertTrue(polling.until(lambda: ended(pid), 20), "the child still runs")

    def test_command_that_is_not_there(self):
        """It is named."""
        with self.assertRaisesRegex(report.WorkbenchError, "nonexistent-command"):
            programs.run(["nonexistent-command"], what="Trying", log=self.log)


class Host(unittest.TestCase):

    def test_exact_command(self):
        """Without root, the command to run is printed and nothing is installed."""
        need = host.Need("no-such-command", "the-package", "fedora-package")
        with mock.patch.dict(host.NEEDS, series=(need,)), \
                mock.patch.object(host, "_become_root", return_value=None), \
                mock.patch("shutil.which", lambda name: "/x" if name == "apt-get" else None), \
                self.assertRaises(host.WorkbenchError) as caught:
            host.require("series")
        self.assertIn("sudo apt-get install -y --no-install-recommends the-package",
                      str(caught.exception))
        self.assertIn("no-such-command", str(caught.exception))

    def test_other_distribution(self):
        """Without apt the packages of Fedora are named."""
        need = host.Need("no-such-command", "the-package", "fedora-package")
        with mock.patch.dict(host.NEEDS, series=(need,)), \
                mock.patch("shutil.which", return_value=None), \
                self.assertRaisesRegex(host.WorkbenchError, "dnf install fedora-package"):
            host.require("series")


class TestLists(unittest.TestCase):

    def test_comments(self):
        """Suite, timeout and parallelism come from comments; a suite may have a long form."""
        with tempfile.TemporaryDirectory() as top:
            for name, text in (("guest/test_a.py", "# meson: timeout=7\n"),
                               ("other/test_b.py", "# meson: suite=x parallel\n"),
                               ("guest/test_c.py", "# meson: suite=ports\n"),
                               ("other/helper.py", "")):
                path = Path(top, "tests", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            found = {(t.suite, t.name, t.timeout, t.parallel, t.variable)
                     for t in discovery.discover(top)}
            self.assertEqual(found, {
                ("guest", "a", 7, False, ""),
                ("guest-long", "a", 7 * discovery.LONG_FACTOR, False, "GUEST_LONG"),
                ("ports", "c", discovery.DEFAULT_TIMEOUT, False, ""),
                ("ports-full", "c", discovery.DEFAULT_TIMEOUT * discovery.LONG_FACTOR, False,
                 "GUEST_LONG"),
                ("x", "b", discovery.DEFAULT_TIMEOUT, True, "")})
            Path(top, "tests/other/test_b.py").write_text("# meson: timeuot=3\n")
            with self.assertRaisesRegex(ValueError, "timeuot"):
                discovery.discover(top)


class Counting(unittest.TestCase):

    TAP = ("TAP version 13\n1..5\nok 1 one\nnot ok 2 two\nok 3 three # SKIP no kernel\n"
           "ok 4 - four\nnot ok 5 five # TODO later\n# ok 6 not a result\n")

    def outcomes(self, result, text):
        """(name, outcome, reason) of the cases."""
        return [tuple(c)[1:] for c in runner.cases_of("t", result, text, text)]

    def test_tap(self):
        """Each line is a case; reasons of skips are kept."""
        self.assertEqual(self.outcomes("FAIL", self.TAP), [
            ("one", "pass", ""), ("two", "fail", ""), ("three", "skip", "no kernel"),
            ("four", "pass", "")])

    def test_part(self):
        """A failed subTest() is a failure, with its parameters; the others are not lost by it."""
        program = ("import sys, unittest\n"
                   f"sys.path.insert(0, {str(paths.SCRIPTS)!r})\n"
                   "from workbench.testing import tap\n"
                   "class T(unittest.TestCase):\n"
                   "    def test_a(self):\n"
                   "        for n in (1, 2, 3):\n"
                   "            with self.subTest(n=n):\n"
                   "                self.assertEqual(n, 1)\n"
                   "tap.main()\n")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        outcomes = self.outcomes("FAIL", done.stdout)
        self.assertEqual([outcome[1] for outcome in outcomes], ["fail", "fail"])
        self.assertIn("n=3", outcomes[1][0])

    def test_broken_off(self):
        """A test that hung, or died after good cases, is a failure."""
        self.assertEqual(self.outcomes("TIMEOUT", "1..2\nok 1 one\n")[-1],
                         ("all", "fail", "timed out"))
        self.assertEqual(self.outcomes("ERROR", "1..2\nok 1 one\n")[-1][1], "fail")

    def test_skipped_as_a_whole(self):
        """A plan of zero, and exit status 77."""
        self.assertEqual(self.outcomes("SKIP", "1..0 # SKIP no KVM\n"),
                         [("all", "skip", "no KVM")])
        self.assertEqual(self.outcomes("SKIP", "there is no KVM\n"),
                         [("all", "skip", "there is no KVM")])

    def test_without_tap(self):
        """A plain command is one case."""
        self.assertEqual(self.outcomes("OK", "fine\n"), [("all", "pass", "")])
        self.assertEqual(self.outcomes("FAIL", "bad\n"), [("all", "fail", "FAIL")])

    def test_notes(self):
        """What a test notes is shown when it passes, too."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(runner.paths, "LOGS", Path(folder)):
            log = runner._log("x/t")
            log.parent.mkdir()
            log.write_text("ok 1 a\n# note: it took 3 requests\n# other\n", encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                runner.summary([runner.Case("x/t", "a", "pass", "")], {})
        self.assertIn("note: x/t: it took 3 requests\n", out.getvalue())
        self.assertNotIn("other", out.getvalue())

    def test_summary(self):
        """The last line has the counts; the status tells of failures and of nothing at all."""
        case = runner.Case
        for cases, line, status in (
                ([case("t", "a", "pass", ""), case("t", "b", "skip", "why")],
                 "1 passed, 0 failed, 1 skipped", 0),
                ([case("t", "a", "fail", "")], "0 passed, 1 failed, 0 skipped", 1),
                ([], "0 passed, 0 failed, 0 skipped", 1)):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(runner.summary(cases, {}), status)
            self.assertEqual(out.getvalue().splitlines()[-1], line)


class Skips(unittest.TestCase):
    """The list of what may be skipped."""

    LIST = """# comment

long  guest/a  A.test_long
long  guest/a  A.test_1[0-9]_*
any  guest/a  A.test_device  there is no
never  guest/*  *  no luck
"""

    def judge(self, *cases):
        """{name: outcome} after the judgement on CASES: (name, outcome, reason) of guest/a."""
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(
                skips.CONDITIONS, never=lambda: False):
            file = Path(folder, "list")
            file.write_text(self.LIST, encoding="utf-8")
            judged = skips.judge([runner.Case("guest/a", *case) for case in cases],
                                 skips.read(file))
        return {case.name.replace("__main__.", ""): case.outcome for case in judged}

    LONG = ("__main__.A.test_long", "skip", "takes long: x"), ("A.test_10_x", "skip", "takes long")

    def test_allowed(self):
        """What is on the list stays skipped."""
        self.assertEqual(self.judge(*self.LONG, ("A.test_device", "skip", "there is no device"),
                                    ("A.test_x", "pass", "")),
                         {"A.test_long": "skip", "A.test_10_x": "skip", "A.test_device": "skip",
                          "A.test_x": "pass"})

    def test_not_allowed(self):
        """Another test, another reason, a fact that does not hold: failures."""
        for case in (("A.test_other", "skip", "there is no device"),
                     ("A.test_device", "skip", "it rains"), ("A.test_y", "skip", "no luck"),
                     ("A.test_z", "skip", "")):
            self.assertEqual(self.judge(*self.LONG, case)[case[0]], "fail", case)

    def test_list_is_wrong(self):
        """A test that is on the list as one of the long form, and is run or does not exist."""
        self.assertEqual(self.judge(("A.test_long", "pass", ""), self.LONG[1])["A.test_long"],
                         "fail")
        self.assertEqual(self.judge(self.LONG[0]), {"A.test_long": "skip", "A.test_1[0-9]_*": "fail"})
        self.assertEqual(self.judge(self.LONG[0], ("all", "fail", "timed out")),
                         {"A.test_long": "skip", "all": "fail"})

    def test_unknown_word(self):
        """A line that cannot be understood is named."""
        with mock.patch.object(self, "LIST", "sometimes guest/a A.b because\n"), \
                self.assertRaisesRegex(report.WorkbenchError, "line 1.*sometimes"):
            self.judge()

    def test_own_list(self):
        """The list can be read, and each of its tests is one of a file that there is."""
        known = {f"{test.suite}/{test.name}" for test in discovery.discover()}
        for entry in skips.read():
            self.assertTrue(fnmatch.filter(known, entry.test), entry)


class Leftovers(unittest.TestCase):
    """What a run leaves behind is found."""

    def watch(self, command, top="/", patience=20):
        """What is found after the shell COMMAND; PATIENCE is for processes that are to end."""
        with leftovers.Watch(top, patience) as watch:
            subprocess.run(["sh", "-c", command], check=True, env={**os.environ, **watch.env})
        return watch.found

    def test_nothing(self):
        """What ends by itself, and files that are removed."""
        self.assertEqual(self.watch("sleep 0.1 & f=$(mktemp); rm $f"), [])

    def test_process(self):
        """One that has left its session and whose parent has ended is found, and ended."""
        found, = self.watch("pid=$(setsid sh -c 'sleep 98765 > /dev/null 2>&1 & echo $!'); "
                            "until grep -q sleep /proc/$pid/comm; do sleep 0.05; done",
                            patience=0.3)
        self.assertRegex(found, "process [0-9]+ still runs: sleep 98765")
        pid = int(found.split()[1])
        self.assertTrue(polling.until(lambda: ended(pid), 20), "it still runs")

    def test_reaped(self):
        """One whose parent has ended is waited for: others may look whether it is still there."""
        def look(seconds):
            return ["sh", "-c", "pid=$(sh -c 'sleep 0.5 > /dev/null & echo $!'); "
                    f"for i in $(seq {seconds * 10}); do [ -e /proc/$pid ] || exit 0; sleep 0.1; "
                    "done; exit 1"]

        with leftovers.Watch("/", 0.3):
            for command, status in ((look(20), 0), (["sh", "-c", "exit 7"], 7),
                                    (["sh", "-c", "kill -9 $$"], 137)):
                done = subprocess.run([sys.executable, reaper.__file__, *command], check=False)
                self.assertEqual(done.returncode, status, command)
            self.assertEqual(subprocess.run(look(2), check=False).returncode, 1,
                             "without it, the process is there for ever")

    def test_files(self):
        """Temporary files, and changes in the repository."""
        with tempfile.TemporaryDirectory() as top:
            subprocess.run(["git", "init", "-q", top], check=True)
            Path(top, "old").touch()
            self.assertEqual(self.watch(f"touch $TMPDIR/x {top}/new", top),
                             ["temporary file x", "change in the repository: ?? new"])


if __name__ == "__main__":
    fake.main()
