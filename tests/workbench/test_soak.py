#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""scripts/soak without a guest: which steps it takes, what it notices, and how it repeats them."""

import argparse
import contextlib
import copy
import io
import json
import mmap
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.soak import command, journal, model, plan, steps, summary  # noqa: E402
from workbench.soak.steps import KINDS, Step  # noqa: E402
from workbench.system import tools  # noqa: E402
from workbench.ui import arguments  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

tools.ensure()
tools.activate()

from workbench.guest.qemu import GuestError, Refused, option  # noqa: E402
from workbench.soak import agreement, growth, machine, observation, runner, session  # noqa: E402

SLOTS = 8
SUMS = {f"disk{number}": f"sum{number}" for number in range(model.DISKS)}
FACTS = agreement.Facts("virt-test-machine", SUMS)
MOVES = ("reset", "reboot", "kexec", "migrate", "loadvm", "savevm", "restore")


def shown(state):
    """What QEMU and a guest show that are as the Model STATE says."""
    at = state.machine
    slots, cpus = [], []
    for number, slot in enumerate(at.slots):
        entry = {"type": "cpu", "props": {"core-id": number}}
        if slot.plugged:
            entry["qom-path"] = f"/machine/peripheral/cpu{number}"
            on = slot.online or not at.booted and number == 0
            entry["power-state"] = "on" if on else "off"
            cpus.append({"qom-path": entry["qom-path"], "thread-id": 100 + number})
        entry["state"] = ("unplug-pending" if slot.asked else "plugged" if slot.plugged
                          else "empty")
        slots.append(entry)
    ost = {("CPU", number): slot.ost for number, slot in enumerate(at.slots)}
    ost |= {("DIMM", number): value for number, value in at.dimm_ost.items()}
    ost = {key: (3, 1) if value == model.REFUSED else value or (0, 0)
           for key, value in ost.items()}
    guest = observation.GuestView(
        frozenset(range(SLOTS)), at.seen() | at.stale, at.online(),
        {observation.MAC.format(number) for number in at.nics},
        {f"disk{number}": SUMS[f"disk{number}"] for number in at.disks},
        len(at.nics) + len(at.disks))
    devices = {f"nic{number}" for number in at.nics} | {f"disk{number}" for number in at.disks}
    dimms = {f"dimm{number}" for number in at.dimms}
    return observation.Observation(
        "running" if state.running else "paused" if at.booted else "prelaunch",
        FACTS.machine, slots, cpus, {name: model.DIMM_SIZE for name in dimms},
        devices if at.booted else set(), devices | dimms, {f"{name}-ram" for name in dimms}, ost,
        observation.Process([f"CPU {number}/TCG" for number in sorted(at.plugged())],
                            ["main"], 20, 900000 + len(at.dimms) * (model.DIMM_SIZE >> 10)),
        guest if state.running else None)


class FakeMachine:
    """A guest that does at once what a step wants.

    FAULT is called with this and the number of the step, after it.
    """

    vcpus_ever = 0
    release = "6.12-fake"

    def __init__(self, fault=None):
        self.truth = model.start(SLOTS, 2)
        self.count = 0
        self.ends = []
        self.change = None
        self.outcome = None
        self.closed = []
        self._fault = fault

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self, force=False):
        self.closed.append(force)

    def keep_logs(self):
        pass

    def begin(self):
        return model.start(SLOTS, 2), FACTS

    def do(self, step, _model):
        self.count += 1
        kind = KINDS[step.kind]
        outcome, = kind.outcomes(self.truth, step.args)
        kind.apply(self.truth, step.args, outcome)
        if self._fault:
            self._fault(self, self.count)
        return self.outcome or outcome

    def observe(self, _model):
        seen = shown(self.truth)
        if self.change:
            self.change(seen)
        return seen

    def judge(self):
        return self.ends


