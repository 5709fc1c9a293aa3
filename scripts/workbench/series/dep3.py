# SPDX-License-Identifier: GPL-2.0-or-later
"""Fields of DEP-3, Debian's patch tagging guidelines, for the header of a patch.

git's own From and Subject are fields of DEP-3 already, and the message is the long description.
"""

import re
from email.utils import parsedate_to_datetime

from ..ui.report import WorkbenchError
from . import git, upstream
from .topics import DOWNSTREAM


def fields(patch, topic):
    """{field: value} of a Patch of a Topic. Raises WorkbenchError when it has no Date."""
    status = upstream.status(patch)
    date = re.search(r"^Date: (.*)$", patch.text.partition("\n\n")[0], re.M)
    if not date:
        raise WorkbenchError(f"{patch.name} has no Date. Write it with scripts/series export.")
    result = {"Origin": f"other, {git.NAME}, topic {topic.name}", "Forwarded": "no"}
    if status.kind == upstream.BACKPORT:
        result = {"Origin": f"backport, {status.detail}", "Forwarded": "not-needed",
                  "Applied-Upstream": status.detail}
    elif status.kind == upstream.SUBMITTED:
        result["Forwarded"] = status.detail
    elif status.kind == upstream.INAPPROPRIATE or topic.state == DOWNSTREAM:
        result["Forwarded"] = "not-needed"
    result["Last-Update"] = parsedate_to_datetime(date.group(1)).date().isoformat()
    return result


def tagged(text, values):
    """The text of a patch with the fields at the end of its header."""
    head, gap, rest = text.partition("\n\n")
    return head + "".join(f"\n{name}: {value}" for name, value in values.items()) + gap + rest
