# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations of which one side is killed, whatever runs the guest.

The guest has not answered three requests: a CPU came, another one is to go, and a disk came into a
root port. That state is made once and saved, and each round loads it.

What a round does follows from a seed and its number; only the moment of the kill is that of a
clock. Environment: GUEST_SEED=SEED plays the rounds of that seed, GUEST_SEED=SEED/NUMBER one round.
"""

import collections
import contextlib
import hashlib
import itertools
import os
import random
import signal
import time
from dataclasses import dataclass

import portcase
from guestcase import LONG, GuestError
from slotcases import EMPTY, OFF, ON, PENDING, slot_state
from workbench.guest import migration, modules
from workbench.guest.cpus import Cpus
from workbench.guest.guest import Guest
from workbench.guest.qemu import FACTOR
from workbench.system import polling

SOURCE, DESTINATION = "source", "destination"
# At the begin, somewhere in the transfer of memory, with all but the last of it transferred and the
# source waiting to be told to go on, in the transfer of the rest, and after the end.
BEGIN, MEMORY, SWITCHOVER, DEVICE, END = "begin", "memory", "switchover", "device", "end"
KINDS = list(itertools.product((SOURCE, DESTINATION), (BEGIN, MEMORY, SWITCHOVER, DEVICE, END)))

# A memory of this size with a guest like ours takes about half a second.
MEMORY_SIZE = "256M"
BANDWIDTH = 256 << 20           # bytes per second
SECONDS = 30                    # until it is clear how a migration has ended

COMES, GOES = 2, 3              # CPUs
DISK_SIZE = 1 << 20
DISK = portcase.null_disk(DISK_SIZE)
CONTENT = hashlib.md5(bytes(DISK_SIZE)).hexdigest()
# What a side says whose other side is gone. How it ends is judged by itself.
WORDS = r"^\S+: "


@dataclass(frozen=True)
class Round:
    """One migration. The victim is killed DELAY seconds after the moment."""

    victim: str
    moment: str
    runs: bool                  # the guest runs, and answers, while it is moved
    stays: bool                 # a destination that fails is to stay and tell of it
    share: float                # of the memory that is transferred at the moment MEMORY
    delay: float

    @classmethod
    def of(cls, seed, number):
        """Round NUMBER, from 0 on, of SEED, a text. All kinds take turns."""
        order = random.Random(f"{seed}/{number}")
        victim, moment = KINDS[number % len(KINDS)]
        return cls(victim, moment, order.random() < 0.7, order.random() < 0.5, order.random(),
                   order.random() * (0.01 if moment == SWITCHOVER else 0.06))


def plan(count):
    """The seed and the numbers of the rounds: COUNT of them, or what GUEST_SEED says."""
    default = str(random.randrange(10 ** 6)) if LONG else "1"
    seed, _, number = os.environ.get("GUEST_SEED", default).partition("/")
    return seed, [int(number)] if number else range(count)


class KillCases:
    """For a GuestCase. ROUNDS is how many are played; without PORT there is no disk."""

    rounds = len(KINDS)
    port = True

    def config(self, *arguments, **changes):
        """The Config of both sides; a source of the state that is saved has the same."""
        extra = [*DISK, *changes.pop("extra", ())]
        return super().config(*arguments, **{
            "smp": "2,maxcpus=5", "memory": MEMORY_SIZE, "initrd": modules.initrd("virtio_blk"),
            "machine": "virt,gic-version=3,pcie-hotplug-ports=1", "extra": extra, **changes})

    def save(self):
        """Have a guest with three requests that wait for it saved.

        Returns the address of the state, and the options of the devices that belong to it.
        """
        guest, cpus = self.boot()
        guest.check("modprobe virtio_blk")
        cpus.plug(GOES)
        guest.qmp("stop")
        cpus.add(COMES)
        cpus.delete(GOES)
        device = portcase.disk(0, "hotplug0")
        if self.port:
            guest.qmp("device_add", device)
        state = f"file:{self.folder()}/state"
        guest.qmp("migrate", {"uri": state})
        self.assertEqual(migration.wait_end(guest), "completed", guest.qmp("query-migrate"))
        options = portcase.option(device) if self.port else []
        for number in (COMES, GOES):
            options += ["-device", cpus.option(number)]
        guest.close()
        return state, options

    def test_rounds(self):
        """The side that is left goes on, or says that it cannot; no request is lost."""
        state, options = self.save()
        socket = self.folder() / "migration"
        seed, numbers = plan(self.rounds)
        outcomes = collections.Counter()
        for number in numbers:
            one = Round.of(seed, number)
            try:
                with contextlib.ExitStack() as stack:
                    outcomes[self.play(stack, one, state, options, socket)] += 1
            except BaseException as error:
                error.add_note(f"This was {one}. GUEST_SEED={seed}/{number} repeats it.")
                raise
        print(f"seed {seed}: " + ", ".join(f"{count} times {what}"
                                           for what, count in sorted(outcomes.items())))

    # --- one round -----------------------------------------------------------------------------

    def side(self, stack, name, options):
        """Start a QEMU that waits for the guest, until STACK ends; returns it and its Cpus."""
        # Not by start(), which keeps all QEMUs of a test up to its end.
        guest = stack.enter_context(Guest(
            self.config(extra=[*options, "-incoming", "defer"]), self.guest_name(f".{name}")))
        return guest, Cpus(guest)

    def play(self, stack, one, state, options, socket):
        """Play the round ONE; returns what has become of it, in words."""
        source, cpus = self.side(stack, SOURCE, options)
        target, there = self.side(stack, DESTINATION, options)
        source.qmp("migrate-incoming", {"uri": state})
        source.wait_for(lambda: self.status(source) == "completed", "the saved state is loaded")
        source.qmp("migrate-set-parameters", {"max-bandwidth": BANDWIDTH})
        self.place.run(["rm", "-f", socket])
        migration.begin(source, target, f"unix:{socket}",
                        *(["pause-before-switchover"] if one.moment in (SWITCHOVER, DEVICE)
                          else []), exit_on_error=not one.stays)
        if one.runs:
            source.qmp("cont")
        self.wait_moment(source, one)
        victim = source if one.victim == SOURCE else target
        victim.process.kill()
        victim.expect(status=-signal.SIGKILL)
        if one.victim == SOURCE:
            return self.judge_target(target, there, one)
        return self.judge_source(source, cpus, one)

    def status(self, guest):
        """Where the migration is, as GUEST has it."""
        return guest.qmp("query-migrate").get("status")

    def wait_moment(self, source, one):
        """Wait for the moment of the round, and as long after it as is said there."""
        def reached():
            info = source.qmp("query-migrate")
            if info["status"] in ("completed", "failed"):
                return True
            if one.moment == BEGIN:
                # A destination to which nobody has connected would wait for the next one.
                return one.victim == DESTINATION or info["status"] != "setup"
            if one.moment == MEMORY:
                ram = info.get("ram", {})
                return ram.get("remaining", 1) <= ram.get("total", 0) * (1 - one.share)
            return info["status"] == "pre-switchover"

        self.assertTrue(polling.until(reached, 60 * FACTOR, 0.001),
                        f"the moment does not come: {source.qmp('query-migrate')}")
        if one.moment == DEVICE:
            source.qmp("migrate-continue", {"state": "pre-switchover"})
        elif one.moment in (SWITCHOVER, END):
            self.assertEqual(self.status(source),
                             "completed" if one.moment == END else "pre-switchover")
        time.sleep(one.delay)

    # --- what is left --------------------------------------------------------------------------

    def judge_source(self, source, cpus, one):
        """The destination was killed: the source has the guest, or can have it back."""
        source.expect(says=WORDS)
        if one.moment == SWITCHOVER:
            # It learns of the loss when it goes on.
            source.qmp("migrate-continue", {"state": "pre-switchover"})
        status = migration.wait_end(source, SECONDS)
        state = source.qmp("query-status")["status"]
        if one.moment == END or status == "completed":
            self.assertEqual((status, state), ("completed", "postmigrate"))
            # Management software that hears nothing from the destination takes the guest back.
        else:
            self.assertEqual((status, state), ("failed", "running" if one.runs else "paused"))
        self.finish(source, cpus, answered=one.runs)
        return f"the source went on, as the migration had {status}"

    def judge_target(self, target, cpus, one):
        """The source was killed: the destination has all of the guest, or says that it has not."""
        target.expect(says=WORDS)
        end = target.wait_for(lambda: self.end(target), "the destination to find out that it has "
                              "the guest, or that it has not", SECONDS)
        if one.moment == END:
            self.assertEqual(end, "completed")
        elif one.moment == SWITCHOVER:
            self.assertNotEqual(end, "completed")
        if end == "completed":
            self.assertEqual(target.qmp("query-status")["status"],
                             "running" if one.runs else "paused")
            self.finish(target, cpus, answered=one.runs)
            return "the destination had the guest and went on"
        if one.stays:
            self.assertEqual(end, "failed")
            info = target.qmp("query-migrate")
            self.assertTrue(info.get("error-desc"), info)
            self.assertEqual(target.qmp("query-status")["status"], "inmigrate")
        else:
            self.assertEqual(end, "ended")
            self.assertEqual(target.process.status(), 1, target.process.errors())
            self.assertRegex(target.process.errors(), r"(?i)migration|socket|channel|connection",
                             "the destination says why it ends")
            target.expect(status=1)
        return "the destination had not all and said so"

    def end(self, target):
        """How the migration has ended: "completed", "failed", or "ended" if the destination has.

        None if that is not clear yet.
        """
        try:
            status = self.status(target)
        except GuestError:
            if target.process.wait(5 * FACTOR) is None:
                raise
            return "ended"
        return status if status in ("completed", "failed") else None

    def states(self, cpus):
        """What QEMU says of each slot."""
        return [slot_state(cpus, number) for number in range(len(cpus.slots()))]

    def wait_removed(self, guest, cpus, answered):
        """Wait until CPU GOES is gone; ask again if the guest has refused because of the disk."""
        def answer():
            # Between them the CPU is off and to be ejected, or ejected and to be deleted.
            state, _ = slot_state(cpus, GOES)
            return state if state in (EMPTY[0], ON[0]) else None

        if guest.wait_for(answer, f"CPU {GOES} to be removed, or kept") == EMPTY[0]:
            return
        # A guest that moved may have refused where it was before.
        if not answered:
            guest.event("DEVICE_UNPLUG_GUEST_ERROR", device=f"cpu{GOES}")
        cpus.delete_again(cpus.handle(GOES))
        guest.wait_for(lambda: GOES not in cpus.taken(), f"CPU {GOES} to be removed")

    def finish(self, guest, cpus, answered):
        """The guest carries out all three requests, and others after them.

        ANSWERED says that it may have begun with that; otherwise it stands still.
        """
        if not answered:
            self.assertEqual(self.states(cpus), [ON, ON, OFF, PENDING, EMPTY])
        if guest.qmp("query-status")["status"] != "running":
            guest.qmp("cont")
        cpus.wait_enabled(COMES)
        self.wait_removed(guest, cpus, answered)
        cpus.bring_online(COMES)
        if self.port:
            # Linux shows a disk a moment before it can be opened.
            guest.wait_for(lambda: guest.run("md5sum < /dev/vda")[0] == 0, "a disk in the guest")
            found = guest.check("echo $(cat /sys/block/vda/serial) $(md5sum < /dev/vda)").split()
            self.assertEqual(found[:2], ["disk0", CONTENT])
        cpus.wait_view(f"CPU {COMES} came and CPU {GOES} went", enabled={0, 1, COMES},
                       online={0, 1, COMES})
        wanted = [ON, ON, ON, EMPTY, EMPTY]
        # Linux says that a CPU is offline before the CPU has turned itself off.
        guest.wait_for(lambda: self.states(cpus) == wanted,
                       lambda: f"slots to be {wanted}, and not {self.states(cpus)}")
        guest.events()
        cpus.unplug(COMES)
        cpus.plug(GOES)
        self.assert_cpus(cpus, {0, 1, GOES})
        self.assert_sound(guest)
