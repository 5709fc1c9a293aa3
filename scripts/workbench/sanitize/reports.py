# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports in log files of the sanitizers of clang and gcc.

A report is told from others by its kind and by the functions on top of its stacks. Addresses,
numbers, threads and lines change from run to run, or with each edit, and do not count.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..system import paths
from .settings import LOG

DEPTH = 3                       # functions of a stack that tell reports apart
CALLED_BY = " < "
LOST = "(stack lost)"
# What a report may be of; FAULT is a sanitizer that could not do its work.
ADDRESS, UNDEFINED, LEAK, THREAD, FAULT = "address", "undefined", "leak", "thread", "fault"

# "==1234==", with log_exe_name "==program==1234==".
_PROCESS = r"==(?:[^=]+==)?\d+=="
_FAULT = re.compile(r"FATAL: \w+Sanitizer|Sanitizer.*CHECK failed|has encountered a fatal error"
                    r"|Sanitizer: nested bug|Sanitizer failed to|incorrect value for")
_ERROR = re.compile(_PROCESS + r"ERROR: (\w+)Sanitizer: (.*)")
_LEAKS = re.compile(_PROCESS + "ERROR: LeakSanitizer: detected")
_LEAKED = re.compile(r"(Direct|Indirect) leak of ")
_RACE = re.compile(r"WARNING: ThreadSanitizer: (.*?) \(pid=\d+\)")
_UNDEFINED = re.compile(r"(\S.*?): runtime error: (.*)")
_END = re.compile(r"SUMMARY: |={18,}$|-{50,}$")
_FRAME = re.compile(r"\s+#(\d+) (?:0x[0-9a-f]+ ?)?(?:in )?(.*)")
_ACCESS = re.compile(r"(previous )?(atomic )?(read|write) of size", re.I)
_BAD_UNLOCK = "unlock of an unlocked mutex"
# Folders in the source of the sanitizers and of libraries, GLib with ThreadSanitizer among them.
_FOREIGN = re.compile(r"(^|/)(compiler-rt|libsanitizer|csu|nptl|sysdeps|"
                      + re.escape(paths.TSAN_GLIB.name) + ")/")


@dataclass(frozen=True)
class Frame:
    """A line of a stack. Any field may be empty: file without debug information, for instance."""

    function: str
    file: str
    module: str

    @property
    def own(self):
        """Whether it is of QEMU, and not of a library or the sanitizer."""
        return bool(self.file) and not _FOREIGN.search(self.file)


@dataclass
class Stack:
    """Its frames, innermost first, and the line before it."""

    title: str
    frames: list = field(default_factory=list)

    def functions(self):
        """Names of the functions of QEMU, innermost first; those of libraries if it has none.

        Empty for a stack that is lost.
        """
        names = [frame.function for frame in self.frames if frame.own]
        return names or [frame.function or Path(frame.module).name or "?"
                         for frame in self.frames]

    def signature(self):
        """The functions on top, as text."""
        return CALLED_BY.join(self.functions()[:DEPTH]) or LOST

    def top(self):
        """The files of the functions in signature()."""
        return [frame.file for frame in self.frames if frame.own][:DEPTH]


@dataclass
class Report:
    """What a sanitizer has found. of: ADDRESS and so on; text: all of it."""

    of: str
    kind: str
    text: str = ""
    stacks: list = field(default_factory=list)

    def main_stacks(self):
        """The stacks that say what it is about: of a race those that collide, else the first."""
        accesses = [stack for stack in self.stacks if _ACCESS.match(stack.title)]
        return accesses or self.stacks[:1]

    def signatures(self):
        """The texts of main_stacks(), sorted: which access came first is chance."""
        return sorted(stack.signature() for stack in self.main_stacks())

    @property
    def key(self):
        """Eight digits that name all reports that are the same."""
        text = "\n".join([self.of, self.kind, *self.signatures()])
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _frame(text):
    """A Frame of what follows the address in a line of a stack."""
    text = re.sub(r" \(BuildId: [0-9a-f]+\)$", "", text)
    module = re.search(r"\(([^()]*)\+0x[0-9a-f]+\)$", text)
    if module:
        text = text[:module.start()]
    function, _, place = text.strip().partition(" ")
    file = "" if place == "<null>" else re.sub(r"(:\d+){1,2}$", "", place)
    # gcc's runtime says "main+0x12" without debug information.
    return Frame(re.sub(r"\+0x[0-9a-f]+$", "", function), file, module[1] if module else "")


