# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a CPU that came later is that of one that was there from the start.

The state is what QEMU would send to another machine, field by field; with KVM that is what the
kernel says of its vCPUs.
"""

import json
import re
import subprocess
import sys

from workbench.system import paths

ANALYZER = paths.QEMU_SRC / "scripts/analyze-migration.py"


def flat(value, name=""):
    """{name of the field: value} of the nested dictionaries and lists VALUE."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {name: value}
    result = {}
    for key, part in items:
        result.update(flat(part, f"{name}.{key}" if name else str(key)))
    return result


def sections(stream):
    """[(name, {field: value})] of the migration stream in the file STREAM."""
    done = subprocess.run([sys.executable, ANALYZER, "-f", stream], check=True, text=True,
                          capture_output=True)
    # The names have a number that says nothing but how many came before.
    return [(re.sub(r" \(\d+\)$", "", name), flat(section))
            for name, section in json.loads(done.stdout).items()]


def registers(fields):
    """FIELDS of a CPU, with each system register under its number and not under its place."""
    indexes = "cpreg_vmstate_indexes."
    result = {name: value for name, value in fields.items()
              if not name.startswith("cpreg_vmstate_")}
    for name, value in fields.items():
        if name.startswith(indexes):
            place = name[len(indexes):]
            result[f"register {int(value, 16):#x}"] = fields["cpreg_vmstate_values." + place]
    return result


class RegisterCases:
    """For a GuestCase."""

    # Registers, by number, that differ from CPU to CPU, or that go on while they are read.
    different = frozenset()
    # Those that a CPU that was used and is back may have from before, as after a reset.
    left = frozenset()

    def fetch(self, path):
        """The path here of the file PATH of the place where guests run."""
        return path

    def state(self, guest, folder):
        """All sections of the state of GUEST, which goes on after that."""
        guest.qmp("stop")
        # The guest's memory, which is not wanted, is in a file, and stays out.
        guest.qmp("migrate-set-capabilities", {"capabilities": [
            {"capability": "x-ignore-shared", "state": True}]})
        # Not by a program, which may have the end of it still to write.
        guest.qmp("migrate", {"uri": f"file:{folder}/state"})
        self.finish_migration(guest)
        return sections(self.fetch(folder / "state"))

    def compare(self, wanted, found, what, different):
        """The dictionaries are equal but for what may be DIFFERENT."""
        self.assertEqual(set(wanted), set(found), f"fields of {what}")
        self.assertEqual({name: (value, found[name]) for name, value in wanted.items()
                          if value != found[name] and name not in different}, {},
                         f"fields of {what}: (that of a CPU of -smp, its own)")

    def test_state(self):
        """CPUs that Linux has not started yet: one of -smp, a new one, and one that is back."""
        folder = self.folder()
        config = self.config(smp="2,maxcpus=5", append="quiet harness maxcpus=1", memory="256M")
        config.machine += ",memory-backend=ram"
        config.extra = ["-object", "memory-backend-file,id=ram,size=256M,share=on,"
                        f"mem-path={folder}/ram"]
        guest, cpus = self.boot(config)
        cpus.plug(3)
        cpus.work({3}, 200)
        cpus.unplug(3)
        for number in (2, 3):
            cpus.add(number)
            cpus.wait_enabled(number)
        self.assertEqual(cpus.view().online, {0})
        state = self.state(guest, folder)
        for section, least in (("cpu", 300), ("cpu_common", 2)):
            # In the order in which the CPUs came.
            _, there, new, back = (registers(fields) for name, fields in state if name == section)
            self.assertGreaterEqual(len(there), least)
            self.compare(there, new, f"{section} of the new CPU", self.different)
            self.compare(there, back, f"{section} of the CPU that is back",
                         self.different | self.left)
        gic, = (fields for name, fields in state if name == "arm_gicv3")
        there, new, back = ({name[len(f"cpu.{number}."):]: value for name, value in gic.items()
                             if name.startswith(f"cpu.{number}.")} for number in (1, 2, 3))
        self.compare(there, new, "the new CPU's GIC", frozenset())
        # A redistributor is not of the CPU and is as Linux left it.
        there, back = ({name: value for name, value in fields.items()
                        if not name.startswith("gicr_")} for fields in (there, back))
        self.compare(there, back, "the CPU interface of the CPU that is back", frozenset())
        for number in (1, 2, 3):
            cpus.bring_online(number)
        cpus.work(range(4), 200)
