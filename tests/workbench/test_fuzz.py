#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""scripts/fuzz without a fuzzer: what it makes of libFuzzer's output, and of logged inputs."""

import contextlib
import hashlib
import io
import re
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.fuzz import command, corpus, fuzzer, reproducer  # noqa: E402
from workbench.system import paths  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

TARGET = fuzzer.TARGETS[0]

LOG = """\
$ build/fuzz/qemu-fuzz-aarch64 --fuzz-target=arm-virt-hotplug
[QEMU] aarch64 -display none -nodefaults -machine virt,accel=qtest,acpi=on -m 128M
INFO: Seed: 1
[I 0.000000] OPENED
[R +0.000100] writel 0x90d0000 0x1
[S +0.000110] OK
[R +0.000120] writeb 0x90d0004 0x8
[EVENTS]
[R +0.000130] readl 0x9080000
[QMP] {"execute": "device_add", "arguments": {"driver": "cortex-a57-arm-cpu", "id": "cpu1"}}
[EVENTS]
[QMP] {"execute": "system_reset"}
"""
STEPS = [
    ("access", ["writel 0x90d0000 0x1", "writeb 0x90d0004 0x8"]),
    ("access", ["readl 0x9080000"]),
    ("qmp", {"execute": "device_add",
             "arguments": {"driver": "cortex-a57-arm-cpu", "id": "cpu1"}}),
    ("qmp", {"execute": "system_reset"}),
]
TEST = r"""static void test_x(void)
{
    QTestState *qts = qtest_init("-nodefaults -machine virt,acpi=on -m 128M");

    g_strfreev(qtest_sequence(qts,
        "writel 0x90d0000 0x1\n"
        "writeb 0x90d0004 0x8\n"));
    g_strfreev(qtest_sequence(qts,
        "readl 0x9080000\n"));
    qobject_unref(qtest_qmp(qts, "{\"execute\": \"device_add\", \"arguments\": {\"driver\": "
        "\"cortex-a57-arm-cpu\", \"id\": \"cpu1\"}}"));
    qtest_system_reset(qts);
    qtest_quit(qts);
}
"""

# Programs in place of the fuzzer. libFuzzer calls an input that ends it by its SHA-1.
GOOD = """\
echo "INFO: Seed: 7" >&2
echo "#2	INITED cov: 90 ft: 91 corp: 1/1b exec/s: 0 rss: 90Mb" >&2
echo "#512	NEW    cov: 123 ft: 200 corp: 9/80b lim: 4 exec/s: 99 rss: 100Mb L: 4/8 MS: 1 X-" >&2
echo "stat::number_of_executed_units: 600" >&2
"""
BAD = GOOD + """\
for word; do
    case $word in -artifact_prefix=*) found=${word#*=};; esac
done
echo "ERROR:../hw/acpi/cpu.c:7:f: assertion failed: (x)" >&2
echo "==1== ERROR: libFuzzer: deadly signal" >&2
echo "artifact_prefix='$found'; Test unit written to ${found}crash-12ab" >&2
echo x > "${found}crash-12ab"
echo "SUMMARY: libFuzzer: deadly signal" >&2
exit 77
"""


class Reproducer(unittest.TestCase):
    """From the log of an input to a test."""

    def test_read(self):
        found = reproducer.read(LOG)
        self.assertEqual(found.arguments,
                         ["-nodefaults", "-machine", "virt,acpi=on", "-m", "128M"])
        self.assertEqual(found.steps, STEPS)
        self.assertEqual(reproducer.read("INFO: Seed: 1\n").steps, [])

    def test_source(self):
        self.assertEqual(reproducer.test("test_x", reproducer.read(LOG)), TEST)

    def test_long_sequence(self):
        """No call gets more than qtest_sequence() takes, and no command is lost."""
        commands = [f"writel {number:#x} 0x1" for number in range(1000)]
        text = reproducer.test("test_x", reproducer.Recording([], [("access", commands)]))
        calls = text.split("qtest_sequence(")[1:]
        self.assertGreater(len(calls), 4)
        for call in calls:
            sent = "".join(re.findall(r'"(.*)\\n"', call))
            self.assertLess(len(sent) + call.count("\\n"), 4096)
        self.assertEqual(re.findall(r'"(.*)\\n"', text), commands)


class Corpus(unittest.TestCase):
    """The inputs that are kept."""

    def test_repository(self):
        """The repository has some, within the limits, with the names that libFuzzer gives."""
        inputs = corpus.read(corpus.FOLDER)
        self.assertTrue(inputs)
        self.assertEqual(corpus.choose(inputs), inputs)
        for file in corpus.FOLDER.iterdir():
            self.assertEqual(file.name, hashlib.sha1(file.read_bytes(),
                                                     usedforsecurity=False).hexdigest())

    def test_limits(self):
        """The shortest stay."""
        many = {number.to_bytes(4, "big") for number in range(2 * corpus.MAX_FILES)}
        self.assertEqual(len(corpus.choose(many)), corpus.MAX_FILES)
        long = {bytes([number]) * corpus.MAX_INPUT for number in range(200)}
        kept = corpus.choose(long | {b"a"})
        self.assertIn(b"a", kept)
        self.assertLessEqual(sum(map(len, kept)), corpus.MAX_BYTES)
        self.assertEqual(corpus.choose({b"x" * (corpus.MAX_INPUT + 1)}), set())

    def test_write(self):
        """Files of other inputs go."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "corpus")
            corpus.write(folder, {b"a", b"b"})
            corpus.write(folder, {b"b", b"c"})
            self.assertEqual(corpus.read(folder), {b"b", b"c"})
            self.assertEqual(len(list(folder.iterdir())), 2)
        with self.assertRaisesRegex(WorkbenchError, "is no folder"):
            corpus.read(folder)


class FuzzerCase(unittest.TestCase):
    """A program in place of the fuzzer, and a folder in place of build/fuzzing."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="fuzz-test-")
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        patched = mock.patch.object(paths, "FUZZING", self.top / "fuzzing")
        patched.start()
        self.addCleanup(patched.stop)
        self.input = self.top / "input"
        self.input.write_bytes(b"\x07\x01")
        self.seeds = self.top / "seeds"
        corpus.write(self.seeds, {b"\x07\x01"})

    def program(self, text):
        """The path of a shell script TEXT."""
        path = self.top / "fuzzer"
        path.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        path.chmod(0o755)
        return path


