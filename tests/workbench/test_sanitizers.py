#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""Reports of sanitizers: read from logs, told apart, known or not, and judged."""

import io
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.build import sanitizers, tsanglib  # noqa: E402
from workbench.sanitize import known, reports, settings  # noqa: E402
from workbench.system import addresses, aptroot, paths  # noqa: E402
from workbench.testing import discovery, qemusuites, sanitized, skips  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

# As clang 14 writes them, but for paths and what is left out.
FREED = """\
==qemu==5182==WARNING: ASan doesn't fully support makecontext/swapcontext functions \
and may produce false positives in some cases!
=================================================================
==qemu==5182==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000012 \
at pc 0x561779d1551e bp 0x7ffdbe1d96b0 sp 0x7ffdbe1d96a8
READ of size 1 at 0x602000000012 thread T3
    #0 0x561779d1551d in virt_cpu_eject /src/build/asan/../qemu/hw/arm/virt-cpu.c:13:9
    #1 0x561779d15520 in cpu_eject /src/build/asan/../qemu/hw/acpi/cpu.c:130:5
    #2 0x7f82a10db249 in __libc_start_call_main csu/../sysdeps/nptl/libc_start_call_main.h:58:16
    #3 0x561779d15170 in _start (/src/build/qemu+0x2170) (BuildId: 1be91f52)

0x602000000012 is located 2 bytes inside of 10-byte region [0x602000000010,0x60200000001a)
freed by thread T0 here:
    #0 0x7f82a0ab76a8 in __interceptor_free (/src/build/qemu+0x50) (BuildId: 1be9)
    #1 0x561779d15493 in object_finalize /src/build/asan/../qemu/qom/object.c:700:9

SUMMARY: AddressSanitizer: heap-use-after-free /src/build/qemu/hw/arm/virt-cpu.c:13 in virt_cpu_eject
Shadow bytes around the buggy address:
=>0x0c047fff8000: fa fa[fd]fd fa fa fa fa fa fa fa fa fa fa fa fa
==qemu==5182==ABORTING
"""
SHIFT = """\
../qemu/target/arm/helper.c:5:36: runtime error: shift exponent 32 is too large for 32-bit type 'int'
    #0 0x558fee8d60e6 in bits /src/build/asan/../qemu/target/arm/helper.c:5:36
    #1 0x558fee8d60e6 in helper_msr /src/build/asan/../qemu/target/arm/helper.c:9:20

SUMMARY: UndefinedBehaviorSanitizer: undefined-behavior ../qemu/target/arm/helper.c:5:36 in \n\
"""
ALIGNED = """\
../qemu/hw/x.c:11:20: runtime error: load of misaligned address 0x7ffdf42098e1 for type 'uint32_t' \
(aka 'unsigned int'), which requires 4 byte alignment
0x7ffdf42098e1: note: pointer points here
 00 00 00  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  00 00 00 00 00
              ^ \n\
    #0 0x558fee8d612d in load /src/build/asan/../qemu/hw/x.c:11:20
"""
LOST = """\

=================================================================
==qemu==5632==ERROR: LeakSanitizer: detected memory leaks

Direct leak of 66 byte(s) in 2 object(s) allocated from:
    #0 0x558fee89b14e in __interceptor_malloc (/src/build/qemu+0xa414e) (BuildId: a8)
    #1 0x7f0000000001 in g_malloc (/lib/x86_64-linux-gnu/libglib-2.0.so.0+0x5a678) (BuildId: 9c)
    #2 0x558fee8d615f in cpu_slot_new /src/build/asan/../qemu/hw/acpi/cpu.c:6:62
    #3 0x558fee8d5feb in main /src/build/asan/../qemu/system/main.c:12:5

Indirect leak of 8 byte(s) in 1 object(s) allocated from:
    #0 0x558fee89b14e in __interceptor_malloc (/src/build/qemu+0xa414e) (BuildId: a8)
    #1 0x558fee8d615f in inside /src/build/asan/../qemu/hw/acpi/cpu.c:7:62

SUMMARY: AddressSanitizer: 74 byte(s) leaked in 3 allocation(s).
"""
RACE = """\
==================
WARNING: ThreadSanitizer: data race (pid=5642)
  Write of size 4 at 0x562989deb258 by thread T1 (mutexes: write M12):
    #0 memcpy <null> (qemu+0x50) (BuildId: 1b)
    #1 g_bump /src/build/tsan-glib/build/../source/glib/gmem.c:5:31 (libglib-2.0.so.0+0x1) (BuildId: 2c)
    #2 bump /src/build/tsan/../qemu/accel/tcg/cputlb.c:5:31 (qemu+0xd0186) (BuildId: 1b)
    #3 run /src/build/tsan/../qemu/accel/tcg/cpu-exec.c:6:62 (qemu+0xd0186) (BuildId: 1b)

  Previous atomic read of size 4 at 0x562989deb258 by main thread:
    #0 peek /src/build/tsan/../qemu/system/cpus.c:5:31 (qemu+0xd012c) (BuildId: 1b)

  As if synchronized via sleep:
    #0 usleep <null> (qemu+0x60) (BuildId: 1b)

  Location is global 'value' of size 4 at 0x562989deb258 (qemu+0x1476258)

  Thread T1 'CPU 0/TCG' (tid=5644, running) created by main thread at:
    #0 pthread_create <null> (qemu+0x513ad) (BuildId: 1b)
    #1 qemu_thread_create /src/build/tsan/../qemu/util/qemu-thread-posix.c:10:5 (qemu+0x1) (BuildId: 1b)

SUMMARY: ThreadSanitizer: data race /src/build/tsan/../qemu/accel/tcg/cputlb.c:5:31 in bump
==================
"""
# The same once more, as gcc writes it, the other access first.
RACE_TURNED = """\
==================
WARNING: ThreadSanitizer: data race (pid=77)
  Atomic read of size 4 at 0x111111111111 by main thread:
    #0 peek ../qemu/system/cpus.c:6 (qemu+0x127c)

  Previous write of size 4 at 0x111111111111 by thread T9:
    #0 memcpy ../../../../src/libsanitizer/sanitizer_common/interceptors.inc:1 (libtsan.so.2+0x5e686)
    #1 bump ../qemu/accel/tcg/cputlb.c:15 (qemu+0x120b)
    #2 run ../qemu/accel/tcg/cpu-exec.c:6 (qemu+0x120b)

SUMMARY: ThreadSanitizer: data race ../qemu/system/cpus.c:6 in peek
==================
"""
RACE_LOST = """\
WARNING: ThreadSanitizer: data race (pid=1)
  Write of size 8 at 0x7b0400000000 by thread T1:
    #0 bump /src/build/tsan/../qemu/accel/tcg/cputlb.c:5:31 (qemu+0x1) (BuildId: 1b)

  Previous write of size 8 at 0x7b0400000000 by main thread:
    [failed to restore the stack]

SUMMARY: ThreadSanitizer: data race /src/build/tsan/../qemu/accel/tcg/cputlb.c:5:31 in bump
"""
LOCK = """\
WARNING: ThreadSanitizer: double lock of a mutex (pid=1)
    #0 pthread_mutex_lock <null> (qemu+0x52d2a) (BuildId: fe)
    #1 qemu_rec_mutex_lock_impl /src/build/tsan/../qemu/util/qemu-thread-posix.c:9:2 (qemu+0x2) (BuildId: fe)

  Mutex M0 (0x7ffcf605f9a0) created at:
    #0 pthread_mutex_init <null> (qemu+0x52baf) (BuildId: fe)
    #1 qemu_rec_mutex_init /src/build/tsan/../qemu/util/qemu-thread-posix.c:4:37 (qemu+0x2) (BuildId: fe)

SUMMARY: ThreadSanitizer: double lock of a mutex in pthread_mutex_lock
==================
ThreadSanitizer: reported 2 warnings
"""
FATAL = ("FATAL: ThreadSanitizer: unexpected memory mapping 0x7f1234567000-0x7f1234568000\n",
         "==q==12==LeakSanitizer has encountered a fatal error.\n",
         "AddressSanitizer: CHECK failed: asan_thread.cpp:364 \"((x)) != (0)\" (0x0, 0x0)\n",
         "==3==AddressSanitizer CHECK failed: ../asan_thread.cpp:364\n")

