# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series submit: mail-ready patches under the name of the one who submits them.

A patch that is for this series only says so in its message, in the manner of Yocto:

    Upstream-Status: Inappropriate [why]
    Upstream-Status: Inappropriate [replaced by NAME.patch on submission]

It is left out, or the patch NAME in submitfiles/ takes its place. The replacement is a patch and not
made by rule, so that it can be read, and reviewed, like the others.
"""

import re
import shutil
from pathlib import Path

from . import git, patches, paths, source, tree
from .report import WorkbenchError, info, warn

LIST = "qemu-devel@nongnu.org"
REPLACEMENTS = Path(__file__).parent / "submitfiles"


def main(args):
    """Write the mails. args: name, email, output, version, base_commit, rfc of the command line.

    Raises WorkbenchError without a usable identity, or when the series is not exported.
    """
    identity(args.name, args.email)
    tree.setup()
    tree.need_exact("A submission")
    series = patches.Series.load()
    if not len(series):
        raise WorkbenchError("There are no patches to submit.")
    subject, body = cover_letter()
    output = Path(args.output) if args.output else paths.BUILD / "submit"
    base = args.base_commit or source.upstream()["commit"]
    if base and not re.fullmatch(r"[0-9a-f]{40}", base):
        raise WorkbenchError(f"--base-commit {base}: a full commit id of 40 digits is needed.")
    clear(output)
    who = {"GIT_COMMITTER_NAME": args.name, "GIT_COMMITTER_EMAIL": args.email}
    with tree.temporary_worktree("submit", series.touched()) as folder:
        with git.temporary("mail") as store:
            files = upstream_files(series, patches.copy_to(store / "patches", series))
            for file in files:
                text = file.read_bytes()
                sender = f"From: {args.name} <{args.email}>".encode()
                file.write_bytes(re.sub(rb"^From: .*$", lambda _: sender, text, count=1,
                                        flags=re.M))
            git.run("am", "-q", "--no-3way", "--keep-cr", "--whitespace=nowarn", "--signoff",
                    *files, cwd=folder, config=tree.SPARSE, env=who)
        options = [o for o in patches.FORMAT_OPTIONS
                   if o not in ("--full-index", "--no-numbered", "--zero-commit", "--no-thread",
                                "--start-number=1", "--subject-prefix=PATCH")]
        options += ["--numbered", "--thread=shallow", "--cover-letter", f"-v{args.version}",
                    f"--subject-prefix={'RFC PATCH' if args.rfc else 'PATCH'}"]
        if args.version == 1:
            options.remove("-v1")
        git.run("format-patch", *options, "-o", output.absolute(), f"{tree.BASE}..HEAD",
                cwd=folder, config={**patches.FORMAT_CONFIG, "core.abbrev": "12"}, env=who)
    cover = next(output.glob("*0000-cover-letter.patch"))
    text = cover.read_text(encoding="utf-8")
    tag = source.upstream()["tag"]
    if base:
        end = f"base-commit: {base}\n"
    else:
        end = f"Based on: tag {tag}\n"
        warn(f"No base-commit trailer: upstream's commit id of {tag} is not known here. Give it "
             "with --base-commit; in a clone of QEMU: git rev-parse "
             f"'{tag}^{{commit}}'")
    if not (subject + body).isascii() and "\nContent-Type:" not in text:
        text = text.replace("\n\n", "\nMIME-Version: 1.0\nContent-Type: text/plain; "
                            "charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n", 1)
    text = text.replace("*** SUBJECT HERE ***", subject).replace("*** BLURB HERE ***", body)
    cover.write_text(text.rstrip("\n") + "\n\n" + end, encoding="utf-8")
    print(f"{len(files) + 1} mails in {output}, from {args.name} <{args.email}>.")
    info("Signed-off-by certifies that you may submit this code under QEMU's rules "
         "(docs/devel/submitting-a-patch.rst and code-provenance.rst in build/qemu). Read every "
         "patch before you send it. Then, in a clone of QEMU:")
    info(f"git send-email --to={LIST} --cc-cmd='scripts/get_maintainer.pl --noroles "
         f"--norolestats --nogit --nogit-fallback' {output.absolute()}/*.patch")


def upstream_files(series, files):
    """The FILES of the patches of SERIES, without those that are not for upstream, or replaced.

    Raises WorkbenchError when a replacement is missing.
    """
    result = []
    for patch, file in zip(series.patches, files):
        why, replacement = upstream_status(patch)
        if why and not replacement:
            info(f"Left out: {patch.subject} ({why})")
            continue
        if replacement:
            info(f"Replaced by {replacement.name}: {patch.subject}")
            shutil.copyfile(replacement, file)
        result.append(file)
    return result


def upstream_status(patch):
    """(why, replacement): why PATCH is not for upstream, or None, and what is in its place.

    Raises WorkbenchError when the replacement is missing.
    """
    found = re.search(r"^Upstream-Status: Inappropriate \[(.*)\]$", patch.message, re.M)
    if not found:
        return None, None
    name = re.fullmatch(r"replaced by (\S+\.patch) on submission", found.group(1))
    if not name:
        return found.group(1), None
    replacement = REPLACEMENTS / name.group(1)
    if not replacement.exists():
        raise WorkbenchError(f"{patch.name} is to be replaced by {replacement}, which does not "
                             "exist.")
    return found.group(1), replacement


def identity(name, email):
    """Raise WorkbenchError unless this can be a person's name and address."""
    if not re.fullmatch(r"[^<>@\"\n]*\w[^<>@\"\n]*", name) or name == git.NAME:
        raise WorkbenchError(f"--name \"{name}\" is not the name of a person. Patches are "
                             "submitted under the name of someone who can certify them.")
    if not re.fullmatch(r"[^<>@\s]+@[^<>@\s]+\.[^<>@\s]+", email) or email.endswith(".invalid"):
        raise WorkbenchError(f"--email \"{email}\" is not a mail address.")


def cover_letter():
    """(subject, body) of patches/cover-letter.md: a heading, then the text."""
    try:
        text = paths.COVER_LETTER.read_text(encoding="utf-8")
    except OSError as e:
        raise WorkbenchError("patches/cover-letter.md is missing.") from e
    text = re.sub(r"\A(<!--.*?-->\s*)+", "", text, flags=re.S)
    first, _, body = text.strip().partition("\n")
    if not first.lstrip("# ") or not body.strip():
        raise WorkbenchError("patches/cover-letter.md must have a heading, which becomes the "
                             "subject, and a text.")
    return first.lstrip("# "), body.strip()


def clear(output):
    """Make the output folder; only mails of an earlier run are removed from it."""
    if output.exists():
        other = [f.name for f in output.iterdir() if f.suffix != ".patch"]
        if other:
            raise WorkbenchError(f"{output} holds other files ({', '.join(other[:3])}); name "
                                 "another folder with --output.")
        shutil.rmtree(output)
    output.mkdir(parents=True)
