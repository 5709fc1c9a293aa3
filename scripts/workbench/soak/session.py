# SPDX-License-Identifier: GPL-2.0-or-later
"""A run from its start to its end: the guest, the steps, and what is kept of it."""

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..build import emulators
from ..guest.guest import Config
from ..guest.place import LOCAL
from ..guest.qemu import GuestError
from ..lab import lab
from ..system import paths
from ..ui.report import Progress, WorkbenchError, step as announce, warn
from .growth import Growth
from .journal import Journal
from .machine import Machine, Settings
from .plan import Plan
from .runner import Failed, Runner
from .steps import KINDS
from .summary import Summary

TCG, KVM_LAB = "tcg", "kvm-lab"
# The buffer of translated code is one that fills up within the first boots, so that what grows
# after that is something else.
_TCG_OPTIONS = {"accel": "tcg,thread=multi,tb-size=64", "cpu": "neoverse-n1", "slots": 8}
# A guest's Linux 6.12 with virtual addresses of 52 bits oopses in "kexec -l", with any QEMU.
_KVM_OPTIONS = {"accel": "kvm", "cpu": "host", "slots": 6, "says": (lab.RECOMMENDED,),
                "append": f"{Config.append} arm64.nolva"}


@dataclass
class Request:
    """What is to be done.

    SEED is a number, ACCEL TCG or KVM_LAB, KINDS names of kinds of steps, QEMU the path of the
    binary. The run ends after SECONDS and after STEPS, whichever comes first; None is without end.
    With RECORD, a journal.Record, its steps are repeated.
    """

    seed: int
    accel: str
    kinds: list
    qemu: Path
    seconds: float = None
    steps: int = None
    record: object = None


@dataclass
class Result:
    """FOUND is what Summary.as_dict() returns, FOLDER has the files, STEPS all that were taken."""

    found: dict
    folder: Path
    steps: list = field(default_factory=list)


def run(request):
    """Do what REQUEST says; returns a Result, also of a run that failed or was interrupted.

    Raises WorkbenchError if something is missing or the guest does not boot.
    """
    # A new thread would take any of several arenas, each of which keeps some free memory.
    os.environ["MALLOC_ARENA_MAX"] = "1"
    name = f"{request.accel}-{request.seed}" + (".replay" if request.record else "")
    folder = paths.SOAK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        try:
            settings = _settings(stack, request)
            announce(f"Booting the guest, seed {request.seed}")
            machine = stack.enter_context(Machine(settings, f"soak-{name}", folder))
            model, facts = machine.begin()
        except (GuestError, ValueError) as error:
            raise WorkbenchError(f"The run did not begin: {error}") from None
        head = {"seed": request.seed, "accel": request.accel, "kinds": request.kinds,
                "slots": settings.slots, "kernel": machine.release, "machine": facts.machine,
                "qemu": emulators.version(request.qemu).removeprefix("QEMU emulator version ")}
        summary, growth = Summary(head), Growth()
        journal = stack.enter_context(Journal(folder / "journal.jsonl", head))
        runner = Runner(machine, model, facts, journal, summary, growth)
        result = Result({}, folder)
        start = time.monotonic()
        try:
            _take_all(request, runner, result.steps)
            machine.close()
        except (Failed, GuestError, ValueError) as error:
            summary.failure = str(error)
        except KeyboardInterrupt:
            summary.interrupted = True
        if summary.failure or summary.interrupted:
            machine.keep_logs()
            machine.close(force=True)
        result.found = summary.as_dict(time.monotonic() - start, model.processes, growth.peak)
    (folder / "summary.json").write_text(json.dumps(result.found, indent=1) + "\n",
                                         encoding="utf-8")
    return result


def _settings(stack, request):
    """The Settings of the run; STACK ends the host that they may need."""
    if request.accel == TCG:
        return Settings(request.qemu, LOCAL, _image_tool(request.qemu), **_TCG_OPTIONS)
    announce("Booting the Arm host")
    place, qemu = lab.enter(stack, "soak-host", request.qemu)
    tool = _image_tool(request.qemu) if place is LOCAL else "qemu-img"
    return Settings(qemu, place, tool, **_KVM_OPTIONS)


def _image_tool(qemu):
    beside = qemu.parent / "qemu-img"
    tool = beside if beside.exists() else shutil.which("qemu-img")
    if not tool:
        raise WorkbenchError(f"There is no qemu-img beside {qemu} or in PATH, which makes the "
                             "image for snapshots. Run scripts/build, or install qemu-utils.")
    return tool


def _take_all(request, runner, taken):
    """Take the steps that REQUEST asks for; those taken are appended to the list TAKEN."""
    runner.settle()
    end = None if request.seconds is None else time.monotonic() + request.seconds
    with Progress("soak") as progress:
        for index, step in _steps(request, runner.model):
            if end is not None and time.monotonic() >= end:
                break
            progress.update(f"step {index}: {step}")
            taken.append((index, step))
            outcome = runner.take(index, step)
            before = request.record.outcomes.get(index, outcome) if request.record else outcome
            if outcome != before:
                warn(f"step {index} ({step}) ended as \"{before}\" then, and now as \"{outcome}\"")


def _steps(request, model):
    """(index, Step) of each step, chosen only when the one before has changed MODEL."""
    if not request.record:
        plan = Plan(request.seed, request.kinds)
        index = 1
        while request.steps is None or index <= request.steps:
            yield index, plan.step(index, model)
            index += 1
        return
    for index, step in request.record.steps[:request.steps]:
        if KINDS[step.kind].possible(model, step.args):
            yield index, step
        else:
            warn(f"step {index} ({step}) is not possible after what became of those before")
