# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the series is for upstream, as each patch says itself in the manner of Yocto.

The last line of a message may be one of

    Upstream-Status: Submitted [URL of the posting]
    Upstream-Status: Backport [commit or release that has it]
    Upstream-Status: Inappropriate [why]
    Upstream-Status: Inappropriate [replaced by NAME.patch on submission]

Without one the patch has not been sent yet. A replacement is a patch in replacements/ and not made
by rule, so that it can be read, and reviewed, like the others.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ..ui.report import WorkbenchError
from . import patches

SUBMITTED, BACKPORT, INAPPROPRIATE = "Submitted", "Backport", "Inappropriate"
REPLACEMENTS = Path(__file__).resolve().parent / "replacements"
LINE = re.compile(r"^Upstream-Status:(.*)\n?", re.M)


@dataclass(frozen=True)
class Status:
    """kind: "" or one of the words above; detail: what the brackets hold; replacement: a path."""

    kind: str = ""
    detail: str = ""
    replacement: Path = None


def status(patch):
    """The Status of a patch. Raises WorkbenchError for a line that is none of the above, and when
    the replacement is missing."""
    line = LINE.search(patch.message)
    if not line:
        return Status()
    words = re.fullmatch(r" (Submitted|Backport|Inappropriate) \[(.+)\]", line.group(1))
    if not words:
        raise WorkbenchError(f"{patch.name}: \"{line.group(0).strip()}\" is not Submitted [URL], "
                             "Backport [COMMIT] or Inappropriate [WHY].")
    kind, detail = words.groups()
    name = re.fullmatch(r"replaced by (\S+\.patch) on submission", detail)
    if kind != INAPPROPRIATE or not name:
        return Status(kind, detail)
    replacement = REPLACEMENTS / name.group(1)
    if not replacement.exists():
        raise WorkbenchError(f"{patch.name} is to be replaced by {replacement}, which does not "
                             "exist.")
    return Status(kind, detail, replacement)


def as_sent(series, say=lambda text: None):
    """The Series as it is sent: without patches that are not for upstream or are there already,
    with replacements in their places, and without the lines for this series only.

    say: told of each patch that is left out or replaced. Raises WorkbenchError as status() does.
    """
    result = []
    for patch in series.patches:
        state = status(patch)
        if state.replacement:
            say(f"Replaced by {state.replacement.name}: {patch.subject}")
            text = state.replacement.read_bytes().decode("utf-8", "surrogateescape")
            result.append(patches.parse(patch.name, text))
        elif state.kind in (INAPPROPRIATE, BACKPORT):
            say(f"Left out: {patch.subject} ({state.kind}: {state.detail})")
        elif state.kind:
            result.append(patches.parse(patch.name, LINE.sub("", patch.text, count=1)))
        else:
            result.append(patch)
    return patches.Series(result)
