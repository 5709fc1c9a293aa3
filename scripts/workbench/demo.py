# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: from nothing to CPUs that come and go in a running guest."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path

from .guest import assets
from .system import paths, tools
from .ui import table
from .ui.report import WorkbenchError, step

BOOT_CPUS = 2
MAX_CPUS = 8

# The guest's answer (_OST in the ACPI specification) by event and status. An eject that is in
# progress is followed by its outcome.
OUTCOMES = {(1, 0): "guest took it", (3, 0x84): "", (3, 0): "guest gave it up"}


@dataclass
class Row:
    """A line of the table. VIEW is None where the guest was not asked."""

    step: str
    answer: str
    view: object
    seconds: float
    right: bool


class Demonstration:
    """Runs the steps on GUEST, which has booted, and keeps their rows."""

    def __init__(self, guest, cpus):
        self.guest = guest
        self.cpus = cpus
        self.rows = []

    def _outcomes(self):
        parts = []
        for event in self.guest.events("ACPI_DEVICE_OST"):
            info = event["data"]["info"]
            outcome = info["source"], info["status"]
            text = OUTCOMES.get(outcome, "guest's status {1:#x} for event {0:#x}".format(*outcome))
            if text:
                parts.append(text)
        return parts

    def do(self, name, action, expected):
        """Do ACTION, which returns what QEMU answered, and compare the guest with EXPECTED CPUs.

        A failed action becomes a wrong row, so that the table is complete.
        """
        from .guest.qemu import GuestError
        step(name)
        start = time.monotonic()
        answers, right = [], True
        try:
            answers.append(action())
        except GuestError as error:
            right = False
            answers.append(str(error))
        seconds = time.monotonic() - start
        view = None
        try:
            view = self.cpus.view()
            answers += self._outcomes()
        except GuestError as error:
            right = False
            answers.append(str(error))
        if view is not None:
            right = right and (view.online == view.enabled == frozenset(expected)
                               and view.enabled <= view.present)
        self.rows.append(Row(name, ", ".join(answers), view, seconds, right))
        return right

    def table(self):
        """The rows as text; long answers follow the table."""
        from .guest.cpus import format_list
        lines, notes = [], []
        for row in self.rows:
            answer = row.answer
            if "\n" in answer or len(answer) > 70:
                notes.append(f"{row.step}: {answer}")
                answer = f"see below ({len(notes)})"
            lists = (["?"] * 3 if row.view is None else
                     [format_list(numbers) for numbers in
                      (row.view.present, row.view.enabled, row.view.online)])
            lines.append([row.step, answer, *lists, f"{row.seconds * 1000:.0f} ms",
                          "yes" if row.right else "NO"])
        text = table.render(("step", "QEMU answers", "present", "enabled", "online", "time",
                             "right"), lines)
        return text + "".join(f"\n\n({n}) {note}" for n, note in enumerate(notes, 1))

    def run(self, booted):
        """All steps up to the first wrong one; BOOTED is the guest's time to come up in seconds.

        Returns True if all were right.
        """
        added = range(BOOT_CPUS, MAX_CPUS)
        everyone = range(MAX_CPUS)
        steps = [("boot", self._status, range(BOOT_CPUS))]
        steps += [(f"plug CPU {number}", functools.partial(self._plug, number), range(number + 1))
                  for number in added]
        steps += [("work on all CPUs", functools.partial(self._work, everyone), everyone)]
        steps += [(f"unplug CPU {number}", functools.partial(self._unplug, number), range(number))
                  for number in reversed(added)]
        # What follows a wrong step would only say the same again.
        right = all(self.do(*step) for step in steps)
        self.rows[0].seconds = booted
        return right

    def _status(self):
        status = self.guest.qmp("query-status")["status"]
        slots = self.cpus.slots()
        return f"{status}, CPUs in {len(self.cpus.taken())} of {len(slots)} slots"

    def _plug(self, number):
        self.cpus.plug(number)
        return "device_add ok"

    def _unplug(self, number):
        self.cpus.unplug(number)
        return "device_del ok, DEVICE_DELETED"

    def _work(self, numbers):
        self.cpus.work(numbers)
        return f"{len(self.cpus.taken())} CPUs running"


