#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""Migration between the pristine and the patched binary, both ways, where the feature is not used.

Besides that it works, the streams must hold the same devices, sections and fields: a field or
subsection too many breaks only some destinations, and only in some states.
"""

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import compatcase  # noqa: E402
from workbench.compare import counting, vmstate  # noqa: E402
from workbench.compare.instance import Instance, empty_firmware  # noqa: E402
from workbench.guest.qemu import GuestError, option  # noqa: E402


def chain(case, start, save, what):
    """Migrate pristine -> patched -> pristine and compare the streams.

    START(binary, folder, incoming) gives an Instance, SAVE(instance, file) migrates it to a file.
    """
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        streams = []
        for binary in (case.pristine, case.patched, case.pristine):
            with start(binary, folder, streams[-1] if streams else None) as instance:
                if len(streams) < 2:
                    streams.append(Path(folder, f"stream{len(streams)}"))
                    save(instance, streams[-1])
        found = vmstate.description_differences(*map(vmstate.stream_description, streams))
        if found:
            case.fail(f"{what}: the streams differ:\n{found}")


class Running:
    """A guest whose CPUs count, and what they had counted when it was saved.

    PATCHED are further options of the machine, which only the patched binary knows.
    """

    def __init__(self, case, machine, smp="2", patched=""):
        self._case = case
        self._machine = machine
        self._patched = patched
        self._guest = counting.CountingGuest(machine, smp)
        self._stood = (0, 0)

    def start(self, binary, folder, incoming):
        """Start or go on; the counters may not be lower than they were."""
        self._guest.machine = self._machine
        if self._patched and binary == self._case.patched:
            self._guest.machine += f",{self._patched}"
        instance = self._guest.start(binary, folder, incoming)
        now = self._guest.counters(instance)
        if any(new < old for new, old in zip(now, self._stood)):
            instance.close(force=True)
            self._case.fail(f"the counters went back from {self._stood} to {now}")
        return instance

    def save(self, instance, file):
        """Migrate to FILE."""
        self._stood = self._guest.save(instance, file)


class Stopped:
    """A machine that never ran: WORDS go to QEMU, PREPARE(instance) is called on the first one."""

    def __init__(self, words, prepare=None):
        self._words = list(words)
        self._prepare = prepare
        self.incoming_words = []        # for the destinations only

    def start(self, binary, folder, incoming):
        """Start with -S; with INCOMING wait until it is loaded."""
        words = ["-S", "-bios", empty_firmware(folder)] + self._words
        if incoming:
            words += self.incoming_words + ["-incoming", f"file:{incoming}"]
        instance = Instance(binary, words)
        try:
            if incoming:
                instance.wait_for(
                    lambda: instance.qmp("query-status")["status"] != "inmigrate",
                    "the end of the incoming migration")
            elif self._prepare:
                self._prepare(instance)
        except BaseException:
            instance.close(force=True)
            raise
        return instance

    @staticmethod
    def save(instance, file):
        """Migrate to FILE."""
        vmstate.save(instance, file)


STOPPED = {
    "virtualization": ("gic-version=3,virtualization=on", ()),
    "secure": ("gic-version=3,secure=on", ()),
    "gicv2": ("gic-version=2", ()),
    "smmu": ("gic-version=3,iommu=smmuv3", ()),
    "no-acpi": ("gic-version=3,acpi=off", ()),
    "ras": ("gic-version=3,ras=on", ()),
    "memory-hotplug": ("gic-version=3", ("-m", "256M,slots=2,maxmem=4G")),
    "pcihp": ("gic-version=3", (
        "-global", "acpi-ged.acpi-pci-hotplug-with-bridge-support=on")),
}


@compatcase.each(compatcase.machines("aarch64"))
class Virt(compatcase.CompatCase):
    """All virt types."""

    def check_running(self, name):
        """Two running CPUs, maxcpus equal to cpus."""
        guest = Running(self, f"{name},gic-version=3")
        chain(self, guest.start, guest.save, name)

    def check_room_for_more(self, name):
        """Two running CPUs, room for two more; with a given GIC, and with that of the default."""
        for machine in (f"{name},gic-version=3", name):
            guest = Running(self, machine, "2,maxcpus=4")
            chain(self, guest.start, guest.save, machine)

    def test_switched_off(self):
        """The same where hot-plug is off because the patched binary is told so."""
        guest = Running(self, f"{compatcase.NEWEST},gic-version=3", "2,maxcpus=4",
                        patched="cpu-hotplug=off")
        chain(self, guest.start, guest.save, "cpu-hotplug=off")

    def check_switched_on(self, name):
        """From one patched QEMU to another, with hot-plug, and a CPU that came between free slots."""
        guest = counting.CountingGuest(f"{name},gic-version=3,cpu-hotplug=on", "2,maxcpus=5")
        streams = []
        with tempfile.TemporaryDirectory(prefix="compat-") as folder:
            for _ in range(2):
                with guest.start(self.patched, folder, streams[-1] if streams else None) as qemu:
                    # The last one is listed first.
                    slot = qemu.qmp("query-hotpluggable-cpus")[1]
                    if not streams:
                        cpu = dict(slot["props"], driver=slot["type"], id="plugged")
                        qemu.qmp("device_add", cpu)
                        guest.extra = ["-device", option(cpu)]
                    else:
                        self.assertEqual(slot["qom-path"], "/machine/peripheral/plugged")
                    streams.append(Path(folder, f"stream{len(streams)}"))
                    guest.save(qemu, streams[-1])
            found = vmstate.description_differences(*map(vmstate.stream_description, streams))
        self.assertFalse(found, f"{name}: the streams differ:\n{found}")

    def check_configurations(self, name):
        """Machines that never ran, in many configurations."""
        for title, (machine, words) in STOPPED.items():
            guest = Stopped(["-machine", f"{name},{machine}", "-accel", "tcg", "-cpu", "max",
                             "-smp", "2", "-m", "256M", *words])
            chain(self, guest.start, guest.save, f"{name} {title}")

    def test_new_version(self):
        """A guest of the default type of one binary is refused by that of the other, by name."""
        for first, second in ((self.pristine, self.patched), (self.patched, self.pristine)):
            guest = Stopped(["-machine", "virt", "-accel", "tcg", "-cpu", "max", "-smp",
                             "2,maxcpus=4", "-m", "256M"])
            with tempfile.TemporaryDirectory(prefix="compat-") as folder:
                stream = Path(folder, "stream")
                with guest.start(first, folder, None) as instance:
                    guest.save(instance, stream)
                with self.assertRaisesRegex(GuestError, "Machine type received is "
                                            r"'virt-11\.1\S*' and local is 'virt-11\.1\S*'"):
                    guest.start(second, folder, stream).close()


@compatcase.each(compatcase.machines("x86_64"))
class Pc(compatcase.CompatCase):
    """The PC types, whose CPUs can be hot-plugged in both binaries, with an event pending."""

    target = "x86_64"

    def check_plugged(self, name):
        """A CPU was plugged, and the guest has not seen it yet."""
        def plug(instance):
            slots = instance.qmp("query-hotpluggable-cpus")
            free = next(slot for slot in reversed(slots) if "qom-path" not in slot)
            cpu = dict(free["props"], driver=free["type"], id="plugged")
            instance.qmp("device_add", cpu)
            guest.incoming_words += ["-device", option(cpu)]

        guest = Stopped(["-machine", name, "-accel", "tcg", "-smp", "2,maxcpus=4", "-m", "128M"],
                        plug)
        chain(self, guest.start, guest.save, name)


if __name__ == "__main__":
    compatcase.main()
