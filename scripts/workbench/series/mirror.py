# SPDX-License-Identifier: GPL-2.0-or-later
"""The mirror: each file that the series adds, whole, at its QEMU path in the top folder."""

import difflib
import os
from pathlib import Path, PurePosixPath

from ..system import paths
from ..ui.report import WorkbenchError, info, some, step
from . import git, patches, stack, tree

# Top-level names of the project itself. QEMU's own folders are everything else.
OWN = {"scripts", "patches", "bench", "examples", "build", "README.md", "CONTRIBUTING.md",
       "COPYING", "upstream.json", "meson.build", "meson.options"}
# tests/ is shared: these folders of it are QEMU's.
QEMU_TESTS = {"data", "functional", "include", "migration-stress", "qapi-schema", "qemu-iotests",
              "qtest", "tcg", "unit", "vhost-user-bridge.c"}
# docs/ is shared: files with this ending that lie directly in it are the project's pages. QEMU
# writes its documentation in reStructuredText and has none of these.
PAGE = ".md"


def is_own(path):
    """True for a path (relative, text) that belongs to the project and never to the mirror."""
    parts = PurePosixPath(path).parts
    if parts[0].startswith(".") or parts[0] in OWN:
        return True
    if parts[0] == "docs":
        return len(parts) == 2 and parts[1].endswith(PAGE)
    return parts[0] == "tests" and (len(parts) < 3 or parts[1] not in QEMU_TESTS)


def refuse_clashes(added):
    """Raise WorkbenchError when an added file would need the place of a file of the project."""
    clashing = [path for path in added if is_own(path)]
    if clashing:
        raise WorkbenchError(
            "These files that the series adds cannot be mirrored, because the project has files "
            "of its own there: " + ", ".join(clashing) + ". Give them another place in QEMU; "
            "for tests: " + ", ".join(f"tests/{n}" for n in sorted(QEMU_TESTS) if "." not in n))


def content(path):
    """Bytes of a mirrored file as git would store them, or None when there is none."""
    file = paths.TOP / path
    if file.is_symlink():
        return os.readlink(file).encode()
    return file.read_bytes() if file.is_file() else None


def state(series):
    """How the mirror differs from what the patches say: list of (path, "missing" | "differs" |
    "mode differs" | "not in the series"). Needs only the patches."""
    wrong = []
    added = series.added()
    for path, (blob, mode) in added.items():
        data = content(path)
        if data is None:
            wrong.append((path, "missing"))
        elif git.blob_id(data) != blob:
            wrong.append((path, "differs"))
        elif mode != "120000" and os.access(paths.TOP / path, os.X_OK) != (mode == "100755"):
            wrong.append((path, "mode differs"))
    wrong += [(path, "not in the series") for path in sorted(present() - set(added))]
    return wrong


def present():
    """Paths below the top folder that lie where only mirrored files may be."""
    found = set()
    for entry in sorted(paths.TOP.iterdir()):
        if entry.name != "tests" and is_own(f"{entry.name}/x"):
            continue
        for folder, folders, files in os.walk(entry) if entry.is_dir() else ():
            folders[:] = [f for f in folders if f != "__pycache__"]
            for name in files:
                path = str((Path(folder) / name).relative_to(paths.TOP))
                if not is_own(path):
                    found.add(path)
    return found


def write(new, read):
    """Make the mirror show `new`, a {path: (blob, mode)}; read(blob) gives a blob's bytes.

    Raises WorkbenchError, before anything is written, when a file to be overwritten or removed
    was edited in place: its content is no blob that the stored or the new series knows.
    """
    refuse_clashes(new)
    try:
        known = patches.Series.load().blobs()
    except WorkbenchError:
        known = {}      # an export mends unreadable patches
    branch = _branch_blobs()
    edited = []
    for path in sorted(present() | set(new)):
        data = content(path)
        if data is None or (path in new and git.blob_id(data) == new[path][0]):
            continue
        if git.blob_id(data) not in known.get(path, set()) | branch.get(path, set()):
            edited.append(path)
    if edited:
        raise WorkbenchError(
            "These files of the mirror were edited in place or are new, and are not in the "
            "series: " + ", ".join(edited) + ".\nscripts/series absorb takes edits into the "
            "patches. To drop an edit: git checkout FILE. A new file is added in build/qemu.")
    for path in present() - set(new):
        (paths.TOP / path).unlink()
        _remove_empty(paths.TOP / path)
    for path, (blob, mode) in new.items():
        data = content(path)
        file = paths.TOP / path
        if data is None or git.blob_id(data) != blob:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.is_symlink() or mode == "120000":
                file.unlink(missing_ok=True)
            if mode == "120000":
                file.symlink_to(read(blob).decode())
                continue
            file.write_bytes(read(blob))
        if mode != "120000":
            file.chmod(0o755 if mode == "100755" else 0o644)


def _remove_empty(path):
    for folder in path.parents:
        if folder == paths.TOP or any(folder.iterdir()):
            return
        folder.rmdir()


def _branch_blobs():
    """{path: blob ids} of every file version that commits of the branch make."""
    known = {}
    out = git.run("log", "--raw", "--no-abbrev", "--no-renames", "--format=",
                  f"{tree.BASE}..{tree.BRANCH_REF}")
    for line in out.splitlines():
        meta, path = line.split("\t", 1)
        known.setdefault(path, set()).add(meta.split()[3])
    return known


def read_blob(blob):
    """Bytes of a blob of build/qemu."""
    return git.run("cat-file", "blob", blob, binary=True)