class Plan(unittest.TestCase):

    def steps(self, seed, count=1500, chosen=None):
        """The first steps of a seed, and the models before them."""
        state = model.start(SLOTS, 2)
        made = plan.Plan(seed, chosen or plan.kinds())
        for index in range(1, count + 1):
            step = made.step(index, state)
            yield step, copy.deepcopy(state)
            kind = KINDS[step.kind]
            outcomes = kind.outcomes(state, step.args)
            self.assertEqual(len(outcomes), 1, f"{step}: the end depends on the guest")
            kind.apply(state, step.args, *outcomes)

    def test_seed_alone(self):
        """The same seed gives the same steps, another one others."""
        first = [step for step, _ in self.steps(7)]
        self.assertEqual(first, [step for step, _ in self.steps(7)])
        self.assertNotEqual(first, [step for step, _ in self.steps(8)])

    def test_each_step_by_itself(self):
        """A step does not depend on how many random numbers those before it took."""
        state = model.start(SLOTS, 2)
        made = plan.Plan(7, plan.kinds())
        late = made.step(30, state)
        for index in range(1, 30):
            made.step(index, state)
        self.assertEqual(made.step(30, state), late)

    def test_everything_comes(self):
        """Each kind comes in both states in which it can, and refusals of the guest come."""
        seen, refusals = set(), 0
        for seed in range(3):
            for step, state in self.steps(seed):
                seen.add((step.kind, state.running))
                refusals += steps.REFUSED_BY_GUEST in KINDS[step.kind].outcomes(state, step.args)
        for kind in set(KINDS) - {"cont"}:
            self.assertIn((kind, True), seen)
        for kind in ("cont", "cpu-plug", "cpu-unplug", "dimm-plug", "dimm-unplug", "reset",
                     "savevm", "loadvm", "restore", "migrate", "wrong"):
            self.assertIn((kind, False), seen)
        self.assertGreater(refusals, 0)

    def test_sound(self):
        """No step leads to a machine that cannot be."""
        for step, state in self.steps(3, 3000):
            at = state.machine
            with self.subTest(step):
                self.assertIn(0, at.plugged())
                self.assertLessEqual(at.asked(), at.plugged())
                self.assertLessEqual(at.seen(), at.plugged())
                self.assertLessEqual(at.online(), at.seen())
                self.assertFalse(at.stale & at.plugged())
                if state.running:
                    self.assertTrue(at.booted and at.online())
                    self.assertEqual(at.seen(), at.plugged())
                    self.assertFalse(at.asked() or at.dimms_asked())
                self.assertTrue(KINDS[step.kind].possible(state, step.args))

    def test_kinds(self):
        """--only brings what undoes a kind; nothing is stopped that cannot go on."""
        self.assertEqual(plan.kinds(["nic-unplug", "work"]), ["nic-plug", "nic-unplug", "work"])
        self.assertEqual(set(KINDS) - set(plan.kinds((), ["cont"])), {"cont", "stop"})
        self.assertEqual(set(KINDS) - set(plan.kinds((), MOVES)), set(MOVES))
        for only, without, pattern in (
                (["cpu-plgu"], (), r"no kind of step cpu-plgu; there are: .*cpu-plug"),
                ((), ["sleep", "nap"], "no kind of step nap, sleep"),
                (["work"], ["work"], "No kind of step is left")):
            with self.assertRaisesRegex(WorkbenchError, pattern):
                plan.kinds(only, without)
        found = {step.kind for step, _ in self.steps(5, 300, plan.kinds(["stop", "load"]))}
        self.assertEqual(found, {"stop", "cont", "load"})

    def test_nothing_possible(self):
        with self.assertRaisesRegex(WorkbenchError, "Nothing is possible as step 1 .*: cont"):
            plan.Plan(1, ["cont"]).step(1, model.start(SLOTS, 2))


class Effects(unittest.TestCase):
    """What steps lead to, where it is not as plain as with most."""

    def setUp(self):
        self.state = model.start(SLOTS, 2)

    def take(self, kind, **args):
        """Take a step; returns the outcome."""
        self.assertTrue(KINDS[kind].possible(self.state, args), f"{kind} {args}")
        outcome, = KINDS[kind].outcomes(self.state, args)
        KINDS[kind].apply(self.state, args, outcome)
        return outcome

    def test_last_cpu(self):
        """The guest keeps the last CPU that it uses."""
        self.take("cpu-offline", slot=0)
        self.assertEqual(self.take("cpu-unplug", slots=[1]), steps.REFUSED_BY_GUEST)
        self.assertEqual(self.state.machine.online(), {1})
        self.take("cpu-plug", slots=[3], online=False)
        self.assertFalse(KINDS["cpu-unplug"].possible(self.state, {"slots": [1, 3]}))
        self.assertEqual(self.take("cpu-unplug", slots=[3]), steps.DONE)
        self.take("stop")
        self.assertFalse(KINDS["cpu-unplug"].possible(self.state, {"slots": [1]}))

    def test_requests_while_stopped(self):
        """They wait for cont; a reset carries out removals."""
        for way in ("cont", "reset"):
            with self.subTest(way):
                self.setUp()
                self.take("stop")
                self.take("cpu-plug", slots=[4], online=True)
                self.take("cpu-unplug", slots=[1])
                at = self.state.machine
                self.assertEqual((at.plugged(), at.seen(), at.asked()),
                                 ({0, 1, 4}, {0, 1}, {1}))
                self.take(way)
                self.assertEqual(at.plugged(), {0, 4})
                if way == "reset":
                    self.assertEqual(at.seen(), set())
                    self.take("cont")
                self.assertEqual(at.seen(), {0, 4})
                # Nobody brings a CPU online that comes while the guest runs.
                self.assertEqual(at.online(), {0, 4} if way == "reset" else {0})

    def test_kexec(self):
        """CPUs of the last reset that are gone are in doubt until they come back."""
        self.take("cpu-unplug", slots=[1])
        self.take("kexec")
        self.assertEqual((self.state.machine.stale, self.state.machine.online()), ({1}, {0}))
        self.assertFalse(KINDS["kexec"].possible(self.state, {}))
        self.take("cpu-plug", slots=[1], online=True)
        self.assertEqual(self.state.machine.stale, set())
        self.take("reboot")
        self.assertTrue(KINDS["kexec"].possible(self.state, {}))

    def test_snapshot(self):
        """Devices decide whether this QEMU can load it; whether it runs has not changed."""
        self.take("cpu-plug", slots=[2], online=False)
        self.take("stop")
        self.take("cpu-unplug", slots=[2])
        self.take("savevm", name="one")
        self.take("cont")
        self.assertEqual(self.state.machine.plugged(), {0, 1})
        self.assertFalse(KINDS["loadvm"].possible(self.state, {"name": "one"}))
        # Loaded into a guest that runs, what it holds of requests is answered.
        self.take("restore", name="one")
        self.assertEqual((self.state.machine.plugged(), self.state.processes), ({0, 1}, 2))
        self.take("stop")
        self.take("restore", name="one")
        self.assertEqual(self.state.machine.asked(), {2})
        # This one has the devices.
        self.take("loadvm", name="one")
        self.assertEqual((self.state.machine.asked(), self.state.processes), ({2}, 3))
        self.take("cont")
        self.take("cpu-plug", slots=[2], online=True)
        self.take("loadvm", name="one")
        self.assertEqual((self.state.machine.plugged(), self.state.processes), ({0, 1}, 3))
        self.assertTrue(self.state.snapshots["one"].asked(), "the snapshot has changed")

    def test_memory(self):
        """A guest that uses memory may keep a module, and both ways are right."""
        self.state.memory_hotplug = True
        self.take("dimm-plug", dimm=1)
        kind = KINDS["dimm-unplug"]
        self.assertEqual(kind.outcomes(self.state, {"dimm": 1}),
                         {steps.DONE, steps.REFUSED_BY_GUEST})
        kind.apply(self.state, {"dimm": 1}, steps.REFUSED_BY_GUEST)
        self.assertEqual(self.state.machine.dimm_ost[1], model.REFUSED)
        self.assertIn(1, self.state.machine.dimms)
        kind.apply(self.state, {"dimm": 1}, steps.DONE)
        self.assertEqual(self.state.machine.dimms, {})
        self.take("dimm-plug", dimm=1)
        self.take("stop")
        self.assertFalse(kind.possible(self.state, {"dimm": 1}))


