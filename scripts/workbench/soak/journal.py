# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal of a run: what it takes to repeat it, and how each step went.

A file of lines, each a JSON object, written as it happens:

    {"format": 1, "seed": 7, "accel": "tcg", "kinds": […], …}     the head
    {"step": 1, "kind": "cpu-plug", "args": {"slots": [3], …}}    before the step is taken
    {"done": 1, "outcome": "done", "seconds": 0.8, …}             after it, all being right, with
                                                                  what QEMU needs then
    {"failed": 2, "why": "…"}                                     the end of a run that failed
"""

import json
from dataclasses import dataclass

from ..ui.report import WorkbenchError
from .steps import KINDS, Step

FORMAT = 1
# Without these a run cannot be repeated.
HEAD = ("seed", "accel", "kinds")


class Journal:
    """Writes the file PATH. Use it in a with statement. HEAD is a dictionary."""

    def __init__(self, path, head):
        self.path = path
        self._file = open(path, "w", encoding="utf-8")
        self._write({"format": FORMAT, **head})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def _write(self, entry):
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        # This program may be killed during the step that follows.
        self._file.flush()

    def begin(self, index, step):
        """Step number INDEX is about to be taken."""
        self._write({"step": index, "kind": step.kind, "args": step.args})

    def done(self, index, outcome, seconds, needs):
        """It ended with OUTCOME after SECONDS, and all agree; NEEDS is what Growth.note() gave."""
        self._write({"done": index, "outcome": outcome, "seconds": round(seconds, 3), **needs})

    def failed(self, index, why):
        """The run ends with step INDEX, for the reason WHY."""
        self._write({"failed": index, "why": why})


@dataclass
class Record:
    """What a journal holds: the HEAD, (index, Step) of all STEPS, and {index: outcome}."""

    head: dict
    steps: list
    outcomes: dict


def read(path):
    """The Record in the file PATH. Raises WorkbenchError if it is not a journal.

    A last line that is not whole, of a run that was killed, is left out.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise WorkbenchError(f"The journal {path} cannot be read: {error}") from None
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            if number < len(lines) or line.endswith("\n"):
                raise WorkbenchError(f"{path}, line {number}, is not JSON: {line.strip()!r}. Give "
                                     "a journal.jsonl that scripts/soak has written.") from None
    head = entries[0] if entries and isinstance(entries[0], dict) else {}
    if head.get("format") != FORMAT or any(name not in head for name in HEAD):
        raise WorkbenchError(f"{path} is no journal of scripts/soak with the format {FORMAT}: its "
                             f"first line must have format, {', '.join(HEAD)}.")
    record = Record(head, [], {})
    for entry in entries[1:]:
        if "step" in entry:
            if entry["kind"] not in KINDS:
                raise WorkbenchError(f"{path}: step {entry['step']} is of the unknown kind "
                                     f"{entry['kind']!r}. Replay it with the scripts/soak that "
                                     "wrote it.")
            record.steps.append((entry["step"], Step(entry["kind"], entry["args"])))
        elif "done" in entry:
            record.outcomes[entry["done"]] = entry["outcome"]
    return record
