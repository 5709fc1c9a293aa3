# SPDX-License-Identifier: GPL-2.0-or-later
"""The topics that fit another source of QEMU, as patches for it.

A distribution's source package has a release with patches of its own. What merges there without a
conflict, with all that it needs, becomes patches that apply to it without fuzz.
"""

from dataclasses import dataclass

from ..ui.report import WorkbenchError
from . import git, patches, status, threeway, topics, tree


@dataclass
class Fitted:
    """topics: their names in order; series: a patches.Series for the source; unfit: {name of a
    topic: why it is left out}; tree: the id of the git tree that the patches make."""

    topics: tuple
    series: patches.Series
    unfit: dict
    tree: str


def fit(target, wanted=None):
    """The topics that fit the commit TARGET of build/qemu, or those of the names WANTED.

    What these need comes with them. Raises WorkbenchError when one that is wanted does not fit, or
    none does. Needs tree.locked().
    """
    series = patches.Series.load()
    listed = topics.Topics.load()
    for name in wanted or ():
        listed.get(name)
    with threeway.opened() as trees:
        judge = status.Judge(trees, series, listed, target)
        fates = {topic.name: judge.fates(topic.name) for topic in listed}
        unfit = _unfit(fates, listed)
        chosen = list(wanted or (name for name in fates if name not in unfit))
        bad = [f"{name}: {unfit[name]}" for name in chosen if name in unfit]
        if bad or not chosen:
            bad = bad or [f"{name}: {why}" for name, why in unfit.items()]
            raise WorkbenchError("No patches can be made for this source, because these topics "
                                 "do not apply to it:\n" + "".join(f"  {line}\n" for line in bad)
                                 + "scripts/series status names the files, and scripts/series "
                                 "rebase takes the series to another release.")
        chosen = [name for name in fates if name in {*chosen, *listed.needed(*chosen)}]
        there = {fate.patch.name for name in chosen for fate in fates[name]
                 if fate.result == status.THERE}
        texts, final = _texts(trees, series.of(*chosen), target, there)
    if not texts:
        raise WorkbenchError("This source has all patches of " + ", ".join(chosen) + " already.")
    return Fitted(tuple(chosen), patches.Series.parse(texts), unfit, final)


def _unfit(fates, listed):
    """{name of a topic: why it cannot be used}."""
    conflicts = {name: [fate for fate in found if fate.result == status.CONFLICTS]
                 for name, found in fates.items()}
    unfit = {}
    for name, found in conflicts.items():
        needs = [need for need in listed.needed(name) if conflicts[need]]
        reasons = [f"{len(found)} of {len(fates[name])} patches conflict"] if found else []
        reasons += ["needs " + ", ".join(needs)] if needs else []
        if reasons:
            unfit[name] = "; ".join(reasons)
    return unfit


def _texts(trees, series, target, there):
    """({name: text of a patch for TARGET}, id of the tree after all); THERE are names of patches
    that the target has."""
    home, here = (git.run("rev-parse", f"{commit}^{{tree}}").strip()
                  for commit in (tree.BASE, target))
    texts = {}
    for patch in series.patches:
        after = trees.apply(home, patch.text)
        merged = trees.merge(home, here, after) if after else None
        if not merged or (merged.conflicts and patch.name not in there):
            raise WorkbenchError(f"{patch.name} does not apply after the other topics, although it "
                                 "does with just those that it needs. Choose fewer with --topic.")
        home = after
        if patch.name in there or merged.tree == here:
            continue
        diff = git.run("diff", "--full-index", "--binary", "--no-renames", "--no-color", here,
                       merged.tree)
        head = patch.text.partition("\n---\n")[0]
        texts[patch.name] = f"{head}\n---\n\n{diff}"
        here = merged.tree
    return texts, here