class Fuzzer(FuzzerCase):

    def test_good(self):
        outcome = fuzzer.fuzz(self.program(GOOD + 'echo "$@"\n'), TARGET, 9, 5, self.seeds)
        self.assertEqual((outcome.status, outcome.executions, outcome.coverage, outcome.artifact,
                          outcome.said), (0, 600, 123, None, ()))
        words = outcome.log.read_text().splitlines()[-1].split()
        self.assertEqual(words[0], f"--fuzz-target={TARGET}")
        self.assertEqual(words[-2:], [str(fuzzer.inputs(TARGET)), str(self.seeds)])
        self.assertLess({"-max_total_time=9", "-seed=5"}, set(words))

    def test_bad(self):
        outcome = fuzzer.fuzz(self.program(BAD), TARGET, 9, 5, self.seeds)
        self.assertEqual(outcome.status, 77)
        self.assertEqual(outcome.artifact, fuzzer.folder(TARGET) / "found/crash-12ab")
        self.assertTrue(outcome.artifact.is_file())
        self.assertIn("assertion failed", outcome.said[0])

    def test_does_not_start(self):
        with self.assertRaisesRegex(WorkbenchError, "(?s)did not start.*no such machine"):
            fuzzer.fuzz(self.program("echo no such machine >&2; exit 1"), TARGET, 9, 5,
                        self.seeds)

    def test_replay(self):
        """The input is logged, and made a test."""
        logs = self.program(GOOD + '[ "$QTEST_LOG$FUZZ_SERIALIZE_QTEST" = 11 ] || exit 1\n'
                            + f"cat >&2 <<'end'\n{LOG}end\n")
        done = fuzzer.replay(logs, TARGET, self.input)
        self.assertEqual(done.outcome.status, 0)
        self.assertIn("static void test_fuzz_input(void)", done.source.read_text())
        self.assertIsNone(fuzzer.replay(self.program(GOOD), TARGET, self.input).source)

    def test_merge(self):
        """What libFuzzer writes to the first folder is needed."""
        merged = GOOD + 'echo "MERGE-OUTER: successful in 1 attempt(s)" >&2\n'
        program = self.program(merged + 'shift 5\nfor word; do\n    case $word in\n    /*) '
                               'echo new > "$word/x"; break;;\n    esac\ndone\n')
        self.assertEqual(fuzzer.merge(program, TARGET, [self.seeds]), {b"new\n"})
        self.assertEqual(corpus.read(self.seeds), {b"\x07\x01"})
        with self.assertRaisesRegex(WorkbenchError, "--replay"):
            fuzzer.merge(self.program(BAD), TARGET, [self.seeds])
        # libFuzzer succeeds without an input that fails.
        again = merged.replace("in 1", "in 2")
        with self.assertRaisesRegex(WorkbenchError, "--replay"):
            fuzzer.merge(self.program(again), TARGET, [self.seeds])


class Command(FuzzerCase):

    def options(self, **changes):
        """Options of the command, none given but CHANGES."""
        return SimpleNamespace(**{"time": None, "seed": None, "target": None, "corpus": None,
                                  "merge": False, "replay": None, "build": False, **changes})

    def test_refused(self):
        for text, options in (
                ("--time, --merge", {"replay": self.input, "time": 5, "merge": True}),
                ("is no file", {"replay": self.top / "none"}),
                ("--target", {"merge": True, "target": [TARGET]})):
            with self.assertRaisesRegex(WorkbenchError, text):
                command.check(self.options(**options))
        command.check(self.options(replay=self.input))
        command.check(self.options(time=60, merge=True))

    def test_not_built(self):
        with mock.patch.object(paths, "FUZZ", self.top / "none"), \
                self.assertRaisesRegex(WorkbenchError, "without --no-build"):
            command.run(self.options())

    def test_target_of_input(self):
        """An input that a target has found is for that target."""
        found = fuzzer.folder(fuzzer.TARGETS[1]) / "found/crash-1"
        self.assertEqual(list(command.of_file(found)), [fuzzer.TARGETS[1]])
        self.assertEqual(command.of_file(self.input), fuzzer.TARGETS)

    def fuzz(self, program):
        """(exit status, output) of a run with PROGRAM."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = command.fuzz(self.program(program), [TARGET], 5, 1, self.seeds)
        return status, out.getvalue()

    def test_good(self):
        status, text = self.fuzz(GOOD)
        self.assertEqual(status, 0)
        self.assertRegex(text, rf"{TARGET} +600 +123 +0 +yes")

    def test_bad(self):
        """A failure is named, replayed, and it is said how to make it a test."""
        status, text = self.fuzz(f"cat >&2 <<'end'\n{LOG}end\n" + BAD)
        self.assertEqual(status, 1)
        for words in ("assertion failed", "found/crash-12ab", "replay-crash-12ab.c",
                      "tests/qtest/arm-cpu-hotplug-test.c"):
            self.assertIn(words, text)


if __name__ == "__main__":
    fake.main()
