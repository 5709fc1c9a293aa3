# SPDX-License-Identifier: GPL-2.0-or-later
"""libFuzzer: the targets, a run of each, an input once more, and what of many inputs is needed."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..sanitize import settings
from ..system import addresses, paths
from ..system.programs import run, tail
from ..ui.report import WorkbenchError
from . import corpus, reproducer

TARGETS = ("arm-virt-hotplug", "arm-virt-hotplug-acpi")
DICTIONARY = Path(__file__).resolve().parent / "files/hotplug.dict"
INPUT_SECONDS = 60      # that one input may take; it is a few milliseconds
MEMORY_MIB = 4096       # of the fuzzer; more is a leak
SHOWN = 6               # lines that say what is wrong

_WRONG = re.compile(r"assertion failed|Assertion .* failed|runtime error: |code should not be "
                    r"reached|ERROR: \w+: |^SUMMARY: |^Unexpected error in ")


@dataclass(frozen=True)
class Outcome:
    """What came of running a fuzzer.

    status: its exit status. executions, coverage: inputs, and places of the code that they
    reached; None if it did not say. artifact: the input at which it ended, or None. said: lines
    that say what is wrong. log: where its output is.
    """

    target: str
    status: int
    executions: int | None
    coverage: int | None
    artifact: Path | None
    said: tuple
    log: Path


@dataclass(frozen=True)
class Replay:
    """An input that was run once more. source: the test made of it, None if nothing was logged."""

    outcome: Outcome
    source: Path | None


def folder(target):
    """Where runs of TARGET keep their inputs, their logs and what they found."""
    return paths.FUZZING / target


def inputs(target):
    """Where what TARGET has found interesting in all runs so far is."""
    return folder(target) / "corpus"


def fuzz(binary, target, seconds, seed, seeds):
    """Run the fuzzer BINARY with TARGET for SECONDS, from the inputs in the folder SEEDS.

    seed: a number from 1 on. Inputs that reach new code are added to inputs(target). Raises
    WorkbenchError if it does not start.
    """
    own = inputs(target)
    own.mkdir(parents=True, exist_ok=True)
    return _run(binary, target, "fuzz", f"Fuzzing {target}",
                [f"-max_total_time={int(seconds)}", f"-seed={seed}",
                 f"-max_len={corpus.MAX_INPUT}", f"-dict={DICTIONARY}", "-print_final_stats=1",
                 own, seeds])


def replay(binary, target, file):
    """Run the input FILE once more, write down what it does, and make a test of that.

    Raises WorkbenchError if the fuzzer does not start.
    """
    outcome = _run(binary, target, f"replay-{file.name}", f"Replaying {file.name}", [file],
                   {"QTEST_LOG": "1", "FUZZ_SERIALIZE_QTEST": "1"})
    found = reproducer.read(outcome.log.read_text(encoding="utf-8", errors="replace"))
    if not found.steps:
        return Replay(outcome, None)
    name = re.sub(r"\W", "_", file.name)
    source = outcome.log.with_suffix(".c")
    source.write_text(reproducer.test(f"test_fuzz_{name}", found), encoding="utf-8")
    return Replay(outcome, source)


def merge(binary, target, folders, kept=frozenset()):
    """The inputs KEPT, and those in FOLDERS that TARGET needs as well to reach what all reach.

    Inputs are bytes. Raises WorkbenchError if one of them makes the fuzzer fail.
    """
    new = folder(target) / "merged"
    shutil.rmtree(new, ignore_errors=True)
    corpus.write(new, kept)
    outcome = _run(binary, target, "merge", f"Merging the inputs of {target}",
                   # Not how often a place is reached, which would keep ten times as many.
                   ["-set_cover_merge=1", "-use_counters=0", f"-max_len={corpus.MAX_INPUT}", new,
                    *folders])
    # libFuzzer starts itself anew after an input that fails, and goes on without that one.
    attempts = re.search(r"^MERGE-OUTER: successful in (\d+) attempt",
                         outcome.log.read_text(encoding="utf-8", errors="replace"), re.M)
    if outcome.status or not attempts or attempts[1] != "1":
        raise WorkbenchError(f"The inputs of {target} cannot be merged, because one of them makes "
                             f"the fuzzer fail: {_first(outcome.said)}. Replay it with "
                             f"scripts/fuzz --replay {outcome.artifact or 'FILE'}, and mend QEMU "
                             f"or remove the input. The whole output: {outcome.log}")
    return corpus.read(new)


def _first(said):
    return said[0] if said else "it does not say why"


def _environment(more):
    env = dict(os.environ, LC_ALL="C.UTF-8")
    # Logging makes all inputs slow.
    for name in ("QTEST_LOG", "FUZZ_SERIALIZE_QTEST"):
        env.pop(name, None)
    # The suite that looks for leaks is another one; here they would hide all else. For stacks see
    # sanitize/settings.py.
    names = f"external_symbolizer_path='{settings.SYMBOLIZER}'"
    env.update(ASAN_OPTIONS=f"detect_leaks=0:detect_stack_use_after_return=0:{names}",
               UBSAN_OPTIONS=f"halt_on_error=1:print_stacktrace=1:{names}",
               **settings.symbolizer(), **(more or {}))
    return env


def _run(binary, target, name, what, options, more=None):
    place = folder(target)
    found = place / "found"
    found.mkdir(parents=True, exist_ok=True)
    log = place / f"{name}.log"
    command = [binary, f"--fuzz-target={target}", f"-timeout={INPUT_SECONDS}",
               f"-rss_limit_mb={MEMORY_MIB}", "-detect_leaks=0", f"-artifact_prefix={found}/",
               *options]
    addresses.fix()
    status = run(command, what=what, log=log, cwd=place, env=_environment(more), parse=_progress,
                 check=False)
    text = log.read_text(encoding="utf-8", errors="replace")
    if "INFO: Seed: " not in text:
        raise WorkbenchError(f"{binary} did not start to fuzz {target} (exit status {status}). The "
                             f"last lines of {log}:\n\n{tail(log)}")
    written = re.findall(r"Test unit written to (.*)", text)
    progress = re.findall(r"^#(\d+)\s.*? cov: (\d+) ", text, re.M)
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    said = [line.strip() for line in text.splitlines() if _WRONG.search(line)]
    return Outcome(
        target, status,
        int(executions[1]) if executions else int(progress[-1][0]) if progress else None,
        int(progress[-1][1]) if progress else None,
        Path(written[-1]) if written else None, tuple(dict.fromkeys(said))[:SHOWN], log)


def _progress(line):
    match = re.match(r"#(\d+)\s.*? cov: (\d+) ", line)
    return f"{match[1]} inputs, {match[2]} places" if match else None
