# SPDX-License-Identifier: GPL-2.0-or-later
"""The stack of commits in build/qemu, cut into topics.

For each topic a branch topic/NAME points at its last commit. Where these branches stood when they
last agreed with patches/ is kept, so that it is known whether someone has moved them since.
"""

from ..system import paths
from ..ui.report import WorkbenchError
from . import git, patches

BRANCHES = "refs/heads/topic/"
MARKS = "refs/workbench/topics/"


def commits(base, tip):
    """Ids of the commits of base..tip, first one first. Raises WorkbenchError if they are no
    straight line of commits of the project."""
    patches.refuse_commits(paths.QEMU_SRC, base, tip)
    return git.run("rev-list", "--reverse", f"{base}..{tip}").split()


def ends(topics, base, tip):
    """[(name, last commit)] of the topics, as the topic branches say.

    Raises WorkbenchError when a branch is missing or is not in base..tip, when the branches are
    in another order than the topics or leave a topic empty, and when commits belong to no topic.
    """
    stack = commits(base, tip)
    place = {commit: number for number, commit in enumerate(stack)}
    there = branches()
    found, last, before = [], -1, None
    for topic in topics:
        commit = there.get(topic.name)
        if commit is None:
            raise WorkbenchError(
                f"build/qemu has no branch {topic.branch}. Where patches/ have this topic, "
                "scripts/series setup makes it. For a new topic, with its last commit: "
                f"git -C {paths.QEMU_SRC} branch {topic.branch} COMMIT")
        if commit not in place:
            raise WorkbenchError(_outside(topic, commit, stack))
        if place[commit] == last:
            raise WorkbenchError(f"The topic {topic.name} has no patch: {topic.branch} points at "
                                 f"the same commit as {before.branch}. "
                                 + _move(topic, "COMMIT", "its last commit"))
        if place[commit] < last:
            raise WorkbenchError(
                f"patches/topics.toml lists {before.name} before {topic.name}, but "
                f"{topic.branch} points at a commit before the last one of {before.branch}. "
                "Change the order there, or that of the commits: "
                f"git -C {paths.QEMU_SRC} rebase -i base")
        found.append((topic.name, commit))
        last, before = place[commit], topic
    if stack[last + 1:]:
        _refuse_rest(stack[last + 1:], before)
    known = set(topics.names())
    for name, commit in there.items():
        if name not in known and commit in place:
            raise WorkbenchError(
                f"build/qemu has a branch topic/{name} in the series, but patches/topics.toml has "
                "no such topic. Add it there, or remove the branch: "
                f"git -C {paths.QEMU_SRC} branch -D topic/{name}")
    return found


def _move(topic, commit, words):
    return f"Move it to {words}: git -C {paths.QEMU_SRC} branch -f {topic.branch} {commit}"


def _outside(topic, commit, stack):
    """Text for a branch that is not in the stack, as after a rebase that did not move it."""
    subject = _subject(commit)
    same = [c for c in stack if _subject(c) == subject]
    text = (f"{topic.branch} points at {commit[:12]} (\"{subject}\"), which is not a commit of "
            "the branch series. A rebase moves it only with rebase.updateRefs, which "
            "scripts/series setup sets (git 2.38 or newer). ")
    if len(same) == 1:
        return text + _move(topic, same[0][:12], "the commit of that subject")
    return text + _move(topic, "COMMIT", "the last commit of the topic")


def _refuse_rest(rest, last):
    shown = "".join(f"\n  {c[:12]} {_subject(c)}" for c in rest[:10])
    more = f"\n  and {len(rest) - 10} more" if len(rest) > 10 else ""
    if last is None:
        raise WorkbenchError(f"patches/topics.toml has no topic for these commits:{shown}{more}")
    raise WorkbenchError(
        f"These commits come after {last.branch}, the last topic, and belong to none:{shown}"
        f"{more}\nTo move them into their topics: git -C {paths.QEMU_SRC} rebase -i --autosquash "
        f"base. If they are of {last.name}: git -C {paths.QEMU_SRC} branch -f {last.branch} "
        "series")


def _subject(commit):
    return git.run("log", "-1", "--format=%s", commit).strip()


def ends_of(series, base, tip):
    """[(name, last commit)] of the topics, if base..tip has as many commits as the Series has
    patches; otherwise None. The topic branches are not looked at."""
    stack = commits(base, tip)
    if len(stack) != len(series):
        return None
    found, at = [], 0
    for name, count in series.topics().items():
        at += count
        found.append((name, stack[at - 1]))
    return found


def branches():
    """{name: commit} of all topic branches."""
    return _refs(BRANCHES)


def _refs(prefix):
    out = git.run("for-each-ref", "--format=%(objectname) %(refname)", prefix)
    return {ref[len(prefix):]: commit for commit, ref in (
        line.split(" ", 1) for line in out.splitlines())}


def moved(names):
    """Which topic branches someone has made or moved since they last agreed with patches/, of
    these names and of the topics of then. One that was deleted does not count: nothing is lost
    with it."""
    marks = _refs(MARKS)
    return [name for name, commit in branches().items()
            if (name in marks or name in names) and marks.get(name) != commit]


def settle(wanted):
    """Have the topic branches at [(name, commit)] and remember that they agree with patches/.

    Branches of topics that are no more are removed, unless someone has moved them.
    """
    there, marks, wanted = branches(), _refs(MARKS), dict(wanted)
    lines = []
    for name, commit in wanted.items():
        lines += [f"update {BRANCHES}{name} {commit}", f"update {MARKS}{name} {commit}"]
    for name in set(marks) - set(wanted):
        lines.append(f"delete {MARKS}{name}")
        if there.get(name) == marks[name]:
            lines.append(f"delete {BRANCHES}{name}")
    git.run("update-ref", "--stdin", data="".join(f"{line}\n" for line in lines))


def carry(old, new, base):
    """Move the topic branches from the commits of base..old to those at the same places in
    base..new. Both have the same number of commits."""
    places = dict(zip(commits(base, old), commits(base, new), strict=True))
    lines = [f"update {BRANCHES}{name} {places[commit]} {commit}\n"
             for name, commit in branches().items() if commit in places]
    git.run("update-ref", "--stdin", data="".join(lines))
