# SPDX-License-Identifier: GPL-2.0-or-later
"""patches/topics.toml: the topics of the series, their order, and what each of them needs.

A topic is a part of the series that can be sent to upstream by itself. Its patches are in
patches/NAME/, numbered from 0001, with a cover letter. The file has one table for each topic:

    [[topic]]
    name = "pci-fixes"
    about = "one line for people"       # optional
    needs = []                          # names of earlier topics that must be applied before
    state = "submission"                # or "downstream": not for upstream
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..system import paths
from ..ui.report import WorkbenchError

FILE = "topics.toml"
COVER_LETTER = "cover-letter.md"
SUBMISSION, DOWNSTREAM = "submission", "downstream"
STATES = (SUBMISSION, DOWNSTREAM)
FIELDS = {"name": str, "about": str, "needs": list, "state": str}
MAX_PATCHES = 15        # of one topic: what reviewers take at once


@dataclass(frozen=True)
class Topic:
    """One topic. needs holds the names as listed; Topics.needed() has those needed by these too."""

    name: str
    needs: tuple = ()
    state: str = SUBMISSION
    about: str = ""

    @property
    def branch(self):
        """Name of the branch of build/qemu that points at the last commit of the topic."""
        return f"topic/{self.name}"


class Topics:
    """All topics, in order."""

    def __init__(self, topics):
        self._topics = tuple(topics)

    def __iter__(self):
        return iter(self._topics)

    def __len__(self):
        return len(self._topics)

    @classmethod
    def load(cls, folder=None):
        """Read topics.toml of a folder (default: patches/).

        Raises WorkbenchError if it is missing or breaks a rule: known fields of the right type,
        a name once, a known state, needs that name earlier topics, and no topic for submission
        that needs one which is not.
        """
        path = Path(folder or paths.PATCHES) / FILE
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as e:
            raise WorkbenchError(f"{path}, the list of topics, cannot be read: {e.strerror}. "
                                 "Restore it: git checkout patches/") from e
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise WorkbenchError(f"{path} is not valid TOML: {e}") from e
        odd = sorted(set(tables) - {"topic"})
        if odd or not isinstance(tables.get("topic", []), list):
            raise WorkbenchError(f"{path} may hold nothing but [[topic]] tables"
                                 + (f", not \"{odd[0]}\"." if odd else "."))
        topics = []
        for number, table in enumerate(tables.get("topic", []), 1):
            where = f"{path}: topic {number}"
            topics.append(_topic(table, topics, where))
        return cls(topics)

    def names(self):
        """Names of all topics, in order."""
        return [t.name for t in self._topics]

    def get(self, name):
        """The topic of that name. Raises WorkbenchError that lists the names there are."""
        for topic in self._topics:
            if topic.name == name:
                return topic
        raise WorkbenchError(f"There is no topic \"{name}\". The topics are: "
                             + (", ".join(self.names()) or "none") + ".")

    def needed(self, *names):
        """Names of the topics that these need, and that those need, in order; without these."""
        found, pending = set(), [need for name in names for need in self.get(name).needs]
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += self.get(name).needs
        return [name for name in self.names() if name in found and name not in names]


def _topic(table, earlier, where):
    """One table as a Topic; `earlier` are those before it."""
    for key, value in table.items():
        if key not in FIELDS:
            raise WorkbenchError(f"{where}: unknown field \"{key}\". Known ones: "
                                 + ", ".join(FIELDS) + ".")
        if not isinstance(value, FIELDS[key]):
            raise WorkbenchError(f"{where}: {key} must be "
                                 f"a {'list' if FIELDS[key] is list else 'text'}.")
    missing = [key for key in ("name", "needs", "state") if key not in table]
    if missing:
        raise WorkbenchError(f"{where}: the field \"{missing[0]}\" is missing.")
    name, needs, state = table["name"], table["needs"], table["state"]
    where += f" ({name})"
    # The name is a folder's and a branch's as well.
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise WorkbenchError(f"{where}: a name consists of lower-case letters, digits and single "
                             "hyphens between them.")
    known = {t.name: t for t in earlier}
    if name in known:
        raise WorkbenchError(f"{where}: there is an earlier topic of that name.")
    if state not in STATES:
        raise WorkbenchError(f"{where}: the state \"{state}\" is not one of: "
                             + ", ".join(STATES) + ".")
    for need in needs:
        if need not in known:
            raise WorkbenchError(f"{where}: it needs \"{need}\", which is not an earlier topic. "
                                 "Earlier ones: " + (", ".join(known) or "none") + ".")
        if state == SUBMISSION and known[need].state == DOWNSTREAM:
            raise WorkbenchError(f"{where}: it is for submission, but needs {need}, which is "
                                 "downstream only.")
    return Topic(name, tuple(needs), state, table.get("about", ""))


def cover_letter(name, folder=None):
    """(subject, body) of a topic's cover letter: a heading, which becomes the subject of the
    mail, and a text. Comments before the heading are for readers of the file alone.

    Raises WorkbenchError when the file is missing or lacks one of the two.
    """
    path = Path(folder or paths.PATCHES) / name / COVER_LETTER
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise WorkbenchError(f"patches/{name}/{COVER_LETTER} cannot be read: {e.strerror}. Each "
                             "topic has one.") from e
    text = re.sub(r"\A(<!--.*?-->\s*)+", "", text, flags=re.S)
    first, _, body = text.strip().partition("\n")
    if not first.startswith("# ") or not body.strip():
        raise WorkbenchError(f"patches/{name}/{COVER_LETTER} must have a heading (\"# …\"), which "
                             "becomes the subject, and a text.")
    return first[2:].strip(), body.strip()