def _config(options):
    """The guest's Config from the command's OPTIONS; builds and fetches only what is not given."""
    from .guest.guest import Config
    qemu = options.qemu
    if not qemu:
        from .build import emulators
        from .series import tree
        from .system import host
        host.require("series", "build")
        tree.ensure()
        qemu = emulators.build("patched", ["qemu-system-aarch64"])
    append = "quiet"
    if not options.initrd and not options.keep:
        append += " harness"
    return Config(
        qemu=qemu, cpu="max,pauth-impdef=on", smp=f"{BOOT_CPUS},maxcpus={MAX_CPUS}",
        memory="1G", append=append,
        kernel=options.kernel or assets.kernel(), initrd=options.initrd or assets.initrd(),
        firmware=options.firmware or assets.firmware().efi)


def run(options):
    """Run the demonstration; returns the exit status, 0 only if every step was right.

    OPTIONS has qemu, kernel, initrd, firmware (paths or None) and keep. Raises WorkbenchError when
    something is missing or the guest does not boot.
    """
    for name in ("qemu", "kernel", "initrd", "firmware"):
        path = getattr(options, name)
        if path and not Path(path).is_file():
            raise WorkbenchError(f"--{name} {path}: there is no such file.")
    tools.ensure()
    # Only now, because these need the packages that ensure() unpacks.
    from .guest.cpus import Cpus
    from .guest.guest import Guest
    from .guest.qemu import GuestError
    config = _config(options)
    if not (options.kernel or options.initrd or options.firmware):
        assets.defaults()
    step(f"Booting Linux under UEFI: {config.machine}, -smp {config.smp}")
    start = time.monotonic()
    try:
        with Guest(config, "demo", detached=options.keep) as guest:
            attached = options.keep or options.initrd
            release = guest.attach() if attached else guest.wait_ready()
            booted = time.monotonic() - start
            right = _demonstrate(guest, Cpus(guest), release, booted)
            if options.keep:
                guest.release()
                print(_how_to_reach(guest))
    except GuestError as error:
        hint = ""
        if options.initrd and "prompt" in str(error):
            hint = "\n--initrd must end in a root shell on ttyAMA0."
        raise WorkbenchError(f"The demonstration stopped: {error}{hint}") from None
    return 0 if right else 1


def _demonstrate(guest, cpus, release, booted):
    from .guest.qemu import Refused
    if cpus.view().enabled is None:
        raise WorkbenchError(f"The guest runs Linux {release}, which cannot use added CPUs: that "
                             "needs 6.11 or later. Give a newer one with --kernel.")
    demonstration = Demonstration(guest, cpus)
    try:
        right = demonstration.run(booted)
    except Refused as error:
        raise WorkbenchError(f"QEMU refused: {error}") from None
    finally:
        if demonstration.rows:
            print(f"\nLinux {release} on {guest.config.machine}, -smp {guest.config.smp}\n\n"
                  f"{demonstration.table()}\n")
    print("Every step is right." if right else
          f"Not every step is right; the guest's console is in {guest.log}.")
    return right


def _how_to_reach(guest):
    shell = paths.TOOLS / "usr/bin/qmp-shell"
    # Only there if the machine's own package was not.
    shell = f"PYTHONPATH={tools.SITE} {shell}" if shell.exists() else "qmp-shell"
    return (f"""
The guest goes on running (process {guest.process.pid}).
  console  socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{guest.folder}/console   (leave with Ctrl-])
  QMP      {shell} {guest.folder}/qmp
  end it   kill {guest.process.pid}; rm -r {guest.folder}
In QMP, query-hotpluggable-cpus lists the slots; device_add with a slot's type and props fills it:
  device_add driver=TYPE id=cpu2 NAME=VALUE...     device_del id=cpu2
The guest brings a new CPU online with: echo 1 > /sys/devices/system/cpu/cpu2/online
""")
