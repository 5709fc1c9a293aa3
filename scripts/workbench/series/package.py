# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series package: the series for distribution packages, which apply it with patch(1).

patch(1) cannot apply the binary parts of git patches. They are expected ACPI tables, needed by
QEMU's bios-tables-test alone: they are left out of the patches and put beside them as files.

Debian's patches get the fields of DEP-3. RPM has all patches in one folder, so that a topic's name
is there a part of the file's.
"""

import os
import shutil
import subprocess
from pathlib import Path

from ..system import host, paths
from ..ui.report import WorkbenchError, info
from . import dep3, git, patches, source, tree
from .output import refuse_others
from .topics import Topics

FOLDER = "virt-hotplug"     # below debian/patches
# The folders that are written.
PARTS = ("debian", "rpm", "files")


def main(args):
    """Write the package files. args: topic, a list of names or None for all, output and first of
    the command line. Raises WorkbenchError."""
    host.require("series")
    topics = Topics.load()
    wanted = set(args.topic or topics.names())
    wanted.update(topics.needed(*wanted))
    tree.setup()
    series = patches.Series.load().of(*wanted)
    output = Path(args.output) if args.output else paths.BUILD / "package"
    _check_output(output)
    texts, binary = plain(series)
    if args.topic:
        info("Topics: " + ", ".join(series.topics()))
    if shutil.which("patch"):
        verify(series, texts, binary)
    else:
        info("patch is not installed: that the files apply with it was not tried")
    for name in PARTS:
        shutil.rmtree(output / name, ignore_errors=True)
    values = {p.name: dep3.fields(p, topics.get(p.topic)) for p in series.patches}
    write(output, texts, values, binary, args.first)
    print(f"{len(texts)} patches in {output}/debian/patches (quilt) and {output}/rpm.")
    if len(texts) != len(series):
        info(f"{len(series) - len(texts)} patches have only binary parts and are left out")
    if binary:
        info(f"{len(binary)} binary files, for those who run bios-tables-test: {output}/files. "
             "Copy them over the source tree before the tests: cp -a files/. QEMU-SOURCE/")
    info("Debian: copy debian/patches, and append its series to that of the package.")
    info("RPM: add rpm/*.patch as sources and include rpm/patches.inc in the spec file; "
         "%autosetup -p1 applies them. %autosetup -S git_am can apply binary parts, too: then use "
         "the files of patches/ instead, under the names that they have in rpm/.")


def _check_output(output):
    """Raise WorkbenchError unless all in the folder OUTPUT, if it exists, was written by an earlier
    run: it is replaced."""
    for folder, mine in (("", PARTS), ("debian", ("patches",)),
                         ("debian/patches", ("series", FOLDER))):
        refuse_others(output / folder, mine.__contains__)


def plain(series):
    """({name: text} without binary parts, {path: blob} of the files that they make).

    A patch with nothing but binary parts is left out. New empty files count as binary: not every
    tool makes them.
    """
    texts, binary = {}, {}
    final = {}
    for patch in series.patches:
        keep = [c for c in patch.changes if not (c.binary or _empty(c))]
        for change in patch.changes:
            if change.new is not None:
                final[change.path] = change.new
            if change.binary or _empty(change):
                binary[change.path] = change.new
        if len(keep) == len(patch.changes):
            texts[patch.name] = patch.text
        elif keep:
            head = patch.text.split("\ndiff --git ", 1)[0]
            texts[patch.name] = head + "\n" + "".join(c.text for c in keep)
    return texts, {path: final[path] for path in binary}


def _empty(change):
    """True for the birth or death of an empty file: there is nothing for patch(1) to apply."""
    return "\n@@ " not in change.text and change.old is not None and change.old != change.new


def verify(series, texts, binary):
    """Apply the texts with patch(1), without fuzz, and compare with what git makes of them.

    Raises WorkbenchError when one does not apply, or the results differ.
    """
    with git.temporary("package") as folder, \
            tree.temporary_worktree("package-git", series.touched()) as reference:
        target = folder / "source"
        shutil.copytree(reference, target, ignore=shutil.ignore_patterns(".git"))
        tree.apply(series, reference)
        for name, text in texts.items():
            done = subprocess.run(["patch", "-p1", "-s", "-F0", "--no-backup-if-mismatch"],
                                  cwd=target, capture_output=True, check=False,
                                  input=text.encode("utf-8", "surrogateescape"))
            if done.returncode:
                raise WorkbenchError(f"patch(1) does not apply {name}:\n"
                                     + (done.stdout + done.stderr).decode(errors="replace"))
        for path in sorted(series.touched() - set(binary)):
            here, there = target / path, reference / path
            if here.exists() != there.exists() or \
                    (here.exists() and here.read_bytes() != there.read_bytes()):
                raise WorkbenchError(f"patch(1) and git make a different {path} of the series. "
                                     "That is a fault of this command.")


def write(output, texts, values, binary, first):
    """Write debian/patches, rpm and files below output; values: DEP-3 fields of each patch."""
    debian = output / "debian/patches" / FOLDER
    rpm = output / "rpm"
    rpm.mkdir(parents=True)
    flat = {name: name.replace("/", "-") for name in texts}
    for name, text in texts.items():
        (debian / name).parent.mkdir(parents=True, exist_ok=True)
        (debian / name).write_bytes(
            dep3.tagged(text, values[name]).encode("utf-8", "surrogateescape"))
        (rpm / flat[name]).write_bytes(text.encode("utf-8", "surrogateescape"))
    version = source.upstream()["version"]
    (debian.parent / "series").write_text("".join(f"{FOLDER}/{name}\n" for name in texts),
                                          encoding="utf-8")
    lines = [f"# qemu-virt-hotplug for QEMU {version}"]
    lines += [f"Patch{number}: {flat[name]}" for number, name in enumerate(texts, first)]
    (rpm / "patches.inc").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for path, blob in binary.items():
        if blob != patches.ZERO:
            file = output / "files" / path
            os.makedirs(file.parent, exist_ok=True)
            file.write_bytes(git.run("cat-file", "blob", blob, binary=True))
