# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lists say that apt has loaded: packages, or sources, as stanzas of fields."""

import functools
import re
import subprocess

HELPER = "/usr/lib/apt/apt-helper"


def stanzas(file, regex):
    """Yield the stanzas, {field: value}, of the list FILE whose package name matches REGEX as a
    whole. FILE may be compressed, as apt keeps it."""
    wanted = re.compile(rf"(?:Package: )(?:{regex})")
    with subprocess.Popen([HELPER, "cat-file", file], stdout=subprocess.PIPE, text=True,
                          encoding="utf-8", errors="replace") as cat:
        stanza = None
        for line in cat.stdout:
            line = line.rstrip("\n")
            if line.startswith("Package: "):
                stanza = [] if wanted.fullmatch(line) else None
            if stanza is None:
                continue
            if line:
                stanza.append(line)
            else:
                yield _fields(stanza)
                stanza = None
        if stanza:
            yield _fields(stanza)


def _fields(lines):
    """Fields of a stanza; continuation lines are joined with a line break."""
    fields, name = {}, None
    for line in lines:
        if line[:1] in " \t":
            fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


@functools.cmp_to_key
def version_key(left, right):
    """For sorted() and max(): the order of two objects with a version, by Debian's rules."""
    def compare(relation):
        return subprocess.run(["dpkg", "--compare-versions", left.version, relation,
                               right.version], check=False).returncode == 0
    return 1 if compare("gt") else -1 if compare("lt") else 0
