# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series status: what becomes of each topic on another release of QEMU.

Each topic is merged three-way into the release, after the topics that it needs. Where a patch
conflicts, the lines of the patch are taken, so that those after it are judged as they would be when
a person has settled the conflict in their favour. Only texts are merged: whether what applies also
builds is another question.
"""

from dataclasses import dataclass, field

from ..ui import table
from ..ui.report import WorkbenchError, step
from . import git, patches, release, source, threeway, topics, tree

APPLIES, CONFLICTS, THERE = "applies", "conflicts", "already there"


@dataclass
class Fate:
    """What becomes of one patch. conflicts: {path: what kind of conflict}."""

    patch: patches.Patch
    result: str
    conflicts: dict = field(default_factory=dict)


def main(against, network=True):
    """Print the table for a version, tarball or tree; returns the exit status: 0 if no patch
    conflicts."""
    tree.setup(network=network)
    with tree.locked():
        target = release.obtain(against, network)
        series = patches.Series.load()
        listed = topics.Topics.load()
        step(f"Merging {len(series)} patches into QEMU {target.version}")
        with threeway.opened() as trees:
            judge = Judge(trees, series, listed, target.commit)
            fates = {topic.name: judge.fates(topic.name) for topic in listed}
    rows = [row for topic in listed for row in _rows(topic.name, fates, listed)]
    print(table.render(("topic", "patches", f"QEMU {target.version}", "patch and files"), rows))
    bad = [name for name, found in fates.items() if _result(found) == CONFLICTS]
    print(f"series status: QEMU {source.upstream()['version']} to {target.version}: "
          f"{len(listed) - len(bad)} of {len(listed)} topics without a conflict"
          + (f"; conflicts in {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


class Judge:
    """Merges topics, each after those that it needs; what several need is merged once."""

    def __init__(self, trees, series, listed, target):
        self._trees = trees
        self._topics = listed
        self._patches = {name: series.of(name).patches for name in listed.names()}
        start = [git.run("rev-parse", f"{commit}^{{tree}}").strip()
                 for commit in (tree.BASE, target)]
        self._done = {(): (*start, [])}

    def fates(self, name):
        """The Fate of each patch of the topic, in order."""
        return self._after((*self._topics.needed(name), name))[2]

    def _after(self, chain):
        """(tree of the series, tree of the release, fates of the last) after these topics."""
        if chain not in self._done:
            home, there, _ = self._after(chain[:-1])
            self._done[chain] = self._merge(home, there, chain[-1])
        return self._done[chain]

    def _merge(self, home, there, name):
        homes = [home]
        for patch in self._patches[name]:
            homes.append(self._trees.apply(homes[-1], patch.text))
            if homes[-1] is None:
                raise WorkbenchError(
                    f"The patch {patch.name} does not apply to the release that the series is "
                    f"for, after the topics that {name} needs: scripts/series check")
        fates, known = [], 0
        for number, patch in enumerate(self._patches[name]):
            merged = self._trees.merge(homes[number], there, homes[number + 1])
            if number < known or (not merged.conflicts and merged.tree == there):
                fates.append(Fate(patch, THERE))
            elif not merged.conflicts:
                fates.append(Fate(patch, APPLIES))
                there = merged.tree
            elif known := self._known(homes, number, there, patch):
                fates.append(Fate(patch, THERE))
            else:
                fates.append(Fate(patch, CONFLICTS, merged.conflicts))
                there = self._trees.settled(merged)
        return homes[-1], there, fates

    def _known(self, homes, number, there, patch):
        """Number of patches at the front of which the release has all from this one on; 0 if it
        lacks this one."""
        if self._trees.apply(there, patch.text, reverse=True):
            return number + 1
        # Upstream has this one and a later one that changes the same lines again.
        for end in range(len(homes) - 1, number + 1, -1):
            merged = self._trees.merge(homes[number], there, homes[end])
            if not merged.conflicts and merged.tree == there:
                return end
        return 0


def _result(fates):
    """Result of a topic."""
    for result in (CONFLICTS, APPLIES):
        if any(fate.result == result for fate in fates):
            return result
    return THERE if fates else APPLIES


def _rows(name, fates, listed):
    """Rows of the table for one topic: itself, then each patch that does not just apply."""
    result = _result(fates[name])
    waits = [need for need in listed.needed(name) if _result(fates[need]) == CONFLICTS]
    yield (name, len(fates[name]), result,
           "needs topics in conflict: " + ", ".join(waits) if waits else "")
    if result == THERE:
        return
    for fate in fates[name]:
        if fate.result != APPLIES:
            files = ", ".join(path if kind == "contents" else f"{path} ({kind})"
                              for path, kind in fate.conflicts.items())
            file = fate.patch.name.rpartition("/")[2]
            yield "", "", fate.result, file + (f": {files}" if files else "")