class Journal(unittest.TestCase):

    HEAD = {"seed": 7, "accel": "tcg", "kinds": ["cpu-plug"]}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "journal.jsonl"

    def test_read_back(self):
        """What was written, and of a run that was killed in the middle of a line, too."""
        step = Step("cpu-plug", {"slots": [3, 5], "online": True})
        with journal.Journal(self.path, self.HEAD) as written:
            written.begin(1, step)
            written.done(1, steps.DONE, 0.5, {"memory_kib": 700})
            written.begin(2, Step("stop"))
            # Of use for a run that is killed.
            self.assertEqual(len(journal.read(self.path).steps), 2)
            written.failed(2, "why")
        for text in ("", '{"step": 3, "ki'):
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(text)
            record = journal.read(self.path)
            self.assertEqual(record.steps, [(1, step), (2, Step("stop"))])
            self.assertEqual(record.outcomes, {1: steps.DONE})
            self.assertEqual(record.head["seed"], 7)

    def test_refused(self):
        """What is no journal is refused, and the reason says so."""
        head = json.dumps({"format": 1, **self.HEAD}) + "\n"
        for text, pattern in (
                ("", "is no journal of scripts/soak"), ("[]\n", "is no journal"),
                (json.dumps({"format": 2, **self.HEAD}), "with the format 1"),
                (json.dumps({"format": 1, "seed": 1}), "must have format, seed, accel, kinds"),
                (head + "hello\n", "line 2, is not JSON"),
                (head + '{"step": 1, "kind": "fly", "args": {}}\n', "unknown kind 'fly'")):
            self.path.write_text(text, encoding="utf-8")
            with self.subTest(text), self.assertRaisesRegex(WorkbenchError, pattern):
                journal.read(self.path)
        with self.assertRaisesRegex(WorkbenchError, "cannot be read"):
            journal.read(self.path.with_name("none"))


