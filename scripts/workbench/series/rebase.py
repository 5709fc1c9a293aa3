# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series rebase: the series on another release of QEMU.

git rebases a copy of the branch, rebase/VERSION, in a work tree of its own, build/rebase/qemu. The
branch series, the tag base, patches/ and upstream.json stay as they are until the result is adopted.
"""

import contextlib
import json
import re
import shutil

from ..system import paths
from ..ui import table
from ..ui.report import WorkbenchError, info, step
from . import git, patches, release, source, threeway, topics, tree

FOLDER = paths.BUILD / "rebase"
WORK = FOLDER / "qemu"
STATE = FOLDER / "state.json"
# rerere: what a person settled is not asked again after --abort. zdiff3 shows the base as well.
CONFIG = {**threeway.CONFIG, "rerere.enabled": "true", "merge.conflictStyle": "zdiff3",
          # The branches of the topics stay where they are until the result is adopted.
          "rebase.updateRefs": "false"}
MARKER = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.M)
COMMAND = "scripts/series rebase"
SHOWN = "build/rebase/qemu"


def start(onto, network=True):
    """Rebase to a version, tarball or tree (see source.release()).

    Returns the exit status: 1 if a person is needed. Raises WorkbenchError if it cannot begin.
    """
    if STATE.exists():
        raise WorkbenchError(f"A rebase to QEMU {_state()['version']} is under way in {SHOWN}. Go "
                             f"on with it ({COMMAND} --continue) or give it up (--abort).")
    tree.setup(network=network)
    with tree.locked():
        target = release.obtain(onto, network)
        branch = f"rebase/{target.version}"
        if git.line("rev-parse", "-q", "--verify", f"refs/heads/{branch}"):
            raise WorkbenchError(
                f"build/qemu has a branch {branch} already, of an earlier rebase. Rename it, "
                f"for instance: git -C {paths.QEMU_SRC} branch -m {branch} {branch}-old")
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        git.run("worktree", "prune")
        commits = _commits(tree.BASE, tree.BRANCH_REF)
        STATE.write_text(json.dumps({
            "version": target.version, "release": target.commit, "branch": branch,
            "name": target.name, "sha256": target.sha256, "tip": tree.tip(),
            "base": git.run("rev-parse", f"{tree.BASE}^{{commit}}").strip(),
            "patches": dict(zip(commits, patches.names()))}), encoding="utf-8")
        step(f"Rebasing {len(commits)} patches to QEMU {target.version} in {SHOWN}")
        git.run("worktree", "add", "-q", "-b", branch, WORK, tree.BRANCH_REF)
        _git("rebase", "--merge", "--empty=drop", "--no-autosquash",
             "--committer-date-is-author-date", "--onto", target.commit, tree.BASE)
        return _person_or_end()


def go_on(skip=False):
    """Carry on after a person settled a conflict, or (skip) without the patch; returns the exit
    status. Raises WorkbenchError if something is not settled yet."""
    with tree.locked():
        _state()
        if not _stopped():
            return _report()
        if skip:
            _git("rebase", "--skip")
            return _person_or_end()
        left = [path for path in _unmerged() if _has_markers(path)]
        if left:
            raise WorkbenchError(
                "These files still have conflict markers: " + ", ".join(left) + f". Edit them in "
                f"{SHOWN}, then: {COMMAND} --continue")
        for path in _unmerged():
            if not (WORK / path).exists():
                _run("rm", "-q", "--cached", "--", path)
        # Files of the patch, not what a build or an editor left.
        _run("add", "-u")
        _git("rebase", "--continue")
        return _person_or_end()


def abort():
    """Give the rebase up: its work tree and branch go, all else is as it was before."""
    with tree.locked():
        state = _state()
        git.run("worktree", "remove", "--force", WORK, check=False)
        shutil.rmtree(FOLDER, ignore_errors=True)
        git.run("worktree", "prune")
        git.run("update-ref", "-d", f"refs/heads/{state['branch']}")
        print(f"The rebase to QEMU {state['version']} was given up. The series is as it was "
              f"before, on QEMU {source.upstream()['version']}. Conflicts that were settled are "
              "settled by themselves in another rebase.")


def _person_or_end():
    """After a run of git: what a person has to do, or what came of it all."""
    return _stop() if _stopped() else _report()


def _stop():
    """Say where a person is needed, and what for."""
    state = _state()
    folder = _rebase_folder()
    number, total = ((folder / name).read_text().strip() for name in ("msgnum", "end"))
    commit = git.line("rev-parse", "-q", "--verify", "REBASE_HEAD", cwd=WORK)
    name = state["patches"].get(commit, "a commit of your own")
    topic, _, file = name.rpartition("/")
    subject = git.line("log", "-1", "--format=%s", commit or "HEAD", cwd=WORK)
    print(f"Stopped at patch {number} of {total}"
          + (f", in topic {topic}" if topic else "") + f":\n  {file}\n  \"{subject}\"")
    unmerged = _unmerged()
    if unmerged:
        print(table.render(("file in conflict", "what"),
                           [(path, _what(path, stages)) for path, stages in unmerged.items()]))
    print(f"""To settle it:
  - Edit the files in {SHOWN} (a removed file: git -C {SHOWN} rm FILE).
    The patch as it was: patches/{name}
    What changed below it: git -C {SHOWN} diff base {state['release'][:12]} -- FILE
  - Then: {COMMAND} --continue
  If QEMU {state['version']} has the change already: {COMMAND} --skip
  To give up, with all as it was before: {COMMAND} --abort""")
    return 1


def _what(path, stages):
    if stages == {1, 2, 3}:
        parts = len(re.findall(rb"^<<<<<<< ", (WORK / path).read_bytes(), re.M))
        return f"{parts} parts" if parts > 1 else "1 part" if parts else "changed by both"
    if stages == {1, 3}:
        return "the patch changes it, the release does not have it"
    if stages == {1, 2}:
        return "the patch removes it, the release changed it"
    return "added by both, or moved"


def _report():
    """The rebase is through: what came of each topic, and what comes next."""
    state = _state()
    if git.line("merge-base", "--is-ancestor", state["release"], state["branch"]) is None:
        raise WorkbenchError(f"The rebase to QEMU {state['version']} was interrupted before it "
                             f"began. Start it again after: {COMMAND} --abort")
    old, new = _ids(state["base"], state["tip"]), _ids(state["release"], state["branch"])
    rows, dropped = [], []
    for topic in dict.fromkeys(name.rpartition("/")[0] for name in state["patches"].values()):
        mine = [c for c, n in state["patches"].items() if n.rpartition("/")[0] == topic]
        left = [old[c][0] for c in mine if old[c][0] not in {s for s, _ in new.values()}]
        same = [c for c in mine if old[c] in new.values()]
        dropped += [(topic, subject) for subject in left]
        rows.append((topic or "-", len(mine), len(same), len(mine) - len(same) - len(left),
                     len(left)))
    print(table.render(("topic", "patches", "as before", "adapted", "left out"), rows))
    for topic, subject in dropped:
        print(f"left out, {topic or 'series'}: {subject}")
    print(f"""The series is on QEMU {state['version']} now, in {SHOWN}, branch {state['branch']}.
  - Read what changed: git -C {SHOWN} range-diff base..series {state['release'][:12]}..HEAD
  - Then: {COMMAND} --adopt
    It makes this branch the series of build/qemu and writes upstream.json. patches/ stay as they
    are until scripts/series export.
  To give up, with all as it was before: {COMMAND} --abort""")
    return 0


def adopt():
    """Make the rebased branch the series of build/qemu, and its release the base.

    What was there is kept as branch series-VERSION and tag base-VERSION of the old version. May
    be run again after it was interrupted. Raises WorkbenchError if something would be lost.
    """
    with tree.locked():
        state = _state()
        if _stopped():
            raise WorkbenchError("The rebase is not through yet. Go on with it: "
                                 f"{COMMAND} --continue")
        edits = git.run("status", "--porcelain", cwd=WORK, check=False) or ""
        if edits.strip():
            raise WorkbenchError(f"{SHOWN} has edits that are not committed:\n{edits}Commit "
                                 "them there, or throw them away, and run again.")
        new = git.run("rev-parse", f"refs/heads/{state['branch']}").strip()
        if tree.tip() not in (state["tip"], new) or tree.in_progress() or tree.uncommitted():
            raise WorkbenchError(
                "The branch series of build/qemu has changed since the rebase began. Take the "
                f"changes to {SHOWN} (git cherry-pick), then put series back: git -C "
                f"{paths.QEMU_SRC} reset --keep {state['tip'][:12]}")
        old = git.run("show", f"{state['base']}:VERSION").strip()
        tree.keep(f"refs/heads/series-{old}", state["tip"])
        tree.keep(f"refs/tags/base-{old}", state["base"])
        tree_id = git.run("rev-parse", f"{state['release']}^{{tree}}").strip()
        pins = source.pins_of(state["version"], state["name"], state["sha256"], tree_id)
        paths.UPSTREAM_JSON.write_text(json.dumps(pins, indent=2) + "\n", encoding="utf-8")
        _move_topics(state, new)
        tree.set_base(state["release"], new)
        git.run("worktree", "remove", "--force", WORK, check=False)
        shutil.rmtree(FOLDER, ignore_errors=True)
        git.run("worktree", "prune")
    print(f"""build/qemu has the series on QEMU {state['version']}; upstream.json says so. Next:
  1. scripts/build and scripts/test; mend in build/qemu, as for any change.
  2. scripts/series export, check and bisect; commit upstream.json, patches/ and the mirror.
  3. git grep {old}: texts that name the release.
