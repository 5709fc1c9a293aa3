# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series submit: mail-ready patches of one topic, under the name of the one who submits
them. What is for upstream, and in which form, says upstream.py.
"""

import re
import shutil
from pathlib import Path

from ..system import paths
from ..ui import table
from ..ui.report import WorkbenchError, info, warn
from . import git, patches, source, tree, upstream
from .output import refuse_others
from .topics import DOWNSTREAM, Topics, cover_letter

LIST = "qemu-devel@nongnu.org"


def main(args):
    """Write the mails of a topic. args: topic, name, email, output, version, base_commit, based_on
    and rfc of the command line.

    Raises WorkbenchError without a topic, for a topic that is not for upstream, when based_on is
    not one message id for each posting that it is based on, without a usable identity, and when
    the series is not exported.
    """
    topics = Topics.load()
    if args.topic is None:
        raise WorkbenchError("Name one topic with --topic: upstream reviews one series at a time. "
                             "The topics are, in order:\n" + overview(topics))
    topic = topics.get(args.topic)
    refuse(topic, args)
    ids = message_ids(args.based_on)
    check_based_on(topic.name, postings(topics, patches.Series.load(), topic), ids)
    base = args.base_commit or source.upstream()["commit"]
    if base and not re.fullmatch(r"[0-9a-f]{40}", base):
        raise WorkbenchError(f"--base-commit {base}: a full commit id of 40 digits is needed.")
    tree.setup()
    tree.need_exact("A submission")
    series = patches.Series.load()
    sent = upstream.as_sent(series.of(topic.name), info)
    if not len(sent):
        raise WorkbenchError(f"The topic {topic.name} has no patches for upstream.")
    subject, body = cover_letter(topic.name)
    output = Path(args.output) if args.output else paths.BUILD / "submit" / topic.name
    clear(output)
    write_mails(upstream.as_sent(series.of(*topics.needed(topic.name))), sent, output, args)
    tag = source.upstream()["tag"]
    if base:
        end = f"base-commit: {base}\n"
    else:
        end = f"Based on: tag {tag}\n"
        warn(f"No base-commit trailer: upstream's commit id of {tag} is not known here. Give it "
             "with --base-commit; in a clone of QEMU: git rev-parse "
             f"'{tag}^{{commit}}'")
    end = "".join(f"Based-on: {i}\n" for i in ids) + end
    finish_cover(next(output.glob("*0000-cover-letter.patch")), subject, body, end)
    print(f"{len(sent) + 1} mails in {output}, from {args.name} <{args.email}>.")
    info("Signed-off-by certifies that you may submit this code under QEMU's rules "
         "(docs/devel/submitting-a-patch.rst and code-provenance.rst in build/qemu). Read every "
         "patch before you send it. Then, in a clone of QEMU:")
    info(f"git send-email --to={LIST} --cc-cmd='scripts/get_maintainer.pl --noroles "
         f"--norolestats --nogit --nogit-fallback' {output.absolute()}/*.patch")


def overview(topics):
    """A table of all topics."""
    counts = patches.Series.load().topics()
    return table.render(("topic", "patches", "state", "needs"), [
        (t.name, counts.get(t.name, 0), t.state, ", ".join(t.needs)) for t in topics])


def refuse(topic, args):
    """Raise WorkbenchError when the topic is not for upstream, or a person's name is missing."""
    if topic.state == DOWNSTREAM:
        raise WorkbenchError(
            f"The topic {topic.name} is not for upstream: patches/topics.toml has it as "
            f"{DOWNSTREAM}" + (f" ({topic.about})." if topic.about else ".")
            + " Packagers get it from scripts/series package.")
    if not (args.name and args.email):
        raise WorkbenchError("Give your name and address with --name and --email: patches are "
                             "submitted, and signed off, by a person.")
    identity(args.name, args.email)


def postings(topics, series, topic):
    """Names of the topics on whose postings this one is based, in order: those that it needs
    directly. A topic of which nothing is sent has no posting, so what it needs takes its place."""
    found = set()
    for name in topic.needs:
        sent = len(upstream.as_sent(series.of(name)))
        found.update([name] if sent else postings(topics, series, topics.get(name)))
    return [name for name in topics.names() if name in found]


def check_based_on(name, needed, ids):
    """Raise WorkbenchError unless IDS has one id for each of NEEDED, postings of other topics."""
    if len(set(ids)) == len(ids) == len(needed):
        return
    if not needed:
        raise WorkbenchError(f"The topic {name} is based on no posting of another topic; leave "
                             "out --based-on.")
    count = "1 posting" if len(needed) == 1 else f"{len(needed)} postings"
    given = ", ".join([str(len(ids)), *ids]) if ids else "none"
    raise WorkbenchError(
        f"The topic {name} is based on {count}, of: {', '.join(needed)}. Given was {given}. "
        "Submit these topics first, then give the message id of each one's cover letter once:"
        + " --based-on MESSAGE-ID" * len(needed)
        + ". Topics that these need are named in their own cover letters.")


def message_ids(given):
    """The ids in the form <ID>. Raises WorkbenchError for what can be none."""
    ids = []
    for text in given or ():
        match = re.fullmatch(r"<?([^<>@\s]+@[^<>@\s]+)>?", text)
        if not match:
            raise WorkbenchError(f"--based-on {text}: not a message id, as in "
                                 "20260102030405.6789-1-you@example.org.")
        ids.append(f"<{match.group(1)}>")
    return ids


def write_mails(needed, sent, output, args):
    """Write the patches of the Series `sent`, which follow those of `needed`, and an empty cover
    letter; from the submitter, with sign-off."""
    who = {"GIT_COMMITTER_NAME": args.name, "GIT_COMMITTER_EMAIL": args.email}
    with tree.temporary_worktree("submit", needed.touched() | sent.touched()) as folder:
        start = tree.apply(needed, folder)
        with git.temporary("mail") as store:
            files = patches.copy_to(store / "patches", sent)
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
        git.run("format-patch", *options, "-o", output.absolute(), f"{start}..HEAD",
                cwd=folder, config={**patches.FORMAT_CONFIG, "core.abbrev": "12"}, env=who)


def finish_cover(file, subject, body, end):
    """Fill in the cover letter that git made."""
    text = file.read_text(encoding="utf-8")
    if not (subject + body).isascii() and "\nContent-Type:" not in text:
        text = text.replace("\n\n", "\nMIME-Version: 1.0\nContent-Type: text/plain; "
                            "charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n", 1)
    text = text.replace("*** SUBJECT HERE ***", subject).replace("*** BLURB HERE ***", body)
    file.write_text(text.rstrip("\n") + "\n\n" + end, encoding="utf-8")


def identity(name, email):
    """Raise WorkbenchError unless this can be a person's name and address."""
    if not re.fullmatch(r"[^<>@\"\n]*\w[^<>@\"\n]*", name) or name == git.NAME:
        raise WorkbenchError(f"--name \"{name}\" is not the name of a person. Patches are "
                             "submitted under the name of someone who can certify them.")
    if not re.fullmatch(r"[^<>@\s]+@[^<>@\s]+\.[^<>@\s]+", email) or email.endswith(".invalid"):
        raise WorkbenchError(f"--email \"{email}\" is not a mail address.")


def clear(output):
    """Make the output folder; only mails of an earlier run are removed from it.

    Raises WorkbenchError when there is anything else.
    """
    refuse_others(output, lambda name: name.endswith(".patch"))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