def _kind(text):
    """The part of a message that is the same for all reports of a kind."""
    return re.sub(r"0x[0-9a-f]+|\b\d+\b", "N", text).strip()


def _start(line, leaks):
    """The Report that begins with LINE, or None. LEAKS: whether this is in a list of leaks."""
    if _FAULT.search(line):
        return Report(FAULT, _kind(re.sub("^" + _PROCESS, "", line)))
    if match := _RACE.match(line):
        return Report(THREAD, match[1])
    if match := _ERROR.match(line):
        if match[1] == "Leak":
            return None
        kind = re.split(r" on | \(|:| 0x", match[2])[0]
        return Report(THREAD if match[1] == "Thread" else ADDRESS, kind)
    if leaks and (match := _LEAKED.match(line)):
        return Report(LEAK, f"{match[1].lower()} leak")
    if match := _UNDEFINED.match(line):
        return Report(UNDEFINED, _kind(match[2]))
    return None


class _Parser:
    """Takes the lines of a log one by one."""

    def __init__(self):
        self.found = []
        self._report = self._stack = None
        self._leaks = False
        self._before = ""

    def take(self, line):
        """The next line."""
        self._leaks = self._leaks or bool(_LEAKS.match(line))
        report = _start(line, self._leaks)
        if report:
            self.found.append(report)
            self._report, self._stack, self._before = report, None, ""
        elif _END.match(line):
            self._report = self._stack = None
            self._leaks = self._leaks and not line.startswith("SUMMARY")
        if self._report is None:
            return
        self._report.text += line + "\n"
        if not report:
            self._inside(line)

    def _inside(self, line):
        frame = _FRAME.match(line)
        if frame:
            if frame[1] == "0" or self._stack is None:
                self._new_stack()
            self._stack.frames.append(_frame(frame[2]))
        elif line.strip() == "[failed to restore the stack]":
            self._new_stack()
        elif line.strip():
            self._before = line.strip()

    def _new_stack(self):
        self._stack = Stack(self._before)
        self._report.stacks.append(self._stack)
        self._before = ""


def parse(text):
    """The Reports in the TEXT of a log, in order.

    Of memory that is lost, what is only reachable from other lost memory is left out: it goes
    when that is mended. Warnings of the sanitizers about themselves are no reports. Once a mutex
    was unlocked by a thread that ThreadSanitizer does not have as its owner, it no longer knows
    what this mutex orders, so the first report of that is the last one.
    """
    parser = _Parser()
    for line in text.splitlines():
        parser.take(line.rstrip())
    found = parser.found
    direct = any(report.kind == "direct leak" for report in found)
    found = [report for report in found if not direct or report.kind != "indirect leak"]
    last = next((at for at, report in enumerate(found) if report.kind.startswith(_BAD_UNLOCK)),
                len(found))
    return found[:last + 1]


@dataclass
class Group:
    """Reports that are the same: the first of them, how many, and of which programs."""

    report: Report
    count: int = 0
    programs: set = field(default_factory=set)
    logs: list = field(default_factory=list)


def collect(folder):
    """{key: Group} of all logs in FOLDER and in the folders below; empty if it does not exist."""
    groups = {}
    for log in sorted(Path(folder).rglob(f"{LOG}.*")):
        for report in parse(log.read_text(encoding="utf-8", errors="replace")):
            group = groups.setdefault(report.key, Group(report))
            group.count += 1
            # LOG.PROGRAM.PID
            group.programs.add(log.name.removeprefix(f"{LOG}.").rpartition(".")[0])
            if log not in group.logs:
                group.logs.append(log)
    return groups