class Agreement(unittest.TestCase):
    """Each thing that is not as it must be is noticed."""

    def setUp(self):
        self.state = model.start(SLOTS, 2)
        for kind, args in (("cpu-plug", {"slots": [2, 3], "online": True}),
                           ("cpu-offline", {"slot": 3}), ("dimm-plug", {"dimm": 1}),
                           ("nic-plug", {"number": 0}), ("disk-plug", {"number": 2})):
            KINDS[kind].apply(self.state, args, steps.DONE)

    def found(self, change=None):
        """The differences after CHANGE of what is right."""
        seen = shown(self.state)
        if change:
            change(seen)
        return agreement.differences(self.state, FACTS, seen)

    def assert_noticed(self, pattern, change):
        wrong = "\n".join(self.found(change))
        self.assertRegex(wrong, pattern)

    def test_right(self):
        """Nothing is wrong in all the states that a long run comes to."""
        self.assertEqual(self.found(), [])
        made = plan.Plan(11, plan.kinds())
        for index in range(1, 1001):
            step = made.step(index, self.state)
            kind = KINDS[step.kind]
            kind.apply(self.state, step.args, *kind.outcomes(self.state, step.args))
            self.assertEqual(self.found(), [], f"after step {index}, {step}")

    def test_qemu(self):
        def put(name, value):
            return lambda seen: setattr(seen, name, value)

        for pattern, change in (
                ("query-status: paused instead of running", put("status", "paused")),
                ("machine: other instead of virt-test", put("machine", "other")),
                ("query-hotpluggable-cpus: 0-1,3 instead of 0-3",
                 lambda seen: seen.slots[2].pop("qom-path")),
                ("state of slot 2: unplug-pending instead of plugged",
                 lambda seen: seen.slots[2].update({"state": "unplug-pending"})),
                ("state of slot 7: ejected instead of empty",
                 lambda seen: seen.slots[7].update({"state": "ejected"})),
                ("power-state of slot 3: on instead of off",
                 lambda seen: seen.slots[3].update({"power-state": "on"})),
                ("query-cpus-fast: .*cpu2 instead of .*cpu3", lambda seen: seen.cpus.pop()),
                ("vCPU threads of QEMU: 5 instead of 4",
                 lambda seen: seen.process.vcpus.append("CPU 5/TCG")),
                ("query-memory-devices", lambda seen: seen.dimms.clear()),
                ("query-pci: disk2 instead of disk2, nic0", put("devices", {"disk2"})),
                ("/machine/peripheral: .*, wrong instead of dimm1, disk2, nic0",
                 lambda seen: seen.peripherals.add("wrong")),
                ("backends in /objects: dimm0-ram, dimm1-ram instead of dimm1-ram",
                 lambda seen: seen.backends.add("dimm0-ram")),
                (r"CPU 2: event 3, status 1 instead of event 1, status 0",
                 lambda seen: seen.ost.update({("CPU", 2): (3, 1)})),
                ("has no DIMM 1", lambda seen: seen.ost.pop(("DIMM", 1)))):
            with self.subTest(pattern):
                self.assert_noticed(pattern, change)

    def test_guest(self):
        def put(name, value):
            return lambda seen: setattr(seen.guest, name, value)

        for pattern, change in (
                ("online CPUs in the guest: 0-3 instead of 0-2",
                 put("online", frozenset(range(4)))),
                ("enabled CPUs in the guest: 0-1 instead of 0-3",
                 put("enabled", frozenset({0, 1}))),
                ("present CPUs in the guest: 3 missing", put("present", frozenset({0, 1, 2}))),
                ("network cards in the guest: none instead of 52:", put("macs", set())),
                ("disks in the guest: none instead of disk2", put("disks", {})),
                ("content of disk2 in the guest: x", put("disks", {"disk2": "x"})),
                ("PCI functions in the guest: 3 instead of 2", put("functions", 3))):
            with self.subTest(pattern):
                self.assert_noticed(pattern, change)
        seen = shown(self.state)
        self.assertEqual(agreement.complaints(seen), [])
        seen.guest.complaints.append("BUG: x")
        self.assertEqual(agreement.complaints(seen), ["the guest's kernel says: BUG: x"])

    def test_memory_of_guest(self):
        """Blocks are compared if the guest's kernel has them."""
        facts = agreement.Facts(FACTS.machine, SUMS, 6)
        for blocks, right in ((7, True), (6, False)):
            seen = shown(self.state)
            seen.guest.blocks = (blocks, blocks, model.DIMM_SIZE)
            self.assertEqual(agreement.differences(self.state, facts, seen) == [], right)

    def test_kept_cpu(self):
        """A refusal is any status but that of success and of progress."""
        self.state.machine.slots[2].ost = model.REFUSED
        self.assertEqual(self.found(), [])
        for status in (0, 0x84):
            self.assert_noticed("instead of event 3, a refusal",
                                lambda seen, status=status: seen.ost.update(
                                    {("CPU", 2): (3, status)}))

    def test_without_slot_states(self):
        """A QEMU that does not say them is not asked for them."""
        def drop(seen):
            for slot in seen.slots:
                slot.pop("state")
                slot.pop("power-state", None)

        self.assertEqual(self.found(drop), [])

    def test_newer_kernel(self):
        """One without "enabled", and one that does not know CPUs that are gone after a kexec."""
        self.assertEqual(self.found(lambda seen: setattr(seen.guest, "enabled", None)), [])
        self.state.machine.stale = {6}
        for enabled in ({0, 1, 2, 3}, {0, 1, 2, 3, 6}):
            self.assertEqual(self.found(lambda seen, enabled=enabled: setattr(
                seen.guest, "enabled", frozenset(enabled))), [])