ENTRY = """
[[known]]
of = "thread"
kind = "data race"
stacks = ["bump < r?n", "pe*"]
whose = "upstream"
reason = "Both only want a hint, so that an old value does no harm."
shown = "scripts/sanitize run tsan-pristine tests/sanitizers/test_common.py Arm.test_off_and_on"
"""


def one(text):
    """The only report in TEXT."""
    found, = reports.parse(text)
    return found


class Parsing(unittest.TestCase):

    def check(self, text, of, kind, *signatures):
        report = one(text)
        self.assertEqual((report.of, report.kind, report.signatures()),
                         (of, kind, sorted(signatures)))
        return report

    def test_address(self):
        """What is about the stack of the access; where it was freed comes after it."""
        report = self.check(FREED, "address", "heap-use-after-free", "virt_cpu_eject < cpu_eject")
        self.assertIn("freed by thread", report.text)
        self.assertNotIn("Shadow bytes", report.text)
        self.assertEqual(report.stacks[1].functions(), ["object_finalize"])

    def test_undefined(self):
        """Numbers and addresses in the message do not count, and a summary need not come."""
        self.check(SHIFT, "undefined", "shift exponent N is too large for N-bit type 'int'",
                   "bits < helper_msr")
        self.check(ALIGNED, "undefined", "load of misaligned address N for type 'uint32_t' (aka "
                   "'unsigned int'), which requires N byte alignment", "load")
        self.assertEqual(len(reports.parse(ALIGNED + SHIFT)), 2)

    def test_leak(self):
        """The allocating functions of libraries do not count, nor what is only lost with others."""
        self.check(LOST, "leak", "direct leak", "cpu_slot_new < main")
        alone = "".join(part for part in re.split("(?=Direct|Indirect|SUMMARY)", LOST)
                        if not part.startswith("Direct"))
        self.check(alone, "leak", "indirect leak", "inside")

    def test_race(self):
        """Both accesses, and neither the threads' origin nor a sleep between them."""
        self.check(RACE, "thread", "data race", "bump < run", "peek")

    def test_same(self):
        """Which access came first, threads, numbers, lines and compilers make no difference."""
        self.assertEqual(one(RACE).key, one(RACE_TURNED).key)
        for old, new in (("bump", "bumped"), ("data race", "data race on vptr"), ("peek", "look")):
            other = RACE.replace(old, new)
            self.assertNotEqual(one(RACE).key, one(other).key)

    def test_deep(self):
        """Functions far from the top do not count."""
        deep = "".join(f"    #{number} 0x1 in f{number} /src/qemu/a.c:1:1\n" for number in range(9))
        text = "../qemu/a.c:1:1: runtime error: x\n" + deep
        self.assertEqual(one(text).key, one(text.replace("f5", "g5")).key)
        self.assertNotEqual(one(text).key, one(text.replace("f1", "g1")).key)

    def test_lost_stack(self):
        """An access that is too long ago is one with a stack that says nothing."""
        self.check(RACE_LOST, "thread", "data race", "bump", reports.LOST)

    def test_mutex(self):
        """A report that begins with its stack; the end of the log is no report."""
        self.check(LOCK, "thread", "double lock of a mutex", "qemu_rec_mutex_lock_impl")

    def test_bad_unlock(self):
        """After it ThreadSanitizer does not know any more what this mutex orders."""
        bad = LOCK.replace("double lock of a mutex (", "unlock of an unlocked mutex (or by a wrong "
                           "thread) (")
        found = [report.kind for report in reports.parse(RACE + bad + RACE + bad)]
        self.assertEqual(found, ["data race", "unlock of an unlocked mutex (or by a wrong thread)"])

    def test_fault(self):
        """A sanitizer that gives up is a report, or nobody would learn that it did not look."""
        for text in FATAL:
            self.assertEqual([found.of for found in reports.parse(text)], ["fault"], text)

    def test_nothing(self):
        """Warnings of a sanitizer about itself, and other lines."""
        warning = FREED.splitlines()[0] + "\n"
        self.assertEqual(reports.parse(warning + "\n==1==Process memory map follows:\nwords\n"), [])

    def test_without_names(self):
        """Without debug information there is the module."""
        text = ("==1==ERROR: AddressSanitizer: SEGV on unknown address 0x00 (pc 0x1 bp 0x2)\n"
                "==1==The signal is caused by a READ memory access.\n"
                "    #0 0x7f01  (/lib/x86_64-linux-gnu/libglib-2.0.so.0+0x5a678) (BuildId: 9c)\n")
        self.check(text, "address", "SEGV", "libglib-2.0.so.0")

    def test_collect(self):
        """Logs of all processes, by report; the name of a log has that of the program."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("guest-plug/log.qemu-system-aarch64.12", FREED + SHIFT),
                               ("guest-plug/log.qemu-img.9", SHIFT), ("other/text", LOST)):
                path = Path(folder, name)
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            found = reports.collect(folder)
            self.assertEqual(set(found), {one(FREED).key, one(SHIFT).key})
            group = found[one(SHIFT).key]
            self.assertEqual((group.count, group.programs),
                             (2, {"qemu-system-aarch64", "qemu-img"}))
            self.assertEqual(reports.collect(Path(folder, "none")), {})


class Known(unittest.TestCase):

    def read(self, text):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "known.toml")
            file.write_text(text)
            return known.read(file)

    def covers(self, report, **changes):
        """Whether the ENTRY with CHANGES covers the text REPORT."""
        entry, = self.read(ENTRY)
        fields = {**vars(entry), **changes}
        return known.Entry(**fields).covers(one(report))

    def test_covers(self):
        """In any order, with wildcards, from the top on, each stack once."""
        for text in (RACE, RACE_TURNED):
            self.assertTrue(self.covers(text))
            self.assertTrue(self.covers(text, stacks=("peek", "bump")))
            self.assertTrue(self.covers(text, stacks=("*", "bump")))
            for stacks in (("run", "peek"), ("bump", "bump"), ("peek", "peek"), ("bump",),
                           ("bump < run < main", "peek"), ("bump", "peek", "*")):
                self.assertFalse(self.covers(text, stacks=stacks), stacks)
            self.assertFalse(self.covers(text, of="address"))
            self.assertFalse(self.covers(text, kind="thread leak"))
        self.assertTrue(self.covers(RACE_LOST, stacks=("bump", "*")))
        self.assertTrue(self.covers(RACE_LOST, stacks=("bump", reports.LOST)))
        self.assertFalse(self.covers(RACE_LOST))

    def test_own_code(self):
        """What has code of a file that the series adds on top is never upstream's."""
        name = "hw/arm/virt-cpu.c"
        self.assertTrue((fake.TOP / name).is_file())
        change = {"of": "address", "kind": "heap*", "stacks": ("virt_cpu_eject",)}
        self.assertFalse(self.covers(FREED, **change))
        self.assertTrue(self.covers(FREED, whose="sanitizer", **change))
        self.assertTrue(self.covers(FREED.replace(name, "hw/arm/virt.c"), **change))
        for file in (f"/src/build/qemu/{name}", f"../qemu/{name}",
                     "/src/build/tsan/../qemu/include/qemu/thread-create.h"):
            self.assertTrue(known.added(file, fake.TOP), file)
        for file in ("/src/build/asan/../qemu/include/qemu/atomic.h", "qapi/qapi-types.c",
                     "README.md"):
            self.assertFalse(known.added(file, fake.TOP), file)
        with tempfile.TemporaryDirectory() as folder:
            # The project in a folder called qemu: build/qemu has all files.
            top = Path(folder, "qemu")
            for file in ("build/qemu/hw/arm/virt.c", f"build/qemu/{name}", name):
                (top / file).parent.mkdir(parents=True, exist_ok=True)
                (top / file).touch()
            self.assertTrue(known.added(f"{top}/build/asan/../qemu/{name}", top))
            self.assertFalse(known.added(f"{top}/build/asan/../qemu/hw/arm/virt.c", top))

    def test_wrong(self):
        """Each thing that an entry may have wrong is named."""
        self.assertEqual(len(self.read(ENTRY)), 1)
        self.assertEqual(self.read(""), [])
        for old, new, message in (
                ('of = "thread"\n', "", "of is missing"),
                ('"thread"', '"threads"', "of is one of"),
                ('"upstream"', '"ours"', "whose is one of.*mended"),
                ("reason =", "raison =", "reason is missing"),
                ("reason =", 'more = ""\nreason =', "more is not known"),
                ('"bump < r?n", "pe*"', "", "one for each stack"),
                ('"bump < r?n", "pe*"', "1", "one for each stack"),
                ('"bump < r?n", "pe*"', '"*", "* < *"', "no function"),
                ('["bump < r?n", "pe*"]', '"bump"', "stacks is not a list"),
                ("Both only want a hint, so that an old value does no harm.", "a race", "reason"),
                ("tsan-pristine", "tsan", "shows it with the pristine"),
                ("[[known]]", "[[knwon]]", "knwon"),
                ("[[known]]", "[known", "not TOML")):
            self.assertIn(old, ENTRY)
            with self.subTest(new), self.assertRaisesRegex(WorkbenchError, message):
                self.read(ENTRY.replace(old, new, 1))

    def test_draft(self):
        """What is proposed covers the report once a person has filled it in."""
        for text in (FREED.replace("virt-cpu.c", "virt.c"), SHIFT, LOST, RACE, RACE_LOST, LOCK,
                     ALIGNED, SHIFT.replace("'int'", "'char [4]' \\ \"x\"")):
            report = one(text)
            draft = known.draft(report).replace('whose = ""', 'whose = "library"')
            entry, = self.read(draft.replace('reason = ""', 'reason = "It is so and no other."'))
            self.assertTrue(entry.covers(report), draft)

    def test_own_list(self):
        """The project's list can be read, and the commands in it name tests that there are."""
        entries = known.read()
        self.assertEqual(len(entries), len(set(entries)))
        suites = {(test.suite, test.path) for test in discovery.discover()}
        for entry in entries:
            words = entry.shown.split()
            if words[:2] == ["scripts/sanitize", "run"]:
                self.assertIn((words[2], words[3]), suites, entry)
                for word in words[4:]:
                    text = (fake.TOP / words[3]).read_text(encoding="utf-8")
                    text += "".join(file.read_text(encoding="utf-8") for file in
                                    fake.TOP.glob("tests/support/*case*.py"))
                    self.assertIn(f"def {word.rpartition('.')[2]}(", text, entry)


