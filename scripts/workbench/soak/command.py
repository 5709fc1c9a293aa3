# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/soak: what its options mean, and what it prints."""

import json
import os
from pathlib import Path

from ..system import paths, tools
from ..ui.report import WorkbenchError, info
from . import journal, plan
from .summary import render

ACCELERATORS = ("tcg", "kvm-lab")
DEFAULT_SECONDS = 600
SHOWN = 30                      # steps before a failure that are printed


def names(text):
    """The list of names in TEXT, separated by commas."""
    return [name for name in text.split(",") if name]


def request_fields(options):
    """The fields of a session.Request, as a dictionary, by the command's OPTIONS.

    Raises WorkbenchError if they contradict each other or a file is missing.
    """
    record = None
    if options.replay:
        given = [f"--{name}" for name in ("seed", "accel", "only", "without", "time")
                 if getattr(options, name) is not None]
        if given:
            raise WorkbenchError("--replay repeats the steps of the journal as they are; it cannot "
                                 f"be used with {', '.join(given)}. --steps N repeats the first "
                                 "N.")
        record = journal.read(options.replay)
        head = record.head
        seed, accel, kinds, seconds = head["seed"], head["accel"], head["kinds"], None
        if accel not in ACCELERATORS:
            raise WorkbenchError(f"{options.replay} is of a run with the accelerator {accel!r}, "
                                 f"and there are: {', '.join(ACCELERATORS)}.")
    else:
        seed = options.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(3), "big")
        accel = options.accel or ACCELERATORS[0]
        kinds = plan.kinds(options.only or (), options.without or ())
        seconds = options.time
        if seconds is None and options.steps is None:
            seconds = DEFAULT_SECONDS
    qemu = options.qemu or paths.PATCHED / "qemu-system-aarch64"
    if not qemu.is_file():
        raise WorkbenchError(f"{qemu} does not exist. Run scripts/build first, or give another "
                             "binary with --qemu.")
    return {"seed": seed, "accel": accel, "kinds": kinds, "qemu": qemu, "seconds": seconds,
            "steps": options.steps, "record": record}


def run(options):
    """Do what the command's OPTIONS say, and print the summary; returns the exit status.

    That is 0 if all agreed after each step, 1 if not, 130 if a person ended the run. Raises
    WorkbenchError if something is missing or the guest does not boot.
    """
    fields = request_fields(options)
    tools.ensure()
    tools.activate()
    # Only now, because it needs the packages that ensure() unpacks.
    from . import session
    if options.seed is None and not options.replay:
        info(f"the seed is {fields['seed']}")
    result = session.run(session.Request(**fields))
    found = result.found
    print(json.dumps({**found, "folder": str(_shown(result.folder))}, indent=1) if options.json
          else render(found))
    if found["failure"] and not options.json:
        print("\n" + failure_text(found, result.steps, result.folder))
    if found["interrupted"]:
        return 130
    return 0 if found["clean"] else 1


def failure_text(found, steps, folder):
    """What is to be said of a failed run besides its summary: where, why, and how to repeat it."""
    index, step = steps[-1] if steps else (0, "the first look at the guest")
    last = steps[-SHOWN:]
    which = f"the last {len(last)} of {len(steps)}" if len(last) < len(steps) else "all"
    return "\n".join([
        f"Step {index} failed: {step}",
        *(f"  {line}" for line in found["failure"].splitlines()), "",
        f"Steps of seed {found['seed']}, {which}:",
        *(f"  {number} {taken}" for number, taken in last), "",
        f"The journal, the consoles and what was said on the monitors are in {_shown(folder)}.",
        f"To repeat it: scripts/soak --replay {_shown(folder)}/journal.jsonl"])


def _shown(folder):
    folder = Path(folder)
    return folder.relative_to(paths.TOP) if folder.is_relative_to(paths.TOP) else folder