class Parsing(unittest.TestCase):

    def test_guest(self):
        seen = observation.parse_guest(
            "present=0-7\r\nenabled=0-2\r\nonline=0,2\r\n\r\nmac=00:00:00:00:00:00\r\n"
            "mac=52:54:00:50:00:01\r\ndisk=disk1 abc -\r\nfunctions=2\r\n"
            "complaint=[ 1.0] WARNING: x=1\r\n")
        self.assertEqual(seen, observation.GuestView(
            frozenset(range(8)), frozenset({0, 1, 2}), frozenset({0, 2}),
            {"52:54:00:50:00:01"}, {"disk1": "abc"}, 2, None, ["[ 1.0] WARNING: x=1"]))
        seen = observation.parse_guest("present=0\nenabled=-\nonline=0\nfunctions=0\n"
                                       "block_size=8000000\nblocks=6\nblocks_online=5\n")
        self.assertEqual((seen.enabled, seen.blocks), (None, (6, 5, 128 << 20)))
        with self.assertRaisesRegex(ValueError, "soak-look in the guest gave no 'online'"):
            observation.parse_guest("present=0\nenabled=0\nsoak-look: not found\n")

    def test_process(self):
        seen = observation.parse_process(
            "qemu-system-aar\nCPU 0/TCG\ncall_rcu\nworker\nCPU 3/TCG\n\n31\n50\n"
            "1000-2000 ---p 00 00:00 0 [rollup]\nRss: 300 kB\nPrivate_Dirty: 200 kB\nSwap: 10 kB\n")
        self.assertEqual(seen, observation.Process(
            ["CPU 0/TCG", "CPU 3/TCG"], ["call_rcu", "qemu-system-aar"], 31, 160))

    def test_process_command(self):
        """What a shell prints of this process is understood; code that it writes is told apart."""
        def code():
            output = subprocess.run(observation.process_command(os.getpid()), check=True, text=True,
                                    stdout=subprocess.PIPE).stdout
            self.assertGreater(observation.parse_process(output).descriptors, 2)
            return int(output.partition("\n\n")[2].splitlines()[1])

        before = code()
        memory = mmap.mmap(-1, 1 << 20, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.addCleanup(memory.close)
        memory.write(b"x" * (1 << 20))
        self.assertEqual(code() - before, 1024)

    def test_pci(self):
        buses = [{"devices": [
            {"qdev_id": "hotplug0", "pci_bridge": {"bus": {}, "devices": [
                {"qdev_id": "nic0"}]}},
            {"qdev_id": "hotplug1", "pci_bridge": {"bus": {}}}, {"qdev_id": ""}]}]
        self.assertEqual(observation._behind_ports(buses), {"nic0"})


class Growth(unittest.TestCase):

    def setUp(self):
        self.growth = growth.Growth()
        self.state = model.start(SLOTS, 2)
        self.process = shown(self.state).process

    def look(self, times=1, **changes):
        """Look at the process TIMES times as it is with CHANGES; returns what has grown at last."""
        for name, value in changes.items():
            setattr(self.process, name, value)
        for _ in range(times):
            found = self.growth.judge(self.state, self.process)
            self.growth.note(self.state, self.process)
        return found

    def test_memory(self):
        start = self.process.memory
        self.assertEqual(self.look(growth.FIRST, memory=start + 2 * growth.MEMORY), [])
        self.assertEqual(self.look(memory=start + 3 * growth.MEMORY), [])
        found = self.look(memory=start + 3 * growth.MEMORY + 1)
        self.assertRegex("".join(found), "memory of QEMU without modules")
        # What one process needed in its first steps, another one may need later.
        self.state.processes += 1
        self.assertEqual(self.look(growth.FIRST, memory=start), [])
        self.assertEqual(self.look(memory=start + 3 * growth.MEMORY), [])
        self.assertEqual(len(self.look(memory=start + 3 * growth.MEMORY + 1)), 1)

    def test_module(self):
        """What a module needs is not growth."""
        self.look(growth.FIRST)
        self.state.machine.dimms[0] = model.Dimm(seen=True)
        self.assertEqual(self.look(memory=self.process.memory + (model.DIMM_SIZE >> 10)), [])
        del self.state.machine.dimms[0]
        self.assertEqual(len(self.look()), 1)

    def test_threads_and_files(self):
        self.look(growth.FIRST)
        self.assertEqual(self.look(descriptors=20 + growth.DESCRIPTORS), [])
        self.assertRegex("".join(self.look(descriptors=21 + growth.DESCRIPTORS)),
                         "file descriptors of QEMU: 25, and 20")
        # With another disk there may be more.
        self.state.machine.disks.add(1)
        self.assertEqual(self.look(descriptors=40), [])
        self.assertRegex("".join(self.look(threads=["main", "a", "b"])),
                         "threads of QEMU besides vCPUs: 3.*: main, a, b")

    def test_files_with_kvm(self):
        """A vCPU that is there has a file more than one that was; nothing else may grow by that."""
        def look(vcpus, descriptors):
            self.process.vcpus, self.process.descriptors = list(range(vcpus)), descriptors
            found = self.growth.judge(self.state, self.process, 6)
            self.growth.note(self.state, self.process, 6)
            return "".join(found)

        self.assertEqual(look(1, 49), "")
        self.assertEqual(look(6, 54 + growth.DESCRIPTORS), "")
        self.assertRegex(look(6, 55 + growth.DESCRIPTORS),
                         "file descriptors of QEMU but for vCPUs: 53, and 48")
        self.assertRegex(look(1, 54), "53, and 48")


class Run(unittest.TestCase):
    """Whole runs, on a fake guest."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for patch in (mock.patch.object(runner, "PATIENCE", 0.05),
                      mock.patch.object(runner, "_PAUSE", 0.001),
                      mock.patch.object(session.paths, "SOAK", self.folder),
                      mock.patch.object(session, "_settings",
                                        return_value=SimpleNamespace(slots=SLOTS)),
                      mock.patch.object(session.emulators, "version", return_value="1.2"),
                      mock.patch.dict(session.os.environ)):
            patch.start()
            self.addCleanup(patch.stop)

    def run_soak(self, fault=None, guest=None, **fields):
        """Run; returns the Result and what was written to standard error."""
        guest = guest or FakeMachine(fault)
        request = {"seed": 7, "accel": "tcg", "kinds": plan.kinds(), "qemu": Path("/q"),
                   "steps": 200, **fields}
        with mock.patch.object(session, "Machine", return_value=guest), \
                contextlib.redirect_stderr(io.StringIO()) as err:
            return session.run(session.Request(**request)), err.getvalue()

    def entries(self, result):
        """The journal's lines without times."""
        found = [json.loads(line) for line in
                 (result.folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
        for entry in found:
            entry.pop("seconds", None)
        return found

    def test_clean(self):
        """The summary says so, and is kept."""
        result, _ = self.run_soak()
        found = result.found
        self.assertTrue(found["clean"])
        self.assertEqual((found["steps"], found["failure"], found["seed"]), (200, None, 7))
        self.assertEqual(sum(kind["count"] for kind in found["kinds"].values()), 200)
        self.assertGreater(found["qemu_processes"], 1)
        self.assertEqual(json.loads((result.folder / "summary.json").read_text()), found)
        self.assertIn("Result: all agreed after each step", summary.render(found))

    def test_time(self):
        """A run ends after its time."""
        result, _ = self.run_soak(seconds=1, steps=None)
        self.assertTrue(result.found["clean"])
        self.assertGreater(result.found["steps"], 1)

    def test_same_journal(self):
        """Two runs of a seed write the same journal, however long anything takes."""
        first = self.entries(self.run_soak()[0])
        slow = FakeMachine(lambda guest, number: number % 50 or runner.time.sleep(0.05))
        self.assertEqual(self.entries(self.run_soak(guest=slow)[0]), first)

    def test_replay(self):
        """A failed run is repeated, up to the same failure, and in part."""
        def lose(guest, number):
            if number == 120:
                guest.truth.machine.slots[0].online = not guest.truth.machine.slots[0].online
                guest.truth.running = True

        first, _ = self.run_soak(lose)
        self.assertFalse(first.found["clean"])
        self.assertEqual(first.found["steps"], 119)
        path = first.folder / "journal.jsonl"
        record = journal.read(path)
        self.assertEqual(len(record.steps), 120)
        again, _ = self.run_soak(lose, record=record, steps=None)
        self.assertNotEqual(again.folder, first.folder)
        self.assertEqual(self.entries(again), self.entries(first))
        text = command.failure_text(first.found, first.steps, first.folder)
        index, step = record.steps[-1]
        for part in (f"Step {index} failed: {step}", "the last 30 of 120", "seed 7",
                     f"scripts/soak --replay {path}"):
            self.assertIn(part, text)
        part, _ = self.run_soak(record=record, steps=50)
        self.assertEqual((part.found["steps"], part.found["clean"]), (50, True))

    def test_replay_that_differs(self):
        """Steps that are not possible any more are left out; outcomes that differ are named."""
        record = journal.Record(
            {}, [(1, Step("cpu-plug", {"slots": [3], "online": True})),
                 (2, Step("cpu-plug", {"slots": [3], "online": True})), (3, Step("stop"))],
            {1: steps.REFUSED_BY_GUEST, 3: steps.DONE})
        result, said = self.run_soak(record=record, steps=None)
        self.assertEqual(result.found["steps"], 2)
        self.assertIn("step 2 (cpu-plug slots=3 online=True) is not possible", said)
        self.assertIn(f'step 1 (cpu-plug slots=3 online=True) ended as "{steps.REFUSED_BY_GUEST}" '
                      f'then, and now as "{steps.DONE}"', said)

    def assert_failure(self, pattern, fault, step=5):
        """The run fails at STEP with a reason like PATTERN; QEMU is not judged after that."""
        guest = FakeMachine(lambda guest, number: number == step and fault(guest))
        result, _ = self.run_soak(guest=guest)
        self.assertRegex(result.found["failure"], pattern)
        self.assertEqual(result.found["steps"], step - 1)
        self.assertEqual(self.entries(result)[-1],
                         {"failed": step, "why": result.found["failure"]})
        self.assertEqual(guest.closed[0], True)

    def test_failures(self):
        def refuse(_guest):
            raise Refused("no")

        def break_down(_guest):
            raise GuestError("the guest is gone")

        def show(**changes):
            def fault(guest):
                guest.change = lambda seen: [setattr(seen, key, value)
                                             for key, value in changes.items()]
            return fault

        def complain(guest):
            guest.change = lambda seen: seen.guest and seen.guest.complaints.append("BUG: x")

        for pattern, fault in (
                ("QEMU refused what it should do: no", refuse),
                ("the guest is gone", break_down),
                ("the guest's kernel says: BUG", complain),
                ("not all agree within 0 s:\n.*machine: x instead", show(machine="x")),
                ("outcome is: odd; it should be: done",
                 lambda guest: setattr(guest, "outcome", "odd")),
                ("an event", lambda guest: guest.ends.append("an event"))):
            with self.subTest(pattern):
                self.assert_failure(pattern, fault)

    def test_moment(self):
        """What is right a moment later is right."""
        guest = FakeMachine()
        looks = []
        observe = guest.observe

        def late(state):
            looks.append(1)
            seen = observe(state)
            if len(looks) % 3:
                seen.machine = "not yet"
            return seen

        guest.observe = late
        result, _ = self.run_soak(guest=guest, steps=20)
        self.assertTrue(result.found["clean"], result.found["failure"])

    def test_end(self):
        """QEMU that ends in a wrong way after the last step is a failure."""
        guest = FakeMachine()

        def close(force=False):
            if not force:
                raise GuestError("QEMU ended with signal 11")

        guest.close = close
        guest.__class__ = type("Quiet", (FakeMachine,), {"__exit__": lambda *_: None})
        result, _ = self.run_soak(guest=guest, steps=3)
        self.assertEqual(result.found["failure"], "QEMU ended with signal 11")

    def test_interrupt(self):
        """A person ends the run: the summary is of what was done."""
        def interrupt(_guest, number):
            if number == 4:
                raise KeyboardInterrupt

        result, _ = self.run_soak(interrupt)
        self.assertEqual((result.found["steps"], result.found["interrupted"]), (3, True))
        self.assertIn("Result: interrupted", summary.render(result.found))

    def test_no_begin(self):
        """A guest that does not boot is no result."""
        with mock.patch.object(session, "Machine", side_effect=GuestError("no sign")), \
                contextlib.redirect_stderr(io.StringIO()), \
                self.assertRaisesRegex(WorkbenchError, "did not begin: no sign"):
            session.run(session.Request(7, "tcg", plan.kinds(), Path("/q")))


class Requests(unittest.TestCase):
    """What machine.py says to QEMU, and makes of what it hears."""

    def test_option(self):
        self.assertEqual(option({"driver": "d", "id": "x", "addr": 5, "flag": True,
                                 "romfile": ""}), "d,id=x,addr=5,flag=on,romfile=")
        self.assertEqual(option({"id": "x", "qom-type": "t"}, "qom-type"), "t,id=x")

    def test_end_of_module(self):
        """Gone, kept with an event, and kept by a guest that only says so to ACPI."""
        def answer(status, source=3, kind="DIMM", slot="1"):
            return {"event": "ACPI_DEVICE_OST", "data": {"info": {
                "slot-type": kind, "slot": slot, "source": source, "status": status}}}

        gone = {"event": "DEVICE_DELETED", "data": {"device": "dimm1", "path": "/p"}}
        kept = {"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": "dimm1", "path": "/p"}}
        part = {"event": "DEVICE_DELETED", "data": {"path": "/p/part"}}
        passing = [answer(0x84), answer(0, 1), answer(1, kind="CPU"), answer(1, slot="2"), part]
        for last, outcome in ((gone, steps.DONE), (kept, steps.REFUSED_BY_GUEST),
                              (answer(1), steps.REFUSED_BY_GUEST)):
            events = [*passing, last]
            guest = SimpleNamespace(event=lambda *_, events=events: events.pop(0))
            self.assertEqual(self.tested(guest=guest)._dimm_end(1), outcome)
            self.assertEqual(events, [])

    def tested(self, **attributes):
        """A Machine that has started no QEMU, with ATTRIBUTES."""
        made = machine.Machine.__new__(machine.Machine)
        vars(made).update({
            "_memory_start": 0x80000000, "_settings": SimpleNamespace(slots=SLOTS),
            "_cpu_options": [f"cpu,id=cpu{number}" for number in range(SLOTS)], **attributes})
        return made

    def test_other_qemu(self):
        """A QEMU that is to take over has the devices of the model, as they were plugged."""
        state = model.start(SLOTS, 2)
        for kind, args in (("cpu-plug", {"slots": [4], "online": True}), ("dimm-plug", {"dimm": 2}),
                           ("nic-plug", {"number": 1}), ("disk-plug", {"number": 0})):
            KINDS[kind].apply(state, args, steps.DONE)
        tested = self.tested(_start=mock.Mock())
        tested._start_like(state.machine, ["-incoming", "defer"], paused=True)
        (words, smp, paused), _ = tested._start.call_args
        self.assertEqual((smp, paused), (f"1,maxcpus={SLOTS}", True))
        values = dict(enumerate(words))
        devices = [values[at + 1] for at, word in values.items() if word == "-device"]
        self.assertEqual(devices, [
            "cpu,id=cpu1", "cpu,id=cpu4", "pc-dimm,id=dimm2,memdev=dimm2-ram,slot=2,addr="
            f"{0x80000000 + 2 * model.DIMM_SIZE}",
            "virtio-net-pci,id=nic1,netdev=net1,mac=52:54:00:50:00:01,romfile=,bus=hotplug1",
            "virtio-blk-pci,id=disk0,drive=disk0,serial=disk0,num-queues=2,"
            f"bus=hotplug{model.NICS}"])
        self.assertIn(f"memory-backend-ram,id=dimm2-ram,size={model.DIMM_SIZE},prealloc=on", words)
        self.assertTrue(any(word.endswith("id=net1") for word in words))
        self.assertEqual(words[-2:], ["-incoming", "defer"])

    def test_answers(self):
        """What the guest was asked for is named before it goes on, and waited for after that."""
        done = []
        cpus = SimpleNamespace(handle=lambda number: done.append("name") or f"cpu{number}",
                               wait_enabled=lambda number, _: done.append(f"cpu{number} comes"))
        guest = SimpleNamespace(qmp=lambda command, _=None: done.append(command),
                                event=lambda *_, **data: done.append(data["device"]) or {
                                    "event": "DEVICE_DELETED"})
        state = model.start(SLOTS, 2)
        for kind, args in (("dimm-plug", {"dimm": 1}), ("stop", {}),
                           ("cpu-plug", {"slots": [5], "online": True}),
                           ("cpu-unplug", {"slots": [1]}), ("dimm-unplug", {"dimm": 1})):
            KINDS[kind].apply(state, args, steps.DONE)
        self.tested(guest=guest, cpus=cpus)._cont(state)
        self.assertEqual(done, ["name", "cont", "cpu1", "dimm1", "object-del", "cpu5 comes"])

    def test_all_kinds(self):
        """Each kind of step can be done."""
        for name in KINDS:
            self.assertTrue(callable(getattr(machine.Machine, "_" + name.replace("-", "_"))))


class Options(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.qemu = Path(folder.name) / "qemu"
        self.qemu.touch()

    def options(self, **changes):
        """Options as the command line gives them."""
        return SimpleNamespace(**{"time": None, "steps": None, "seed": None, "accel": None,
                                  "only": None, "without": None, "replay": None, "json": False,
                                  "qemu": self.qemu, **changes})

    def journal(self, **changes):
        """The path of a journal."""
        path = self.qemu.with_name("journal.jsonl")
        with journal.Journal(path, {**Journal.HEAD, **changes}) as written:
            written.begin(1, Step("stop"))
        return path

    def test_values(self):
        for text, seconds in (("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)):
            self.assertEqual(arguments.duration(text), seconds)
        for function, texts in ((arguments.duration, ("", "2x", "h", "-1", "0", "0h")),
                                (arguments.number, ("0", "-1", "1.5", "x"))):
            for text in texts:
                with self.assertRaises(argparse.ArgumentTypeError):
                    function(text)
        self.assertEqual(command.names("a,b,"), ["a", "b"])

    def test_defaults(self):
        fields = command.request_fields(self.options())
        self.assertEqual((fields["accel"], fields["seconds"], fields["steps"]),
                         ("tcg", command.DEFAULT_SECONDS, None))
        self.assertEqual(fields["kinds"], sorted(KINDS))
        self.assertIsInstance(fields["seed"], int)
        self.assertIsNone(command.request_fields(self.options(steps=5))["seconds"])
        self.assertEqual(command.request_fields(self.options(seed=0))["seed"], 0)

    def test_replay(self):
        """Everything is in the journal."""
        fields = command.request_fields(self.options(replay=self.journal()))
        self.assertEqual((fields["seed"], fields["accel"], fields["kinds"], fields["seconds"]),
                         (7, "tcg", ["cpu-plug"], None))
        self.assertEqual(fields["record"].steps, [(1, Step("stop"))])

    def test_refused(self):
        for changes, pattern in (
                ({"replay": self.journal(), "seed": 0, "only": ["stop"]},
                 "cannot be used with --seed, --only"),
                ({"replay": self.journal(accel="hvf")}, "accelerator 'hvf', and there are: tcg"),
                ({"qemu": self.qemu.with_name("none")}, "none does not exist. Run scripts/build"),
                ({"only": ["x"]}, "no kind of step x")):
            with self.subTest(pattern), self.assertRaisesRegex(WorkbenchError, pattern):
                command.request_fields(self.options(**changes))

    def test_status(self):
        """The exit status, and what is printed."""
        found = summary.Summary({**Journal.HEAD, "kernel": "k", "qemu": "q", "machine": "m"})
        found.note(Step("stop"), steps.DONE, 1.25)
        for changes, status, part in (
                ({}, 0, "Result: all agreed"),
                ({"failure": "why"}, 1, "Step 1 failed: stop\n  why"),
                ({"interrupted": True}, 130, "Result: interrupted")):
            for name in ("failure", "interrupted"):
                setattr(found, name, changes.get(name))
            result = session.Result(found.as_dict(61, 2, growth.Growth().peak),
                                    session.paths.SOAK / "tcg-7", [(1, Step("stop"))])
            with mock.patch.object(session, "run", return_value=result), \
                    contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(command.run(self.options(seed=7)), status)
                text = out.getvalue()
                self.assertEqual(command.run(self.options(seed=7, json=True)), status)
            self.assertIn(part, text)
            self.assertIn("1 steps in 1 min 01 s, with 2 QEMU processes", text)
            parsed = json.loads(out.getvalue()[len(text):])
            self.assertEqual((parsed["folder"], parsed["kinds"]["stop"]["max_seconds"]),
                             ("build/soak/tcg-7", 1.25))


if __name__ == "__main__":
    fake.main()