To go back before the export: git checkout upstream.json, then in build/qemu:
git tag -f base base-{old} && git reset --hard series-{old}""")
    if not state["sha256"]:
        info("The release was taken from a source tree: put the sha256 of its tarball into "
             "upstream.json.")
    return 0


def _move_topics(state, new):
    """The branch of each topic goes to its last patch on the new base."""
    heads = {t.branch: t.name for t in topics.Topics.load()}
    subjects = {subject: commit for commit, (subject, _) in
                _ids(state["release"], new).items()}
    old = _ids(state["base"], state["tip"])
    last = state["release"]
    for branch, topic in heads.items():
        mine = [subjects[old[c][0]] for c, name in state["patches"].items()
                if name.startswith(f"{topic}/") and old[c][0] in subjects]
        last = mine[-1] if mine else last
        git.run("update-ref", f"refs/heads/{branch}", last)


def _ids(start_, end):
    """{commit: (subject, id of what it changes)} of a range, in order."""
    shown = git.run("log", "--reverse", "-p", "--no-ext-diff", "--full-index",
                    f"{start_}..{end}", binary=True)
    same = dict(reversed(line.split()) for line in git.run(
        "patch-id", "--stable", data=shown).splitlines())
    subjects = git.run("log", "--reverse", "--format=%H %s", f"{start_}..{end}")
    return {commit: (subject, same.get(commit)) for commit, _, subject in
            (line.partition(" ") for line in subjects.splitlines())}


def _commits(start_, end):
    return git.run("rev-list", "--reverse", f"{start_}..{end}").split()


def _state():
    try:
        return json.loads(STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkbenchError(f"No rebase is under way. Start one: {COMMAND} --onto "
                             "TARBALL|VERSION") from None


def _rebase_folder():
    if not (WORK / ".git").exists():
        raise WorkbenchError(f"{SHOWN} is missing. Give the rebase up: {COMMAND} --abort")
    return WORK / git.run("rev-parse", "--git-path", "rebase-merge", cwd=WORK).strip()


def _stopped():
    """True while git waits for a person."""
    return _rebase_folder().exists()


def _unmerged():
    """{path: set of stages} of the files in conflict."""
    found = {}
    for entry in _run("ls-files", "--unmerged", "-z").split("\0"):
        if entry:
            meta, path = entry.split("\t", 1)
            found.setdefault(path, set()).add(int(meta.split()[2]))
    return found


def _has_markers(path):
    with contextlib.suppress(OSError):
        return bool(MARKER.search((WORK / path).read_bytes()))
    return False


def _run(*args):
    return git.run(*args, cwd=WORK, config=CONFIG)


def _git(*args):
    """Run a git rebase up to its end or to where it stops for a person."""
    try:
        _run(*args)
    except WorkbenchError:
        if not _stopped():
            raise
