# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of scripts/series check that is about topics: their folders, and that each of them
applies on the base with nothing but the topics that it needs."""

from itertools import groupby

from ..system import paths
from ..ui.report import WorkbenchError, step
from . import topics as topics_module
from . import tree, upstream


def check_folders(topics, series, found):
    """List, folders and cover letters: each patch is in the folder of a topic and numbered there,
    in the order of the topics, and no topic is empty or too long."""
    names = topics.names()
    order = [name for name, _ in groupby(series.patches, key=lambda p: p.topic)]
    for name in order:
        if name not in names:
            found.error(f"patches/series lists patches of {name}, which is no topic of "
                        f"patches/{topics_module.FILE}")
    known = [name for name in order if name in names]
    if known != sorted(set(known), key=names.index):
        found.error(f"patches/series has the topics in another order than {topics_module.FILE}: "
                    + ", ".join(order))
    counts = series.topics()
    for name in names:
        count = counts.get(name, 0)
        if not count:
            found.error(f"topic {name}: it has no patches")
        if count > topics_module.MAX_PATCHES:
            found.error(f"topic {name}: {count} patches are more than the "
                        f"{topics_module.MAX_PATCHES} that can be sent at once; split it")
        for number, patch in enumerate(series.of(name).patches, 1):
            if not patch.name.startswith(f"{name}/{number:04}-"):
                found.error(f"patches/{patch.name}: it is patch {number} of {name}, but its "
                            "name begins otherwise")
        try:
            topics_module.cover_letter(name)
        except WorkbenchError as e:
            found.error(f"topic {name}: {e}")
    for folder in sorted(f.name for f in paths.PATCHES.iterdir() if f.is_dir()):
        if folder not in names:
            found.error(f"patches/{folder} is the folder of no topic; remove it, or add the topic "
                        f"to patches/{topics_module.FILE}")


def describe(topics, series, name):
    """What a topic is applied on, in words."""
    counts = series.topics()
    needed = [f"{need} ({counts.get(need, 0)})" for need in topics.needed(name)]
    return "the base" + (" with " + ", ".join(needed) if needed else " alone")


def check_apart(topics, series, found):
    """Each topic applies on the base with just the topics that it needs."""
    step("Applying each topic with just the topics that it needs")
    earlier = []
    for topic in topics:
        # With all that come before it, it was applied already.
        apply_topic(topics, series, topic.name, found,
                    stored=topics.needed(topic.name) != earlier)
        earlier.append(topic.name)


def apply_topic(topics, series, name, found, stored=True):
    """Apply a topic and what it needs in a scratch worktree; returns the id of its last commit, or
    None. A topic for submission is applied in the form in which it is sent, too, if that differs.

    stored: whether to apply the patches as they are stored.
    """
    part = series.of(*topics.needed(name), name)
    tip = _apply(topics, series, name, part, "", found) if stored else None
    if topics.get(name).state == topics_module.SUBMISSION:
        try:
            sent = upstream.as_sent(part)
        except WorkbenchError:
            return tip      # said where the patch is checked
        if [p.changes for p in sent.patches] != [p.changes for p in part.patches]:
            _apply(topics, series, name, sent, ", as it is sent,", found)
    return tip


def _apply(topics, series, name, part, form, found):
    with tree.temporary_worktree("topic", part.touched()) as folder:
        try:
            return tree.apply(part, folder)
        except tree.DoesNotApply as e:
            found.error(f"topic {name}{form} does not apply on {describe(topics, series, name)}: "
                        f"{e}" + _suspects(topics, series, name, e.patch))
            return None


def _suspects(topics, series, name, patch):
    """Which topics that are not needed change the files of the patch, as a sentence."""
    files = {change.path for change in patch.changes}
    names = topics.names()
    before = names[:names.index(name)]
    odd = [other for other in before if other not in topics.needed(name)
           and files & series.of(other).touched()]
    if not odd:
        return ""
    return ("\nEarlier topics that it does not need, and that change the same files: "
            + ", ".join(odd) + ".")
