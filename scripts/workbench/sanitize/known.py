# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of known reports, tests/sanitizers/known.toml, which says itself how to read it."""

import fnmatch
import itertools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..system import paths
from ..ui.report import WorkbenchError
from . import reports

FILE = paths.TOP / "tests/sanitizers/known.toml"
UPSTREAM = "upstream"
WHOSE = (UPSTREAM, "library", "sanitizer")
OF = (reports.ADDRESS, reports.UNDEFINED, reports.LEAK, reports.THREAD)
# What shows that a report is upstream's.
SHOWN = re.compile(r"(scripts/sanitize run|scripts/test --suite) (asan|tsan)-pristine\b")
_FIELDS = {"of": str, "kind": str, "stacks": list, "whose": str, "reason": str, "shown": str}


@dataclass(frozen=True)
class Entry:
    """A report that is known; the fields are those of the list."""

    of: str
    kind: str
    stacks: tuple
    whose: str
    reason: str
    shown: str = ""

    def covers(self, report, top=paths.TOP):
        """Whether REPORT is this one. What is upstream's has no code of files that the series
        adds, which the folder TOP has at the paths of QEMU, on top of its stacks."""
        stacks = report.main_stacks()
        if (report.of, len(stacks)) != (self.of, len(self.stacks)) or not fnmatch.fnmatchcase(
                report.kind, self.kind):
            return False
        if self.whose == UPSTREAM and any(added(file, top) for stack in stacks
                                          for file in stack.top()):
            return False
        return any(all(_fits(pattern, stack) for pattern, stack in zip(self.stacks, order))
                   for order in itertools.permutations(stacks))


def _fits(pattern, stack):
    """Whether the functions on top of STACK are those of PATTERN."""
    if pattern == "*":
        return True
    wanted = pattern.split(reports.CALLED_BY)
    functions = stack.functions() or [reports.LOST]
    return len(functions) >= len(wanted) and all(map(fnmatch.fnmatchcase, functions, wanted))


def added(file, top=paths.TOP):
    """Whether FILE, as a stack names it, is one that the series adds to QEMU."""
    # The source folder is called qemu, see system/paths.py. Others are, too: some of QEMU's own.
    # The project's own may be, which has all files below its folder build.
    parts = Path(file).parts
    return any(Path(top, *parts[at + 1:]).is_file() for at, part in enumerate(parts[:-1])
               if part == "qemu" and parts[at + 1] != paths.BUILD.name)


def read(file=FILE):
    """The entries of the list. Raises WorkbenchError for one that is not as it must be."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise WorkbenchError(f"{file} is not TOML: {error}") from None
    unknown = set(tables) - {"known"}
    if unknown:
        raise WorkbenchError(f"{file} has tables {', '.join(sorted(unknown))}; all must be called "
                             "[[known]]")
    return [_entry(file, number, table)
            for number, table in enumerate(tables.get("known", []), 1)]


def _entry(file, number, table):
    def wrong(text):
        return WorkbenchError(f"{file}, entry {number}: {text}")

    for name, kind in _FIELDS.items():
        if name not in table and name != "shown":
            raise wrong(f"{name} is missing")
        if not isinstance(table.get(name, kind()), kind):
            raise wrong(f"{name} is not a {kind.__name__}")
    if extra := set(table) - set(_FIELDS):
        raise wrong(f"{', '.join(sorted(extra))} is not known; there are {', '.join(_FIELDS)}")
    if table["of"] not in OF:
        raise wrong(f"of is one of {', '.join(OF)}, not {table['of']}")
    if table["whose"] not in WHOSE:
        raise wrong(f"whose is one of {', '.join(WHOSE)}, not {table['whose']}. What the series "
                    "does is mended")
    if not table["stacks"] or not all(isinstance(stack, str) for stack in table["stacks"]):
        raise wrong("stacks are texts, one for each stack that the report is about")
    if all(set(stack) <= set("*?< ") for stack in table["stacks"]):
        raise wrong("stacks name no function, so that they would fit all reports")
    if len(table["reason"].split()) < 4:
        raise wrong("reason does not say why this is no defect of the series")
    if table["whose"] == UPSTREAM and not SHOWN.match(table.get("shown", "")):
        raise wrong("what is upstream's needs shown, the command that shows it with the pristine "
                    "QEMU: scripts/sanitize run asan-pristine FILE, or with tsan-pristine")
    return Entry(**{**table, "stacks": tuple(table["stacks"])})


def of(report, entries, top=paths.TOP):
    """The first of ENTRIES that covers REPORT, or None."""
    return next((entry for entry in entries if entry.covers(report, top)), None)


def draft(report, shown=""):
    """An entry for REPORT, as text for the list, in which the reason is left to a person.

    SHOWN is the command that shows it with the pristine QEMU. Without one, whose it is is left to
    the person, too.
    """
    stacks = ", ".join(f'"{signature}"' for signature in report.signatures())
    # A bracket, as in the type 'char [N]', would begin a set of characters.
    kind = report.kind.replace("[", "[[]").replace("\\", "\\\\").replace('"', '\\"')
    return (f'[[known]]\nof = "{report.of}"\nkind = "{kind}"\nstacks = [{stacks}]\n'
            f'whose = "{UPSTREAM if shown else ""}"\nreason = ""\nshown = "{shown}"\n')
