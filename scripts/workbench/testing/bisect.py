# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series bisect: every patch, in order, builds and passes the tests that exist there.

Either all of the series on the base, or those of one topic on the base and what the topic needs.
Results are kept by tree id: a patch whose tree did not change is not built again.
"""

import hashlib
import json
import time

from ..build import cross, emulators
from ..series import git, patches, tree
from ..series.topics import Topics
from ..system import atomic, host, paths, tools
from ..ui.report import WorkbenchError, duration, info, step, warn
from . import qtests

# A patch that touches these may change ACPI tables.
TABLES = ("hw/acpi/", "hw/arm/", "include/hw/acpi/", "include/hw/arm/", "tests/data/acpi/",
          "tests/qtest/bios-tables-test")
# The patches of all topics have the files that include widely used headers built about thirty times:
# without optimization and debug information, that takes half as long. Warnings of what may be used
# uninitialized come when the whole series is built. (With -O1, QEMU itself has some.)
FASTER = ("-Doptimization=0", "--disable-debug-info")
OPTIONS = emulators.OPTIONS + FASTER
CROSS_OPTIONS = cross.OPTIONS + FASTER


def main(quick=False, start=1, again=False, topic=None):
    """Build (and unless quick, test) each commit of the branch from number `start` on, or, with
    the name of a topic, each patch of it on just what it needs.

    again: ignore kept results. Returns the exit status; stops at the first failure. Raises
    WorkbenchError if there is no patch `start`, or nothing can be built.
    """
    host.require("series", "build")
    tools.ensure()
    tree.ensure()
    commits = topic_commits(topic) if topic else _commits(tree.BRANCH_REF)
    what = f"topic {topic}" if topic else "the series"
    if start < 1 or (commits and start > len(commits)):
        raise WorkbenchError(f"--from {start}: {what} has the patches 1 to {len(commits)}.")
    results = {} if again else load()
    done, fresh, failed = 0, 0, None
    for number, commit in enumerate(commits[start - 1:], start):
        subject = git.run("log", "-1", "--format=%s", commit).strip()
        key = key_of(commit)
        kept = results.get(key)
        if kept and (quick or kept["tests"] is not None):
            print(f"{number:3} {verdict(kept):24} (kept)  {subject}", flush=True)
            done += 1
            continue
        step(f"Patch {number} of {len(commits)}: {subject}")
        began = time.monotonic()
        try:
            result = one(commit, quick)
        except WorkbenchError as e:
            warn(str(e))
            failed = number
            print(f"{number:3} {'FAILED':24}         {subject}", flush=True)
            break
        results[key] = result
        save(results)
        done, fresh = done + 1, fresh + 1
        print(f"{number:3} {verdict(result):24} {duration(time.monotonic() - began):>8}"
              f"  {subject}", flush=True)
    print(f"series bisect: {what}: {done} of {len(commits) - start + 1} patches good, {fresh} of "
          "them built now" + (f"; patch {failed} is bad" if failed else ""))
    return 1 if failed else 0


def _commits(tip):
    return git.run("rev-list", "--reverse", f"{tree.BASE}..{tip}").split()


def topic_commits(name):
    """Commits of the topic on the base and what it needs, first one first. Raises WorkbenchError
    if it does not apply there.

    No branch has them: they last as long as git keeps what nothing refers to, which is two weeks.
    """
    listed = Topics.load()
    needed = listed.needed(name)
    with tree.locked():
        part = patches.Series.parse(tree.texts()).of(*needed, name)
        step("Applying " + ", ".join([*needed, name]) + " on the base")
        with tree.temporary_worktree("bisect", part.touched()) as folder:
            tip = tree.apply(part, folder)
    return _commits(tip)[len(part.of(*needed)):]


def verdict(result):
    """A result in a few words."""
    if result["tests"] is None:
        return "builds"
    return f"builds, {len(result['tests'])} tests pass"


def one(commit, quick):
    """Build and test one commit; returns its result. Raises WorkbenchError when it is bad."""
    with tree.locked():
        tree.worktree(paths.BISECT_SRC, commit)
    emulators.configure_and_make(paths.BISECT_SRC, paths.BISECT_BUILD, name="bisect",
                                 options=OPTIONS)
    changed = _changed(commit)
    if _needs_arm64(changed):
        cross.make(paths.BISECT_SRC, paths.BISECT_ARM64, ["qemu-system-aarch64"],
                   "bisect-cross", CROSS_OPTIONS)
    if quick:
        return {"commit": commit, "tests": None}
    tables = any(path.startswith(TABLES) for path in changed)
    if tables and not emulators.built("pristine"):
        emulators.build("pristine", ["qemu-system-aarch64", "qemu-img"])
    names = qtests.related(paths.BISECT_BUILD, paths.BISECT_SRC, complete=False)
    found = qtests.run(paths.BISECT_BUILD, paths.BISECT_SRC, names, "bisect", tables)
    bad = [f"{r.name}: {r.status}: {', '.join(sorted(r.failed))}\n{r.output[-2000:]}"
           for r in found.values() if r.status not in ("OK", "SKIP")]
    bad += [f"{r.name}: the series adds this test and skips {', '.join(skipped)}"
            for r in found.values() for skipped in [qtests.own_skips(r, paths.BISECT_SRC)]
            if skipped]
    if bad:
        raise WorkbenchError("\n".join(bad))
    for result in found.values():
        if result.status == "SKIP":
            info(f"{result.name} was skipped")
    return {"commit": commit, "tests": {r.name: r.status for r in found.values()}}


def _changed(commit):
    return git.run("diff", "--name-only", f"{commit}^", commit).split("\n")


def _needs_arm64(changed):
    """Whether the files CHANGED have code that is compiled only for Arm hosts, and this is none."""
    return cross.needed() and any("kvm" in path for path in changed)


def key_of(commit):
    """Tree and build options: what a result depends on."""
    tree_id = git.run("rev-parse", f"{commit}^{{tree}}").strip()
    builds = (OPTIONS, qtests.RELATED)
    if _needs_arm64(_changed(commit)):
        builds += (CROSS_OPTIONS,)
    options = hashlib.sha256(repr(builds).encode()).hexdigest()[:12]
    return f"{tree_id}-{options}"


def load():
    """Results of earlier runs; none if there are no readable ones."""
    try:
        return json.loads(paths.BISECT_RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def save(results):
    """Keep results, also when the run is interrupted afterwards."""
    atomic.write_if_changed(paths.BISECT_RESULTS, json.dumps(results, indent=1).encode())