class Verdict(unittest.TestCase):

    def judge(self, suite, *texts, entries=(), others=()):
        def groups(parts):
            return {one(text).key: reports.Group(one(text), 1, {"qemu"}) for text in parts}
        good, lines = sanitized.verdict(suite, groups(texts), entries, groups(others))
        return good, "\n".join(lines)

    def entry(self):
        return Known().read(ENTRY)[0]

    def test_none(self):
        self.assertEqual(self.judge("asan"), (True, ""))

    def test_unknown(self):
        """A report that is not known is a failure, is shown, and said whether pristine has it."""
        good, text = self.judge("tsan", RACE, LOCK, entries=[self.entry()])
        self.assertFalse(good)
        self.assertIn("double lock of a mutex (pid", text)
        self.assertIn("note: 2 different reports, 1 of them not known", text)
        self.assertNotIn("Previous atomic read", text)
        self.assertNotIn("pristine", text)
        self.assertIn("the pristine QEMU has it, too",
                      self.judge("tsan", LOCK, others=[LOCK, RACE])[1])

    def test_known(self):
        good, text = self.judge("tsan", RACE, entries=[self.entry()])
        self.assertTrue(good)
        self.assertEqual(len(text.split("\n")), 2, text)

    def test_pristine(self):
        """With the pristine QEMU reports are looked for; only a broken sanitizer is wrong."""
        self.assertTrue(self.judge("tsan-pristine", RACE, LOCK)[0])
        for suite in sanitized.SUITES:
            self.assertFalse(self.judge(suite, FATAL[0])[0], suite)

    def test_tap(self):
        """The results of the file are passed on, one is added, and the plan is another."""
        out = io.StringIO()
        lines = ["TAP version 13\n", "ok 1 a\n", "not ok 2 b\n", "# ok 3 c\n"]
        sanitized.Tap([*lines, "1..2\n"], out).end(False, ["note: x", ""])
        self.assertEqual(out.getvalue(), "".join(lines) + "# note: x\n# \n"
                         "not ok 3 sanitizer.reports\n1..3\n")

    def test_crashed(self):
        """A file that ends early has no plan, but the reports of what it came to."""
        out = io.StringIO()
        sanitized.Tap(["ok 1 a\n"], out).end(True, [])
        self.assertEqual(out.getvalue(), "ok 1 a\nok 2 sanitizer.reports\n1..2\n")


