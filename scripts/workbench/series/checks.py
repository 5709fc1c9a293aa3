# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series check: patches, mirror and working branch agree, and the patches keep the rules.

Everything that needs only the patches is checked always. The rest needs the base source; without
it (build/qemu is not set up and no source is at hand) what was not checked is said.
"""

import fnmatch
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from ..system import paths
from ..ui.report import WorkbenchError, info, some, step, warn
from . import git, mirror, patches, stack, topiccheck, tree, upstream
from .topics import Topics

SUBJECT_LENGTH = 76
# checkpatch asks for a MAINTAINERS change whenever a file is added; maintainers() knows better.
IGNORED_TYPES = ("does MAINTAINERS need updating?",)


class Findings:
    """Errors and warnings of one run, shown as they come."""

    def __init__(self):
        self.errors = 0
        self.warnings = 0

    def error(self, text):
        """Something that must be mended."""
        self.errors += 1
        print(f"ERROR: {text}")

    def warning(self, text):
        """Something to look at."""
        self.warnings += 1
        print(f"WARNING: {text}")


def main(given=None, topic=None):
    """Run all checks, or those of one topic; returns the exit status."""
    found = Findings()
    series, listed = load(found)
    if topic is not None and listed is not None:
        listed.get(topic)
    if series is None or listed is None:
        what = "unreadable"
    elif topic is not None:
        what = check_topic(listed, series, topic, given, found)
    else:
        what = check_all(listed, series, given, found)
    print(f"series check: {what}, {found.errors} errors, {found.warnings} warnings")
    return 1 if found.errors else 0


def check_all(listed, series, given, found):
    """Everything; returns what was checked, in words."""
    check_headers(series, found)
    check_order(series, found)
    check_mirror(series, found)
    if have_base(given):
        if check_base(series, found):
            topiccheck.check_apart(listed, series, found)
        check_branch(found)
    else:
        print("NOT CHECKED, because the base source is not at hand (scripts/series setup "
              "finds it): that the patches apply, checkpatch, MAINTAINERS, the working "
              "branch.")
    return f"{len(series)} patches in {len(listed)} topics"


def check_topic(listed, series, name, given, found):
    """One topic by itself; returns what was checked, in words. Raises WorkbenchError without the
    base source."""
    if not have_base(given):
        raise WorkbenchError(f"Whether the topic {name} applies cannot be checked, because the "
                             "base source is not at hand. Run scripts/series setup first.")
    topic = series.of(name)
    where = topiccheck.describe(listed, series, name)
    check_headers(topic, found)
    step(f"Applying {name} on {where}")
    tip = topiccheck.apply_topic(listed, series, name, found)
    if tip is not None:
        check_maintainers(topic, tip, found)
    checkpatch(topic, found)
    return f"topic {name}, {len(topic)} patches on {where}"


def load(found):
    """(Series, Topics), each None if it cannot be read. Also: list and files agree."""
    listed = patches.names()
    for name in sorted(set(patches.files()) - set(listed)):
        found.error(f"patches/{name} is not listed in patches/series")
    if len(set(listed)) != len(listed):
        found.error("patches/series lists a patch twice")
    series = topics = None
    try:
        topics = Topics.load()
    except WorkbenchError as e:
        found.error(str(e))
    try:
        series = patches.Series.load()
        mirror.refuse_clashes(series.added())
    except WorkbenchError as e:
        found.error(str(e))
    if series is not None and topics is not None:
        topiccheck.check_folders(topics, series, found)
    return series, topics


def check_headers(series, found):
    """What each patch says about itself."""
    for patch in series.patches:
        where = f"patches/{patch.name}"
        if not patch.text.startswith(f"From {patches.ZERO} "):
            found.error(f"{where}: not written by scripts/series export")
        if patch.author != patches.AUTHOR:
            found.error(f"{where}: author is \"{patch.author}\", must be \"{patches.AUTHOR}\"")
        sign_off = re.search(r"^[\w-]+-by:.*", patch.message, re.M | re.I)
        if sign_off:
            found.error(f"{where}: \"{sign_off.group(0)}\": stored patches carry no trailer of "
                        "a person; scripts/series submit adds the submitter's")
        try:
            upstream.status(patch)
        except WorkbenchError as e:
            found.error(str(e))
        if not re.match(r"[\w/,. -]+: ", patch.subject) or patch.subject.endswith("."):
            found.error(f"{where}: subject \"{patch.subject}\" is not \"subsystem: summary\" "
                        "without a full stop")
        if len(patch.subject) > SUBJECT_LENGTH:
            found.warning(f"{where}: the subject has {len(patch.subject)} characters")
        body = patch.message.split("\n")[2:]
        if not "".join(body).strip():
            found.error(f"{where}: the message has no body")
        # What Fixes: quotes is not wrapped.
        if any(len(line) > SUBJECT_LENGTH and " " in line.strip()
               and not line.startswith((" ", "Fixes: ")) for line in body):
            found.warning(f"{where}: the message has lines over {SUBJECT_LENGTH} characters")
        if not patch.changes:
            found.error(f"{where}: changes nothing")


def check_order(series, found):
    """Each blob that a patch starts from is the one that the patches before it left."""
    left = {}
    for patch in series.patches:
        for change in patch.changes:
            before = left.get(change.path)
            if before is not None and change.old is not None and change.old != before:
                found.error(f"patches/{patch.name}: {change.path} starts from "
                            f"{change.old[:12]}, but the patches before leave {before[:12]}")
            if change.new is not None:
                left[change.path] = change.new


def check_mirror(series, found):
    """The mirror shows exactly what the patches add."""
    for path, what in mirror.state(series):
        found.error(f"mirror: {path}: {what} (edited in place: scripts/series absorb; "
                    "otherwise: scripts/series export)")


def have_base(given):
    """Have build/qemu if that takes no download. Returns False if it is not there."""
    if tree.exists():
        return True
    if not (given or os.environ.get("QEMU_BASE_SOURCE") or any(
            list(folder.glob("qemu[-_]*.tar.*")) for folder in (paths.CACHE, paths.USER_CACHE))):
        return False
    try:
        tree.setup(given, network=False)
    except WorkbenchError as e:
        # A series that does not apply is reported by check_base; build/qemu exists by then.
        if not tree.exists():
            warn(str(e))
    return tree.exists()


def check_base(series, found):
    """Everything that needs the base: pre-images, applying, the same bytes again, checkpatch.
    Returns whether the series applies."""
    listing = {}
    for entry in git.run("ls-tree", "-r", "-z", tree.BASE).split("\0"):
        if entry:
            meta, path = entry.split("\t", 1)
            listing[path] = meta.split()[2]
    if tree.differs():
        print(f"NOT CHECKED, because the base is QEMU {tree.base_version()}, in which "
              f"{len(tree.differs())} files that the series changes differ: that the series "
              "starts from the pinned release, and that an export gives the same bytes.")
    for path, blob in series.preimages().items() if not tree.differs() else ():
        if listing.get(path) != blob:
            found.error(f"base: {path} is {listing.get(path, 'missing')[:12]}, the series starts "
                        f"from {blob[:12]}")
    for path in series.absent() & set(listing):
        found.error(f"base: {path} exists, the series adds it")
    step(f"Applying {len(series)} patches on the pristine tree")
    with tree.temporary_worktree("check", series.touched()) as folder:
        try:
            tip = tree.apply(series, folder)
        except WorkbenchError as e:
            found.error(str(e))
            return False
    check_round_trip(series, tip, found)
    check_maintainers(series, tip, found)
    checkpatch(series, found)
    return True


def check_round_trip(series, tip, found):
    """Applied and exported again, the patches and the added files are the same bytes."""
    try:
        again = patches.format_topics(paths.QEMU_SRC, tree.BASE,
                                      stack.ends_of(series, tree.BASE, tip))
    except WorkbenchError as e:
        found.error(str(e))
        return
    difference = patches.same(again, series.texts(), other_base=bool(tree.differs()))
    if difference == "hunk headers" and not tree.differs():
        found.warning("an export by this version of git shows other function names after @@")
    elif difference not in ("", "hunk headers"):
        found.error(f"export after am: {difference}")
    real, said = ({path: blob for path, (blob, _) in added.items()}
                  for added in (tree.added(tip), series.added()))
    if real != said:
        odd = sorted(path for path in set(real) | set(said) if real.get(path) != said.get(path))
        found.error("added files of patches and tree differ: " + ", ".join(odd))


def check_branch(found):
    """Nothing in build/qemu that patches/ do not have."""
    if tree.in_progress():
        found.error(f"build/qemu: a git {tree.in_progress()} was left half done")
        return
    try:
        difference = tree.unexported()
    except WorkbenchError as e:
        difference = str(e)
    if difference not in ("", "hunk headers"):
        found.error(f"build/qemu and patches/ disagree: {difference} (scripts/series export "
                    "writes patches/ from build/qemu, setup the other way)")
    edits = tree.uncommitted()
    if edits:
        found.error(f"build/qemu has edits that are not committed: {some(edits)}")


def check_maintainers(series, tip, found):
    """Each added file is covered by an entry of MAINTAINERS other than the catch-all."""
    text = git.run("show", f"{tip}:MAINTAINERS", check=False)
    if text is None:
        info("this tree has no MAINTAINERS")
        return
    files = git.run("ls-tree", "-r", "--name-only", "-z", tip).split("\0")
    folders = {os.path.dirname(f) for f in files}
    for path in series.added():
        if not maintained(text, folders, path):
            found.error(f"{path} has no entry in MAINTAINERS")


def maintained(text, folders, path):
    """True when a section of MAINTAINERS (its text) with file patterns of its own covers path.

    By hand because get_maintainer.pl names people and always finds the general list; it does not
    say which section matched.
    """
    for section in re.split(r"\n\n+", text):
        wanted = [p for p in re.findall(r"^F: *(\S+)", section, re.M) if p not in ("*", "*/")]
        if any(_covers(folders, p, path) for p in wanted):
            excluded = re.findall(r"^X: *(\S+)", section, re.M)
            if not any(_covers(folders, p, path) for p in excluded):
                return True
    return False


def _covers(folders, pattern, path):
    if pattern.endswith("/") or pattern in folders:
        base = pattern.rstrip("/")
        depth = base.count("/") + 1
        start = "/".join(path.split("/")[:depth])
        return path.count("/") >= depth and fnmatch.fnmatchcase(start, base)
    return pattern.count("/") == path.count("/") and fnmatch.fnmatchcase(path, pattern)


def checkpatch(series, found):
    """QEMU's own style checker, on each patch."""
    script = paths.QEMU_SRC / "scripts/checkpatch.pl"
    if not script.exists():
        info("this tree has no checkpatch.pl")
        return
    if not shutil.which("codespell"):
        info("codespell is not installed: spelling is not checked")

    def one(patch):
        command = ["perl", str(script), "--no-signoff", "--no-summary", "--color=never", "-"]
        if shutil.which("codespell"):
            command.insert(2, "--codespell")
        done = subprocess.run(command, cwd=paths.QEMU_SRC, capture_output=True, check=False,
                              input=patch.text.encode("utf-8", "surrogateescape"),
                              env=git.environment())
        return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")

    step(f"Running checkpatch on {len(series)} patches")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for patch, out in zip(series.patches, pool.map(one, series.patches)):
            for report in re.split(r"\n\n+", out):
                match = re.search(r"^(ERROR|WARNING): (.*)", report, re.M)
                if not match or any(word in report for word in IGNORED_TYPES):
                    if "at " in report and ".pl line" in report:
                        found.error(f"checkpatch itself failed: {report.strip()}")
                    continue
                place = re.search(r"^(?:#\d+: )?FILE: (\S+?):?$", report, re.M)
                text = (f"checkpatch: {patch.name}: {match.group(2)}"
                        + (f" ({place.group(1)})" if place else ""))
                (found.error if match.group(1) == "ERROR" else found.warning)(text)
