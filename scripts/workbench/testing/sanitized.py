# SPDX-License-Identifier: GPL-2.0-or-later
"""A file of tests, run with a QEMU that has a sanitizer: its reports are one more test.

With the patched QEMU, a report that is not in the list of known ones is a failure. With the
pristine one, no report is: what it has is upstream's, which is what such a run is for.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

from ..build import emulators, sanitizers
from ..sanitize import known, reports, settings
from ..system import addresses, paths, tools
from ..ui import table
from ..ui.report import WorkbenchError
from . import discovery, qemusuites, qtests

Suite = namedtuple("Suite", "sanitizer which")
SUITES = {f"{name}{end}": Suite(sanitizer, which)
          for end, which in (("", sanitizers.PATCHED),
                             (f"-{discovery.PRISTINE}", sanitizers.PRISTINE))
          for name, sanitizer in (("asan", sanitizers.ADDRESS), ("tsan", sanitizers.THREAD))}
_OF = {sanitizers.ADDRESS: (reports.ADDRESS, reports.UNDEFINED, reports.LEAK),
       sanitizers.THREAD: (reports.THREAD,)}
CASE = "sanitizer.reports"      # the test that the reports are
LINES = 60                      # of a report that are shown with a failure


# --- building ------------------------------------------------------------------------------------

def build(suite):
    """Build what the tests of SUITE, one of SUITES, start. Raises WorkbenchError."""
    sanitizer, which = SUITES[suite]
    source = sanitizers.source(which)

    def targets(folder):
        names = qtests.related(folder, source, complete=which == sanitizers.PATCHED)
        return sorted({*sanitizers.EMULATORS, emulators.PLUGIN, *qemusuites.binaries(folder, names)})

    sanitizers.build(sanitizer, which, targets)


# --- running -------------------------------------------------------------------------------------

def logs(suite, file, words=()):
    """The folder for the reports of a run of FILE in SUITE. With WORDS it is another one: names of
    tests do not have the reports of the others forgotten."""
    path = Path(file)
    name = f"{path.parent.name}-{path.stem.removeprefix('test_')}"
    return paths.REPORTS / suite / (name + (".part" if words else ""))


def environment(suite, folder):
    """Variables by which files of tests find the QEMU of SUITE, and its reports come to FOLDER."""
    sanitizer, which = SUITES[suite]
    place = sanitizers.folder(sanitizer, which)
    factor = qemusuites.FACTOR * discovery.SLOWER[suite]
    return {**settings.environment(sanitizer, folder),
            "GUEST_QEMU": str(place / emulators.BINARY),
            "GUEST_QEMU_X86": str(place / "qemu-system-x86_64"),
            "QTESTS_BUILD": str(place), "QTESTS_SOURCE": str(sanitizers.source(which)),
            "SANITIZE_SUITE": suite, "GUEST_PREFIX": f"{suite}-",
            "GUEST_TIMEOUT_FACTOR": f"{factor:g}"}


def run(suite, file, words=()):
    """Run the file of tests FILE in SUITE, one of SUITES; returns the exit status.

    WORDS are arguments of the file. What it prints is printed as it comes, with a line for the
    reports at its end. Raises WorkbenchError when the build or the file is not there.
    """
    sanitizer, which = SUITES[suite]
    binary = sanitizers.folder(sanitizer, which) / emulators.BINARY
    if not binary.exists():
        raise WorkbenchError(f"{binary} does not exist. Build it with: scripts/build --sanitize "
                             f"{sanitizer}" + (" --pristine" if which == sanitizers.PRISTINE
                                               else ""))
    if not Path(file).is_file():
        raise WorkbenchError(f"There is no file {file} of tests.")
    entries = known.read()
    folder = logs(suite, file, words)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    addresses.fix()
    with subprocess.Popen([tools.PYTHON, file, *words], stdout=subprocess.PIPE, text=True,
                          errors="replace", env={**os.environ, **environment(suite, folder)}
                          ) as child:
        tap = Tap(child.stdout, sys.stdout)
    good, lines = verdict(suite, reports.collect(folder), entries, pristine(suite))
    tap.end(good, lines)
    status = child.returncode
    return status if status > 0 else int(not good or status < 0)


class Tap:
    """Results of tests in TAP that are passed on from SOURCE to TARGET, and get one more."""

    def __init__(self, source, target):
        self._target = target
        self._results = 0
        for line in source:
            # The plan comes last, and will be another one.
            if re.fullmatch(r"1\.\.[1-9]\d*", line.strip()):
                continue
            if re.match(r"(not )?ok\b", line):
                self._results += 1
            target.write(line)
            target.flush()

    def end(self, good, lines):
        """The result of the reports, with LINES as diagnostics before it, and the plan."""
        number = self._results + 1
        text = "".join(f"# {line}\n" for line in lines)
        self._target.write(f"{text}{'' if good else 'not '}ok {number} {CASE}\n1..{number}\n")
        self._target.flush()


def verdict(suite, groups, entries, others):
    """(whether the reports are as they should be, lines that say what there is).

    GROUPS are those of reports.collect(), ENTRIES those of known.read(). OTHERS are groups of runs
    with the pristine QEMU.
    """
    if not groups:
        return True, []
    unknown = {key: group for key, group in groups.items()
               if not known.of(group.report, entries)}
    faults = {key: group for key, group in groups.items() if group.report.of == reports.FAULT}
    count = f"note: {len(groups)} different reports, {len(unknown)} of them not known"
    wrong = faults if SUITES[suite].which == sanitizers.PRISTINE else {**unknown, **faults}
    lines = []
    for key, group in wrong.items():
        lines += ["", *group.report.text.splitlines()[:LINES]]
    lines += ["", f"{count}; scripts/sanitize reports {suite} shows them"]
    for key, group in wrong.items():
        lines.append(f"{key}: {describe(group.report)}" + (
            f"; the pristine QEMU has it, too ({others[key].count} times)" if key in others
            else ""))
    return not wrong, lines


def describe(report):
    """A line about REPORT."""
    return f"{report.of}: {report.kind}: " + " / ".join(report.signatures())


def pristine(suite):
    """The reports of the last runs of SUITE with the pristine QEMU, as of reports.collect()."""
    return reports.collect(paths.REPORTS / f"{suite.removesuffix('-pristine')}-pristine")


# --- looking -------------------------------------------------------------------------------------

def overview(suite):
    """A table of the reports of the last runs of SUITE, as text."""
    groups, entries, others = (reports.collect(paths.REPORTS / suite), known.read(),
                               pristine(suite))
    unseen = [entry for entry in entries if entry.of in _OF[SUITES[suite].sanitizer] and not any(
        entry.covers(group.report) for group in groups.values())]
    # Races depend on chance, so that one run without it proves nothing.
    rest = "".join(f"\nNot seen: {entry.of}: {entry.kind}: {' / '.join(entry.stacks)}"
                   for entry in unseen)
    if not groups:
        return f"No report in {paths.REPORTS / suite}.{rest}"
    rows = []
    for key, group in sorted(groups.items(), key=lambda item: -item[1].count):
        entry = known.of(group.report, entries)
        rows.append((key, group.count, entry.whose if entry else "not known",
                     others[key].count if key in others else "-", ", ".join(sorted(
                         group.programs)), describe(group.report)))
    return table.render(("key", "times", "whose", "pristine", "programs", "what"), rows) + rest


def find(suite, key):
    """The reports.Group of SUITE with the key KEY. Raises WorkbenchError if there is none."""
    groups = reports.collect(paths.REPORTS / suite)
    if key not in groups:
        raise WorkbenchError(f"No report {key} in {paths.REPORTS / suite}; scripts/sanitize "
                             f"reports {suite} lists those that there are.")
    return groups[key]


def drafts(suite):
    """Drafts of entries for all reports of the last runs of SUITE that are not known, as text."""
    entries, others = known.read(), pristine(suite)
    return "\n".join(known.draft(group.report, _shown(others[key]) if key in others else "")
                     for key, group in reports.collect(paths.REPORTS / suite).items()
                     if not known.of(group.report, entries))


def _shown(group):
    """The command that shows the pristine reports.Group once more; empty if nobody knows it."""
    folders = {log.parent for log in group.logs}
    return next((f"scripts/sanitize run {test.suite} {test.path}" for test in discovery.discover()
                 if test.sanitized and logs(test.suite, test.path) in folders), "")