class Drafts(unittest.TestCase):

    def test_drafts(self):
        """Reports that are not known, with the command if the pristine QEMU has them, too."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(paths, "REPORTS", Path(folder)):
            for name, text in (("tsan/guest-plug", RACE + LOCK), ("tsan-pristine/x", RACE_LOST),
                               ("tsan-pristine/sanitizers-common", LOCK)):
                path = Path(folder, name, "log.qemu.1")
                path.parent.mkdir(parents=True)
                path.write_text(text)
            found = sanitized.drafts("tsan")
            self.assertEqual(found.count("[[known]]"), 2)
            self.assertIn("shown = \"scripts/sanitize run tsan-pristine "
                          "tests/sanitizers/test_common.py\"", found)
            self.assertRegex(found, 'data race(.*\n)+whose = ""\n')
            with mock.patch.object(known, "read", Known().read(ENTRY).copy):
                self.assertEqual(sanitized.drafts("tsan").count("[[known]]"), 1)
                self.assertRegex(sanitized.overview("tsan"), "upstream +- ")


class Running(unittest.TestCase):
    """scripts/sanitize run, with a file of tests that makes logs itself."""

    def run_file(self, suite, text, ends=0, name="test_x.py"):
        with tempfile.TemporaryDirectory() as folder:
            top = Path(folder)
            # What it would have written through a QEMU with a sanitizer.
            file = top / "test_x.py"
            file.write_text(
                "import os, re\n"
                f"options = os.environ[{'TSAN_OPTIONS' if 'tsan' in suite else 'ASAN_OPTIONS'!r}]\n"
                "log = re.search(\"log_path='(.*?)'\", options)[1]\n"
                f"text = {text!r}\n"
                "if text:\n    open(log + '.qemu.7', 'w').write(text)\n"
                "print(os.environ['GUEST_QEMU'], os.environ['GUEST_TIMEOUT_FACTOR'])\n"
                f"print('ok 1 x\\n1..1')\nraise SystemExit({ends})\n")
            for place in ("asan", "tsan", "base"):
                (top / place).mkdir()
                (top / place / "qemu-system-aarch64").touch()
            places = {key: top / place.name for key, place in sanitizers._FOLDERS.items()}
            out = io.StringIO()
            with mock.patch.object(paths, "REPORTS", top / "reports"), \
                    mock.patch.object(sanitizers, "_FOLDERS", places), \
                    mock.patch.object(sys, "stdout", out):
                status = sanitized.run(suite, top / name)
                seen = sanitized.overview(suite)
            return status, out.getvalue(), seen

    def test_good(self):
        status, text, seen = self.run_file("asan", "")
        self.assertEqual(status, 0)
        factor = qemusuites.FACTOR * discovery.SLOWER["asan"]
        self.assertRegex(text, rf"/asan/qemu-system-aarch64 {factor:g}\nok 1 x\n"
                         r"ok 2 sanitizer.reports\n1..2$")
        self.assertRegex(seen, "No report in ")

    def test_report(self):
        """A report that is not known: status 1, and it is in the list."""
        status, text, seen = self.run_file("asan", SHIFT)
        self.assertEqual(status, 1)
        self.assertRegex(text, r"ok 1 x\n(#.*\n)+not ok 2 sanitizer.reports\n1..2$")
        self.assertRegex(seen, rf"{one(SHIFT).key} +1 +not known +- +qemu +undefined: shift")
        self.assertEqual(self.run_file("asan-pristine", SHIFT)[0], 0)

    def test_status(self):
        """That of the tests is kept."""
        self.assertEqual(self.run_file("tsan", "", 3)[0], 3)

    def test_refused(self):
        """What is not there is named, with the command that makes it."""
        with mock.patch.object(sanitizers, "_FOLDERS", dict.fromkeys(sanitizers._FOLDERS,
                                                                     Path("/nowhere"))):
            for suite, end in (("tsan", "thread$"), ("asan-pristine", "address --pristine$")):
                with self.assertRaisesRegex(WorkbenchError, f"scripts/build --sanitize {end}"):
                    sanitized.run(suite, __file__)
        with self.assertRaisesRegex(WorkbenchError, "no file .*none of tests"):
            self.run_file("asan", "", name="none")


class Settings(unittest.TestCase):

    def test_logs(self):
        """All sanitizers of a build write to the same files, whatever is in the folder's name."""
        for sanitizer, names in ((sanitizers.ADDRESS, {"ASAN_OPTIONS", "UBSAN_OPTIONS",
                                                       "LSAN_OPTIONS"}),
                                 (sanitizers.THREAD, {"TSAN_OPTIONS"})):
            found = settings.environment(sanitizer, "/a b:c")
            self.assertEqual({name for name in found if name.endswith("_OPTIONS")}, names)
            for name in names:
                self.assertIn("log_path='/a b:c/log':", found[name])
                self.assertIn("exitcode=0", found[name])
        with self.assertRaisesRegex(ValueError, "memory"):
            settings.environment("memory", "/x")

    def test_configure(self):
        """Each build has its sanitizers, one compiler and list of targets, a folder of its own."""
        for sanitizer, switch in ((sanitizers.ADDRESS, "--enable-asan"),
                                  (sanitizers.THREAD, "--enable-tsan")):
            words = sanitizers.options(sanitizer)
            self.assertIn(switch, words)
            for start in ("--cc=", "--cxx=", "--target-list="):
                self.assertEqual(len([word for word in words if word.startswith(start)]), 1, start)
        self.assertIn("--enable-ubsan", sanitizers.options(sanitizers.ADDRESS))
        folders = [sanitizers.folder(sanitizer, which) for sanitizer in sanitizers.SANITIZERS
                   for which in (sanitizers.PATCHED, sanitizers.PRISTINE)]
        self.assertEqual(len(set(folders)), 4)
        for which in (sanitizers.PATCHED, sanitizers.PRISTINE):
            # The rule of system/paths.py.
            self.assertEqual(sanitizers.folder(sanitizers.THREAD, which).parent,
                             sanitizers.source(which).parent)

    def test_glib(self):
        """With ThreadSanitizer, programs find its GLib first; a warning says if there is none."""
        words = sanitizers.options(sanitizers.THREAD, Path("/build/tsan-glib/build/glib"))
        self.assertIn("--extra-ldflags=-Wl,-rpath,/build/tsan-glib/build/glib", words)
        self.assertFalse([word for word in sanitizers.options(sanitizers.ADDRESS)
                          if "rpath" in word])
        with mock.patch.object(tsanglib, "ensure", side_effect=WorkbenchError("no apt")), \
                mock.patch.object(sanitizers, "warn") as warn:
            self.assertIsNone(sanitizers._glib())
        self.assertIn("no apt", warn.call_args[0][0])

    def test_glib_source(self):
        """The source is that of the machine's release; options that it lacks are not given."""
        with mock.patch.object(aptroot, "sources", return_value=[]) as sources, \
                self.assertRaisesRegex(WorkbenchError, "no source of GLib 2.74.6"):
            tsanglib._source("2.74.6")
        pattern = sources.call_args[0][1]
        self.assertTrue(re.fullmatch(pattern, "glib2.0_2.74.6.orig.tar.xz"))
        for other in ("glib2.0_2.74.60.orig.tar.xz", "glib2.0_2.74.6.orig-unicode-data.tar.xz",
                      "glib2.0_2x74.6.orig.tar.xz"):
            self.assertFalse(re.fullmatch(pattern, other), other)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "meson_options.txt").write_text(
                "option('nls',\n       type : 'feature')\noption('tests', type: 'boolean')\n")
            found = tsanglib.options(folder)
        self.assertEqual([word for word in found if re.match("-D[^cb]", word)],
                         ["-Dtests=false", "-Dnls=disabled"])
        self.assertIn("-Db_lundef=false", found)

    def test_glib_kept(self):
        """It is built once, and again when the release or the compiler changes."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(paths, "TSAN_GLIB", Path(folder)), \
                mock.patch.object(tsanglib, "_version", return_value="2.74.6") as version, \
                mock.patch.object(tsanglib, "_compiler", return_value="clang 14"), \
                mock.patch.object(tsanglib, "_source", lambda release: release), \
                mock.patch.object(tsanglib, "_build") as build:
            build.side_effect = lambda _: tsanglib.folder().mkdir(parents=True, exist_ok=True) or (
                tsanglib.folder() / tsanglib.LIBRARY).touch()
            for release, times in (("2.74.6", 1), ("2.74.6", 1), ("2.84.4", 2)):
                version.return_value = release
                self.assertEqual(tsanglib.ensure(), Path(folder, "build/glib"))
                self.assertEqual(build.call_count, times)
            build.side_effect = WorkbenchError("broken")
            version.return_value = "2.90.0"
            for _ in range(2):
                with self.assertRaises(WorkbenchError):
                    tsanglib.ensure()

    def test_addresses(self):
        """A program that is started after fix() is at the same addresses each time."""
        code = ("import sys; sys.path.insert(0, sys.argv[1])\n"
                "from workbench.system import addresses; addresses.fix()\n"
                "import subprocess\n"
                "print({subprocess.run(['sh', '-c', 'grep -m 1 stack /proc/self/maps'], text=True, "
                "capture_output=True).stdout for _ in range(4)}.__len__())")
        done = subprocess.run([sys.executable, "-c", code, fake.TOP / "scripts"], text=True,
                              capture_output=True, check=True)
        self.assertEqual(done.stdout, "1\n")

    def test_not_allowed(self):
        """Where that is refused, it only matters with more randomness than runtimes can stand."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(addresses, "_personality", return_value=-1), \
                mock.patch.object(addresses, "BITS", Path(folder, "bits")):
            addresses.fix()
            addresses.BITS.write_text("28\n")
            addresses.fix()
            addresses.BITS.write_text("32\n")
            with self.assertRaisesRegex(WorkbenchError, "mmap_rnd_bits is 32.*=28"):
                addresses.fix()