def export():
    """Write patches/ and the mirror from the branches. Returns what there is, in words.

    Raises WorkbenchError when a mirrored file has edits that would be lost, and when the branches
    of the topics do not cut the series as stack.ends() wants it.
    """
    with tree.locked():
        _need_tree()
        tree.need_exact("The export")
        if tree.in_progress():
            raise WorkbenchError(f"A git {tree.in_progress()} was left half done in build/qemu. "
                                 "Finish it or abort it first.")
        ends = tree.ends()
        texts = patches.format_topics(paths.QEMU_SRC, tree.BASE, ends)
        new = tree.added(tree.BRANCH_REF)
        refuse_clashes(new)
        # The mirror first: it can refuse.
        write(new, read_blob)
        written, removed = patches.write(texts)
        tree.synced(ends)
        for name in written:
            info(f"wrote patches/{name}")
        for name in removed:
            info(f"removed patches/{name}")
        edits = tree.uncommitted()
        if edits:
            info(f"not exported, because not committed in build/qemu: {some(edits)}")
        return f"{len(texts)} patches in {len(ends)} topics"


def _need_tree():
    if not tree.exists():
        raise WorkbenchError("build/qemu does not exist yet. Run: scripts/series setup")


def absorb():
    """Take edits of mirrored files into the commits that own the lines; returns the paths.

    Raises WorkbenchError, and changes nothing, when the branch and patches/ disagree, when a file
    was added, removed or made executable, and when an edit conflicts with a later patch.
    """
    with tree.locked():
        _need_tree()
        tree.need_exact("Taking edits into the patches")
        series = patches.Series.load()
        difference = tree.unexported()
        if difference not in ("", "hunk headers"):
            raise WorkbenchError(f"build/qemu and patches/ differ: {difference}. Run scripts/"
                                 "series export (keeps build/qemu) or setup first.")
        edits = tree.uncommitted()
        if edits:
            raise WorkbenchError(f"build/qemu has edits that are not committed: {some(edits)}. "
                                 "Commit them first.")
        edited = _edited(series)
        if not edited:
            return []
        step("Absorbing " + ", ".join(edited))
        with tree.temporary_worktree("absorb", series.touched(), tree.BRANCH_REF) as folder:
            for path in edited:
                _fixups(folder, path)
            try:
                # The branches of the topics follow below, when all is well.
                git.run("rebase", "-q", "-i", "--autosquash", "--committer-date-is-author-date",
                        "--keep-empty", tree.BASE, cwd=folder,
                        config={**tree.SPARSE, "rebase.updateRefs": "false"})
            except WorkbenchError as e:
                git.run("rebase", "--abort", cwd=folder, config=tree.SPARSE, check=False)
                raise WorkbenchError(
                    "The edits do not fit into the patches that own the lines, because a later "
                    f"patch changes the same lines:\n{e}\nNothing was changed. Make the change "
                    f"in build/qemu: git -C {paths.QEMU_SRC} rebase -i base") from e
            new = git.run("rev-parse", "HEAD", cwd=folder).strip()
        for path in edited:
            if git.run("cat-file", "blob", f"{new}:{path}", binary=True) != content(path):
                raise WorkbenchError(f"{path} did not come out as edited; nothing was changed.")
        old = tree.tip()
        git.run("reset", "-q", "--hard", new)
        stack.carry(old, new, tree.BASE)
        return edited


def _edited(series):
    wrong = state(series)
    other = [f"{path} ({what})" for path, what in wrong if what != "differs"]
    if other:
        raise WorkbenchError(
            "Only edits of existing files can be absorbed, but: " + ", ".join(other)
            + ". Files are added, removed and made executable in build/qemu, by a commit there.")
    return [path for path, _ in wrong]


def _fixups(folder, path):
    """Commit the edit of one file as fixups, one for each commit that owns lines of it."""
    old = git.run("show", f"HEAD:{path}", cwd=folder, binary=True).splitlines(keepends=True)
    new = content(path).splitlines(keepends=True)
    # One matcher over whole lines decides both the owners and the partial contents, so the sum
    # of the fixups is the edit, which a patch tool with shifting offsets would not promise.
    changes = [c for c in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
               if c[0] != "equal"]
    blame = _blame(folder, path)
    commits = git.run("rev-list", "--reverse", f"{tree.BASE}..HEAD", cwd=folder).split()
    rank = {commit: i for i, commit in enumerate(commits)}
    owned = {}
    for change in changes:
        _, start, end, _, _ = change
        # An insertion belongs to the younger of its neighbours.
        lines = blame[start:end] if end > start else blame[max(start - 1, 0):start + 1]
        owner = max(lines, key=lambda c: rank.get(c, -1), default=None)
        if owner not in rank:
            owner = commits[min(patches.Series.load().owners(path))]
        owned.setdefault(owner, []).append(change)
    applied = []
    for owner in sorted(owned, key=rank.get):
        applied = sorted(applied + owned[owner], key=lambda c: (c[1], c[2]))
        (folder / path).write_bytes(b"".join(_merge(old, new, applied)))
        git.run("add", "--", path, cwd=folder, config=tree.SPARSE)
        git.run("commit", "-q", "--no-verify", f"--fixup={owner}", cwd=folder,
                config=tree.SPARSE)


def _merge(old, new, changes):
    at = 0
    for _, start, end, new_start, new_end in changes:
        yield from old[at:start]
        yield from new[new_start:new_end]
        at = end
    yield from old[at:]


def _blame(folder, path):
    """Commit id of each line."""
    out = git.run("blame", "--porcelain", "HEAD", "--", path, cwd=folder)
    ids, current = [], None
    for line in out.splitlines():
        word = line.split(" ", 1)[0]
        if line.startswith("\t"):
            ids.append(current)
        elif len(word) == 40 and all(c in "0123456789abcdef" for c in word):
            current = word
    return ids
