# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/fuzz: what its options mean, and what it prints."""

import os
from pathlib import Path

from ..system import paths
from ..ui import table
from ..ui.report import WorkbenchError, info
from . import builder, corpus, fuzzer

DEFAULT_SECONDS = 600

HOW_TO_TEST = """\
It is a function for libqtest, of the whole input with what comes before and after each. To make it
a test of the series:

1. Put it into tests/qtest/arm-cpu-hotplug-test.c or arm-pcie-ports-test.c in build/qemu, with a
   qtest_add_func() in main(), and see it fail: scripts/build tests/qtest/arm-cpu-hotplug-test
2. Remove steps for as long as it fails. Steps of one qtest_sequence() come without QEMU's main
   loop in between; separate calls will do if that does not matter.
3. Mend QEMU. If the test does not fail, because only a sanitizer notices: run it with the QEMU
   that scripts/build --sanitize address has built, build/asan/qemu-system-aarch64.

QEMU's own scripts/oss-fuzz/reorder_fuzzer_qtest_trace.py and output_reproducer.py read the same
log, but drop what is not of the qtest protocol: device_add, device_del, resets, and when events
are processed. They do for an input that has none of these."""


def run(options):
    """Do what the command's OPTIONS say; returns the exit status.

    That is 0 if no input made QEMU fail, 1 if one did. Raises WorkbenchError if options contradict
    each other or something is missing.
    """
    check(options)
    seeds = (options.corpus or corpus.FOLDER).resolve()
    corpus.read(seeds)
    binary = paths.FUZZ / builder.BINARY
    if options.build:
        binary = builder.build()
    elif not binary.is_file():
        raise WorkbenchError(f"{binary} does not exist. Run scripts/fuzz without --no-build.")
    if options.replay:
        file = options.replay.resolve()
        return replay(binary, options.target or of_file(file), file)
    targets = options.target or fuzzer.TARGETS
    status = 0
    if not options.merge or options.time:
        status = fuzz(binary, targets, options.time or DEFAULT_SECONDS, options.seed, seeds)
    if options.merge and not status:
        merge(binary, targets, seeds)
    return status


def check(options):
    """Raise WorkbenchError for OPTIONS that do not go together, or an unknown target."""
    if options.replay:
        given = [f"--{name}" for name in ("time", "seed", "corpus", "merge")
                 if getattr(options, name)]
        if given:
            raise WorkbenchError("--replay runs one input once; it cannot be used with "
                                 f"{', '.join(given)}.")
        if not options.replay.is_file():
            raise WorkbenchError(f"{options.replay} is no file. --replay takes an input: one of "
                                 f"{_shown(corpus.FOLDER)}, or one that was found, in "
                                 f"{_shown(paths.FUZZING)}/TARGET/found.")
    elif options.merge and options.target and set(options.target) != set(fuzzer.TARGETS):
        raise WorkbenchError("--merge keeps what any of the targets needs; it cannot be used with "
                             "--target.")


def of_file(file):
    """The targets that the input FILE is for: the one that found it, or all."""
    return [target for target in fuzzer.TARGETS if file.is_relative_to(fuzzer.folder(target))
            ] or fuzzer.TARGETS


def fuzz(binary, targets, seconds, seed, seeds):
    """Run the TARGETS one after the other, for SECONDS together; returns the exit status."""
    if seed is None:
        seed = int.from_bytes(os.urandom(3), "big") + 1
        info(f"the seed is {seed}")
    before = {target: _count(target) for target in targets}
    outcomes = [fuzzer.fuzz(binary, target, max(seconds / len(targets), 1), seed, seeds)
                for target in targets]
    print(table.render(
        ("target", "inputs", "places reached", "new inputs", "right"),
        [(outcome.target, _known(outcome.executions), _known(outcome.coverage),
          _count(outcome.target) - before[outcome.target], "no" if outcome.status else "yes")
         for outcome in outcomes]))
    failed = [outcome for outcome in outcomes if outcome.status]
    for outcome in failed:
        print("\n" + failure_text(outcome))
        if outcome.artifact:
            replay(binary, [outcome.target], outcome.artifact)
    if not failed:
        print("\nNo input made QEMU fail.")
    return 1 if failed else 0


def _known(number):
    return "unknown" if number is None else number


def _count(target):
    place = fuzzer.inputs(target)
    return len(list(place.iterdir())) if place.is_dir() else 0


def failure_text(outcome):
    """What is to be said of a run with an OUTCOME that is not right."""
    lines = [f"{outcome.target} failed (exit status {outcome.status}):",
             *(f"  {line}" for line in outcome.said),
             f"The whole output: {_shown(outcome.log)}"]
    if outcome.artifact:
        lines.append(f"The input: {_shown(outcome.artifact)}")
    return "\n".join(lines)


def replay(binary, targets, file):
    """Run the input FILE with each of the TARGETS, say what it does; returns the exit status."""
    status = 0
    for target in targets:
        done = fuzzer.replay(binary, target, file)
        print("\n" + (failure_text(done.outcome) if done.outcome.status
                      else f"{target}: {file.name} does not make QEMU fail.\n"
                           f"What it does: {_shown(done.outcome.log)}"))
        if done.source:
            print(f"The same as a test: {_shown(done.source)}")
        if done.outcome.status:
            status = 1
            print("\n" + HOW_TO_TEST)
    return status


def merge(binary, targets, seeds):
    """Replace the inputs in the folder SEEDS by the few that reach what all known ones reach."""
    needed = set()
    for target in targets:
        places = [place for place in (seeds, fuzzer.inputs(target)) if place.is_dir()]
        needed = fuzzer.merge(binary, target, places, needed)
    kept = corpus.choose(needed)
    corpus.write(seeds, kept)
    print(f"{_shown(seeds)}: {len(kept)} inputs, {sum(map(len, kept))} bytes")
    if len(kept) < len(needed):
        info(f"{len(needed) - len(kept)} longer inputs are left out, as there may be "
             f"{corpus.MAX_FILES} with {corpus.MAX_BYTES} bytes together.")


def _shown(path):
    path = Path(path).resolve()
    return path.relative_to(paths.TOP) if path.is_relative_to(paths.TOP) else path