class Programs(unittest.TestCase):
    """Only the tests that are run are built."""

    def test_binaries(self):
        """Each program once, as ninja calls it; a test that is not there is named."""
        folder = Path("/src/build/asan")
        tests = [{"name": name, "cmd": [cmd, "--tap"]} for name, cmd in (
            ("qtest-aarch64/numa-test", f"{folder}/tests/qtest/numa-test"),
            ("qtest-x86_64/numa-test", f"{folder}/tests/qtest/numa-test"),
            ("test-cpu-work", f"{folder}/tests/unit/test-cpu-work"),
            ("other", f"{folder}/other"))]
        with mock.patch.object(qemusuites, "_tests", return_value=tests):
            self.assertEqual(qemusuites.binaries(folder, [t["name"] for t in tests[:3]]),
                             ["tests/qtest/numa-test", "tests/unit/test-cpu-work"])
            with self.assertRaisesRegex(WorkbenchError, "does not know the tests none"):
                qemusuites.binaries(folder, ["other", "none"])


class Suites(unittest.TestCase):

    def discover(self, **files):
        """{(suite, timeout, sanitized)} of test files with these comments."""
        with tempfile.TemporaryDirectory() as top:
            for name, text in files.items():
                path = Path(top, "tests", name.replace("__", "/test_") + ".py")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"# meson: {text}\n")
            return {(test.suite, test.timeout, test.sanitized) for test in discovery.discover(top)}

    def test_declared(self):
        """A file runs in its own suite, and in those with a sanitizer that it names."""
        asan, tsan = discovery.SLOWER["asan"], discovery.SLOWER["tsan"]
        self.assertEqual(self.discover(guest__a="timeout=10 sanitizers=tsan"), {
            ("guest", 10, False), ("guest-long", 10 * discovery.LONG_FACTOR, False),
            ("tsan", 10 * tsan, True)})
        self.assertEqual(self.discover(x__b="timeout=10 suite=asan sanitizers=tsan,pristine"), {
            ("asan", 10 * asan, True), ("tsan", 10 * tsan, True),
            ("asan-pristine", 10 * asan, True), ("tsan-pristine", 10 * tsan, True)})
        self.assertEqual(self.discover(x__c="timeout=10"), {("x", 10, False)})
        with self.assertRaisesRegex(ValueError, "test_d.py.*msan"):
            self.discover(x__d="sanitizers=msan")

    def test_all(self):
        """Each suite is known everywhere, and has tests, among them the control."""
        self.assertEqual(set(discovery.SLOWER), set(sanitized.SUITES))
        for suite in sanitized.SUITES:
            files = {test.path for test in discovery.discover() if test.suite == suite}
            self.assertIn("tests/sanitizers/test_control.py", files, suite)
            self.assertIn("tests/qemu/test_related.py", files, suite)

    def test_skips(self):
        """What the pristine QEMU has not may be skipped there, and only there."""
        case = sanitized.namedtuple("Case", "test name outcome reason")
        for suite, outcome in (("tsan-pristine", "skip"), ("tsan", "fail")):
            judged, = skips.judge([case(f"{suite}/related", "__main__.Related.test_own", "skip",
                                        "the pristine QEMU has no tests of the series")],
                                  [entry for entry in skips.read() if entry.when != skips.LONG])
            self.assertEqual(judged.outcome, outcome, suite)


class Command(unittest.TestCase):

    def test_help(self):
        """Each verb says what it takes."""
        for words in ((), ("run",), ("reports",)):
            done = subprocess.run([fake.TOP / "scripts/sanitize", *words, "--help"], text=True,
                                  capture_output=True, check=False, env=dict(os.environ))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("SUITE", done.stdout)


if __name__ == "__main__":
    fake.main()
