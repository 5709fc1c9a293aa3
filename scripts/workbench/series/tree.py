# SPDX-License-Identifier: GPL-2.0-or-later
"""build/qemu: the git repository with the base (tag), the series (branch) and the last commit of
each topic (branches), and its worktrees."""

import contextlib
import os
import shutil

from ..system import lock, paths
from ..ui.report import WorkbenchError, info, some, step, warn
from . import git, patches, source, stack, topics

# Full names: a user may have branches of any name.
BASE = "refs/tags/base"
BRANCH = "series"
BRANCH_REF = f"refs/heads/{BRANCH}"
# Where the branch stood when it last agreed with patches/. A branch that stands there has no work
# that exists nowhere else.
SYNCED = "refs/workbench/synced"

# Fixed, so that everyone's commits have the same ids.
DATE = "2026-01-01T00:00:00Z"
DATES = {"GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}
SPARSE = {"core.sparseCheckout": "true"}
# In the git configuration of build/qemu: the version that upstream.json pinned when the base was
# taken, and the files in which the base differs from that release and that the series changes.
PINNED, DIFFERS = "workbench.pinned", "workbench.differs"
EXCLUDE = "/pc-bios/edk2-*.fd.bz2"


class OwnWork(WorkbenchError):
    """build/qemu has work that is not in patches/; the text says how to keep it or drop it."""


class DoesNotApply(WorkbenchError):
    """`git am` has refused a patch; number: how many before it were applied."""

    def __init__(self, patch, number, words):
        # Without git's advice for a worktree that is gone.
        lines = [line for line in str(words).splitlines() if line.startswith("error: ")]
        super().__init__(f"The patch {patch.name} does not apply on the {number} before it.\n"
                         + ("\n".join(lines) or str(words)))
        self.patch = patch


def exists():
    """True when build/qemu has been set up."""
    return (paths.QEMU_SRC / ".git").exists() and \
        git.line("rev-parse", "-q", "--verify", f"{BASE}^{{commit}}") is not None


def tip():
    """Commit id of the branch."""
    return git.run("rev-parse", BRANCH_REF).strip()


def uncommitted():
    """Paths in build/qemu that differ from the branch, untracked ones included."""
    out = git.run("status", "--porcelain", "--untracked-files=all", "-z")
    return [entry[3:] for entry in out.split("\0") if len(entry) > 3]


def ends():
    """[(name of a topic, its last commit)]; see stack.ends()."""
    return stack.ends(topics.Topics.load(), BASE, BRANCH_REF)


def texts():
    """{file name: text} of the patches that the branches say."""
    return patches.format_topics(paths.QEMU_SRC, BASE, ends())


def unexported():
    """What of the branches is not in patches/: "" when they say the same."""
    return patches.same(texts(), patches.Series.load().texts(), other_base=bool(differs()))


def base_version():
    """The version of QEMU that the base is."""
    return git.run("show", f"{BASE}:VERSION").strip()


def differs():
    """Files that the series changes and that are others in the base than in the pinned release;
    empty if patches/ can be written from this base."""
    return (git.line("config", "--get", DIFFERS) or "").split()


def need_exact(what):
    """Raise WorkbenchError if the base is not what patches/ are written against."""
    if differs():
        pinned = git.line("config", "--get", PINNED)
        raise WorkbenchError(
            f"{what} needs QEMU {pinned} as the base, but build/qemu has {base_version()}, in "
            f"which {some(differs(), 5)} differ{'s' if len(differs()) == 1 else ''}. With the "
            f"tarball of {pinned} at hand: move build/qemu away, then scripts/series setup "
            f"--source TARBALL. To take the series to {base_version()}: scripts/series rebase "
            f"--onto {base_version()}.")


def added(commit):
    """{path: (blob, mode)} of the files that COMMIT has and the base not."""
    out = git.run("diff", "--raw", "--no-abbrev", "--no-renames", "--diff-filter=A", BASE, commit)
    found = {}
    for line in out.splitlines():
        meta, path = line.split("\t", 1)
        _, mode, _, blob, _ = meta.split()
        found[path] = (blob, mode)
    return found


def keep(ref, commit):
    """Keep a commit under ref, or under ref-2 and so on if that is another commit already."""
    name, number = ref, 2
    while (there := git.line("rev-parse", "-q", "--verify", f"{name}^{{commit}}")) != commit:
        if there is None:
            git.run("update-ref", name, commit)
            return
        name, number = f"{ref}-{number}", number + 1


def set_base(base, new):
    """Make the commit base the base, and new, which is on it, the series. No work may be open."""
    git.run("update-ref", BASE, base)
    git.run("reset", "-q", "--hard", new)
    git.run("config", PINNED, source.upstream()["version"])
    git.run("config", "--unset-all", DIFFERS, check=False)


def in_progress():
    """Name of a git operation that was left half done in build/qemu, or ''."""
    for entry, name in (("rebase-merge", "rebase"), ("rebase-apply", "am"),
                        ("CHERRY_PICK_HEAD", "cherry-pick"), ("MERGE_HEAD", "merge")):
        if (paths.QEMU_SRC / ".git" / entry).exists():
            return name
    return ""


def locked():
    """One process at a time may change build/qemu."""
    paths.BUILD.mkdir(exist_ok=True)
    return lock.held(paths.BUILD / ".qemu.lock",
                     "waiting for another run that works on build/qemu")


def setup(given=None, discard=False, network=True):
    """Have build/qemu with the base and the series of patches/.

    Does nothing when that is so. Takes up changed patches when the branch has no work of its own.
    given, network: see source.obtain(). discard: throw away commits and edits in build/qemu.
    Raises WorkbenchError, among others when there is work that would be lost.
    """
    with locked():
        if not exists():
            _create(given, network)
        elif given:
            info("build/qemu is there already; the given source is not needed. To start anew "
                 "from it, delete build/qemu.")
        git.run("worktree", "prune")
        # A rebase of the branch takes the branches of the topics along.
        git.run("config", "rebase.updateRefs", "true")
        _stand_ins(paths.QEMU_SRC)
        _pull_base(given, network)
        _refresh(discard)
        if base_version() != source.upstream()["version"]:
            info(f"The base is QEMU {base_version()} instead of {source.upstream()['version']}: "
                 "results may differ from those of the project's tests.")


def ensure(given=None):
    """Like setup(), but work in build/qemu that is not exported stays and is used as it is.

    For commands that build or test what is there.
    """
    try:
        setup(given)
    except OwnWork as e:
        info(f"build/qemu is used as it is: {str(e).splitlines()[0]}")


def _create(given, network):
    partial = paths.BUILD / "qemu.new"
    shutil.rmtree(partial, ignore_errors=True)
    if paths.QEMU_SRC.exists():
        if any(paths.QEMU_SRC.iterdir()):
            raise WorkbenchError(
                f"{paths.QEMU_SRC} exists but has no tag \"base\", so it was not made by "
                "scripts/series setup. Move it away and run again.")
        paths.QEMU_SRC.rmdir()
    series = patches.Series.load()
    base = source.obtain(partial, series, given, network)
    step("Making the git repository build/qemu")
    make_repository(partial, base)
    tree = git.run("rev-parse", f"{BASE}^{{tree}}", cwd=partial).strip()
    pinned = source.upstream()["trees"]
    name = os.path.basename(base.origin)
    if base.exact and name in pinned and tree != pinned[name]:
        raise WorkbenchError(
            f"{base.origin} has the pinned sha256, but its unpacked tree has the id {tree} "
            f"instead of {pinned[name]}. Something changed files while they were unpacked, "
            "for instance a file system that ignores upper and lower case.")
    _say(base, tree in pinned.values())
    # From here the base is complete; an interrupted run continues with the patches.
    os.replace(partial, paths.QEMU_SRC)


def _say(base, pinned_tree):
    """Say which source was taken, and why it will do, if it is not just the pinned one."""
    pinned = source.upstream()["version"]
    if base.differs:
        warn(f"Taken: QEMU {base.version} from {base.origin}, not {pinned}. All patches apply to "
             f"it as they are, but {len(base.differs)} of the files that they change differ: "
             f"{some(base.differs, 5)}. Results may differ from those with {pinned}; "
             "scripts/series export and part of check are not possible with this base.")
    elif base.version != pinned:
        warn(f"Taken: QEMU {base.version} from {base.origin}, not {pinned}. Every file that the "
             f"series changes is the same. Results may differ from those with {pinned}.")
    elif not pinned_tree:
        info(f"Taken: QEMU {base.version} from {base.origin}, which is not one of the pinned "
             "files, or was unpacked otherwise. Every file that the series changes is the same.")


def _pull_base(given, network):
    """Take up another release that upstream.json names since build/qemu was made (a pull)."""
    wanted, old = source.upstream()["version"], base_version()
    pinned = git.line("config", "--get", PINNED) or old
    if wanted in (pinned, old):
        return
    before = git.run("rev-parse", f"{BASE}^{{commit}}").strip()
    if in_progress() or uncommitted() or \
            tip() not in (git.line("rev-parse", "-q", "--verify", SYNCED), before):
        raise OwnWork(f"upstream.json names QEMU {wanted}, build/qemu is on {old} and has work "
                      "that is not in patches/. Keep it in a branch (git branch mine), then: "
                      "scripts/series setup --discard")
    step(f"Replacing the base QEMU {old} with {wanted}")
    with git.temporary("base") as folder:
        base = source.obtain(folder / "qemu", patches.Series.load(), given, network)
        commit = commit_tree(base.tree, f"QEMU {base.version}")
    keep(f"refs/tags/base-{old}", before)
    keep(f"refs/heads/series-{old}", tip())
    set_base(commit, commit)
    git.run("update-ref", SYNCED, commit)
    if base.differs:
        git.run("config", DIFFERS, " ".join(base.differs))
    _say(base, False)


def commit_tree(folder, message):
    """A commit of build/qemu without parents that holds the files of a folder; returns its id."""
    with git.temporary("index") as temporary:
        env = {"GIT_DIR": str(paths.QEMU_SRC / ".git"), "GIT_WORK_TREE": str(folder),
               "GIT_INDEX_FILE": str(temporary / "index")}
        # All that was shipped: QEMU's own .gitignore hides some of it.
        git.run("add", "-Af", cwd=folder, env=env)
        tree_id = git.run("write-tree", cwd=folder, env=env).strip()
    return git.run("commit-tree", "-m", message, tree_id, env=DATES).strip()


def make_repository(folder, base):
    """Make a git repository with tag base and branch series of an unpacked tree, in place."""
    git.run("init", "-q", "-b", BRANCH, cwd=folder)
    for name, value in (("user.name", git.NAME), ("user.email", git.EMAIL),
                        ("gc.auto", "0"), ("core.hooksPath", "/dev/null")):
        git.run("config", name, value, cwd=folder)
    # All that was shipped: QEMU's own .gitignore hides some of it.
    git.run("add", "-Af", cwd=folder)
    git.run("commit", "-q", "--no-verify", "-m", f"QEMU {base.version}", cwd=folder,
            env=DATES)
    git.run("update-ref", BASE, "HEAD", cwd=folder)
    git.run("update-ref", SYNCED, BASE, cwd=folder)
    git.run("config", PINNED, source.upstream()["version"], cwd=folder)
    if base.differs:
        git.run("config", DIFFERS, " ".join(base.differs), cwd=folder)


def _stand_ins(folder):
    if source.add_stand_ins(folder):
        info("empty stand-ins made for firmware images that the tarball lacks")
    # Shared by all worktrees of the repository.
    exclude = paths.QEMU_SRC / ".git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    text = exclude.read_text(encoding="utf-8") if exclude.exists() else ""
    if EXCLUDE not in text.splitlines():
        exclude.write_text(text + EXCLUDE + "\n", encoding="utf-8")


def _refresh(discard):
    """Bring the branch to what patches/ say, if nothing is lost by that."""
    busy = in_progress()
    if busy and not discard:
        raise OwnWork(
            f"A git {busy} was left half done in build/qemu. Finish it, or give it up with "
            f"git -C {paths.QEMU_SRC} {busy} --abort, and run again.")
    head = git.line("symbolic-ref", "-q", "--short", "HEAD")
    if head != BRANCH and not discard:
        raise OwnWork(f"build/qemu is not on its branch \"{BRANCH}\" but on "
                      f"{head or 'a detached HEAD'}. Go back: "
                      f"git -C {paths.QEMU_SRC} switch {BRANCH}")
    series = patches.Series.load()
    if not discard:
        try:
            places = stack.ends_of(series, BASE, BRANCH_REF)
            difference = "the number of patches" if places is None else patches.same(
                patches.format_topics(paths.QEMU_SRC, BASE, places), series.texts(),
                other_base=bool(differs()))
        except WorkbenchError as e:
            raise OwnWork(str(e)) from e
        moved = stack.moved(series.topics())
        if difference in ("", "hunk headers"):
            there = stack.branches()
            odd = [name for name, commit in places if name in moved and there[name] != commit]
            if odd:
                raise OwnWork(
                    "These branches end elsewhere than the topics in patches/: "
                    + ", ".join(f"topic/{name}" for name in odd) + "." + _ways_out())
            synced(places)
            return
        if moved or tip() not in (git.line("rev-parse", "-q", "--verify", SYNCED),
                                  git.line("rev-parse", BASE)):
            raise OwnWork("build/qemu has commits that are not in patches/, or patches/ changed "
                          f"since: {difference}." + _ways_out())
        edits = uncommitted()
        if edits:
            raise OwnWork(
                f"patches/ changed, but build/qemu has edits that are not committed: {some(edits)}"
                ".\nCommit them and export, or throw them away with "
                "scripts/series setup --discard.")
    step(f"Applying the series ({len(series)} patches)")
    with temporary_worktree("apply", series.touched()) as folder:
        new = apply(series, folder)
    if discard:
        for name in ("rebase-merge", "rebase-apply"):
            shutil.rmtree(paths.QEMU_SRC / ".git" / name, ignore_errors=True)
        git.run("symbolic-ref", "HEAD", BRANCH_REF)
        git.run("clean", "-qfd")
    # Only files that differ are written: the next build compiles no more than it must.
    git.run("reset", "-q", "--hard", new)
    synced(stack.ends_of(series, BASE, new))


def _ways_out():
    return ("\nTo keep what build/qemu has: scripts/series export (it writes patches/ from it).\n"
            f"To keep both: git -C {paths.QEMU_SRC} branch mine {BRANCH}, then the next.\n"
            "To take what patches/ have: scripts/series setup --discard")


def synced(places):
    """Note that the branches agree with patches/; places: [(name, last commit)] of the topics."""
    git.run("update-ref", SYNCED, BRANCH_REF)
    stack.settle(places)


def apply(series, folder):
    """`git am` of the series in a temporary worktree, without 3-way merge and without fuzz.

    Returns the id of the last commit; ids depend on the patches alone. Raises DoesNotApply when
    a patch does not; all that were applied are undone then.
    """
    if not len(series):
        return git.run("rev-parse", "HEAD", cwd=folder).strip()
    with git.temporary("am") as store:
        files = patches.copy_to(store / "patches", series)
        try:
            git.run("am", "-q", "--no-3way", "--keep-cr", "--no-scissors", "--whitespace=nowarn",
                    "--committer-date-is-author-date", "--no-gpg-sign", *files, cwd=folder,
                    config=SPARSE)
        except WorkbenchError as e:
            done = int(git.run("rev-list", "--count", f"{BASE}..HEAD", cwd=folder))
            git.run("am", "--abort", cwd=folder, config=SPARSE, check=False)
            if done == len(series):
                raise
            raise DoesNotApply(series.patches[done], done, e) from e
    return git.run("rev-parse", "HEAD", cwd=folder).strip()


@contextlib.contextmanager
def temporary_worktree(name, touched, commit=BASE):
    """A detached worktree of build/qemu with only the files named in `touched`, removed at the
    end; yields its folder. Run git in it with config=SPARSE.

    QEMU has more than ten thousand files; writing them all takes longer than what is done here.
    """
    with git.temporary(name) as folder:
        folder = folder / "qemu"
        git.run("worktree", "add", "-q", "--detach", "--no-checkout", folder, commit)
        try:
            selection = git.run("rev-parse", "--git-path", "info/sparse-checkout", cwd=folder)
            selection = folder / selection.strip()
            selection.parent.mkdir(exist_ok=True)
            selection.write_text("".join(f"/{p}\n" for p in sorted(touched)) or "/VERSION\n",
                                 encoding="utf-8")
            git.run("read-tree", "-mu", "HEAD", cwd=folder, config=SPARSE)
            yield folder
        finally:
            git.run("worktree", "remove", "--force", folder, check=False)
            git.run("worktree", "prune", check=False)


def have_base():
    """Have the pristine source in paths.BASE_SRC."""
    with locked():
        worktree(paths.BASE_SRC, BASE)


def worktree(folder, commit):
    """Have a lasting detached worktree at a commit, with the stand-ins. Returns True if it was
    moved or made. Files that are the same keep their time stamps."""
    new = git.run("rev-parse", f"{commit}^{{commit}}").strip()
    current = git.line("rev-parse", "HEAD", cwd=folder) if (folder / ".git").exists() else None
    if current is None:
        # Not there, or the whole repository was moved and its links are stale.
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        git.run("worktree", "prune")
        git.run("worktree", "add", "-q", "--force", "--detach", folder, new)
    elif current != new or git.run("status", "--porcelain", cwd=folder).strip():
        git.run("reset", "-q", "--hard", new, cwd=folder)
        git.run("clean", "-qfd", cwd=folder)
    source.add_stand_ins(folder)
    return current != new
