# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tests may be skipped: the list in tests/expected-skips, which says itself how to read it."""

import fnmatch
import os
import re
from collections import namedtuple
from pathlib import Path

from ..system import aptroot, debroot
from ..ui.report import WorkbenchError
from . import discovery, libvirt, outside

FILE = Path(__file__).resolve().parents[3] / "tests/expected-skips"
LONG = "long"
# What the tests say that only the long form of their suite runs.
LONG_REASON = "takes long"

Entry = namedtuple("Entry", "when test case reason")


def _no_libvirt():
    try:
        libvirt.driver()
    except WorkbenchError:
        return True
    return False


def _no_roots():
    # Not whether each can be made: a package that is gone must be noticed.
    return debroot.unsupported() is not None or not aptroot.reachable()


# Facts of this machine by which a test may be skipped.
CONDITIONS = {
    "any": lambda: True,
    "arm": lambda: os.uname().machine == "aarch64",
    "not-arm": lambda: os.uname().machine != "aarch64",
    "not-root": lambda: os.geteuid() != 0,
    "no-apt": lambda: not aptroot.available(),
    "no-libvirt": _no_libvirt,
    "no-roots": _no_roots,
    "no-outside": lambda: not outside.complete(),
}


def read(file=FILE):
    """The entries of the list. Raises WorkbenchError for a line that cannot be understood."""
    entries = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split(None, 3)
        if not words or words[0].startswith("#"):
            continue
        if words[0] == LONG and len(words) == 3:
            words.append(LONG_REASON)
        elif words[0] not in CONDITIONS or len(words) != 4:
            raise WorkbenchError(f"{file}, line {number}: {line!r} is not WHEN TEST CASE REASON, "
                                 f"with WHEN one of {', '.join((LONG, *CONDITIONS))}")
        entries.append(Entry(*words))
    return entries


def _is(entry, case):
    """Whether ENTRY is about the CASE, which may also be a class as a whole."""
    name = case.name.replace("__main__.", "")
    return (fnmatch.fnmatchcase(case.test, entry.test) and fnmatch.fnmatchcase(name, entry.case))


def judge(cases, entries=None):
    """CASES with those turned into failures that the list does not allow, or that it is wrong about.

    A case has test ("suite/file"), name, outcome ("pass", "fail", "skip") and reason.
    """
    entries = read() if entries is None else entries
    holds = {}

    def allowed(case):
        for entry in entries:
            if not _is(entry, case) or not re.match(entry.reason, case.reason):
                continue
            if entry.when == LONG:
                return True
            if entry.when not in holds:
                holds[entry.when] = CONDITIONS[entry.when]()
            if holds[entry.when]:
                return True
        return False

    judged = []
    for case in cases:
        if case.outcome == "skip" and not allowed(case):
            case = case._replace(outcome="fail", reason="skipped, which tests/expected-skips does "
                                 f"not allow: {case.reason or 'no reason given'}")
        judged.append(case)
    # What stopped early has not come to all of its cases.
    broken = {case.test for case in cases if case.name == "all"}
    for entry in entries:
        mine = [case for case in cases if fnmatch.fnmatchcase(case.test, entry.test)
                and case.test not in broken]
        if entry.when == LONG and mine and not any(
                _is(entry, case) and case.outcome == "skip" for case in mine):
            judged.append(type(mine[0])(
                mine[0].test, entry.case, "fail", "tests/expected-skips says that only the long "
                "form runs it, but it was run, or there is no such test"))
    return judged


def long_only(suite):
    """{file: [cases]} of SUITE that only its long form runs, by the list."""
    found = {}
    for entry in read():
        name, _, file = entry.test.partition("/")
        if entry.when == LONG and name == suite:
            found.setdefault(file, []).append(entry.case)
    return found


def describe(suite):
    """Lines for people about what only the long form of SUITE runs; none if that is nothing."""
    return [f"  only in {discovery.LONG[suite]}: {file}: {', '.join(cases)}"
            for file, cases in long_only(suite).items()]
