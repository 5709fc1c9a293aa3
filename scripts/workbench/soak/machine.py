# SPDX-License-Identifier: GPL-2.0-or-later
"""How each step is done, on a guest in a real QEMU."""

import contextlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..guest import assets, migration
from ..guest.cpus import SYSFS, Cpus
from ..guest.guest import Config
from ..guest.qemu import Refused, option
from ..ui.report import WorkbenchError
from . import image
from .agreement import IN_PROGRESS, Facts
from .model import DIMM_SIZE, DIMMS, DISKS, NICS, start
from .observation import DIMM_ID, DISK_ID, MAC, NIC_ID, observe
from .record import RecordedGuest
from .steps import DONE, REFUSED_BY_GUEST, REFUSED_BY_QEMU

BOOT_CPUS = 2
MEMORY = "768M"
BOOT_SECONDS = 240
SECONDS = 90                    # for what the guest does with a device
COMPLAINTS = re.compile(r"Oops|BUG|WARNING|Call trace|stall|soft lockup")
WHILE_STOPPED = "for which it was asked while it stood still"
# What ends without having been waited for was not asked for.
_ENDS = ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR", "GUEST_PANICKED")


@dataclass
class Settings:
    """Where and with what the QEMUs of a run are started.

    QEMU is the path of the binary on this machine, IMAGE_TOOL that of qemu-img at PLACE. SAYS is
    what they may write, APPEND the kernel's command line without the console.
    """

    qemu: Path
    place: object
    image_tool: object
    accel: str
    cpu: str
    slots: int
    says: tuple = ()
    append: str = Config.append

    @property
    def kvm(self):
        """Whether the CPUs are KVM's."""
        return self.accel.startswith("kvm")


class Machine:
    """A guest and its present QEMU. NAME is for messages; logs are written below FOLDER.

    Use it in a with statement. Raises GuestError where guest or QEMU do something else than a step
    wants, and WorkbenchError when something is missing.
    """

    def __init__(self, settings, name, folder):
        self._settings = settings
        self._name = name
        self._folder = folder
        self._place = settings.place
        self._guests = []
        self._vcpus = set()
        self._room = self._place.folder()
        try:
            self._options = self._common_options()
            self.guest = self.cpus = None
            self._start([], f"{BOOT_CPUS},maxcpus={settings.slots}")
            self.release = self.guest.wait_ready(BOOT_SECONDS)
            self._cpu_options = [self.cpus.option(number) for number in range(settings.slots)]
            self._memory_start = self._device_memory()
            self._prepare(range(BOOT_CPUS))
        except BaseException:
            self.close(force=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(force=kind is not None)

    def close(self, force=False):
        """End all QEMUs. FORCE and what is raised: as with Guest.close()."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._place.remove, self._room)
            for guest in self._guests:
                stack.callback(guest.close, force)

    # --- what the runner asks ------------------------------------------------------------------

    def begin(self):
        """(the Model of the guest as it has booted, the Facts about it)."""
        seen = observe(self.guest, self.cpus, True)
        blocks = seen.guest.blocks
        return (start(self._settings.slots, BOOT_CPUS, blocks is not None),
                Facts(seen.machine, image.sums(), blocks and blocks[0]))

    def observe(self, model):
        """The Observation now; a guest that stands still by the MODEL is not asked."""
        return observe(self.guest, self.cpus, model.running)

    def judge(self):
        """Raise GuestError if QEMU has ended or complained; returns ends that nobody asked for."""
        self.guest.judge()
        return [f"event {event['event']} {event.get('data', '')} that nobody asked for"
                for event in self.guest.events() if event["event"] in _ENDS
                # The parts of a device have no id.
                and (event["event"] != "DEVICE_DELETED" or "device" in event["data"])]

    @property
    def vcpus_ever(self):
        """How many vCPUs this QEMU keeps file descriptors of because they were once there."""
        return len(self._vcpus) if self._settings.kvm else 0

    def do(self, step, model):
        """Take STEP in the state MODEL, which is that before it; returns the outcome."""
        method = getattr(self, "_" + step.kind.replace("-", "_"))
        return method(model, **step.args) or DONE

    def keep_logs(self):
        """Copy the consoles' logs to the folder of the run."""
        for guest in self._guests:
            with contextlib.suppress(OSError):
                shutil.copy(guest.log, self._folder)

    # --- QEMU ----------------------------------------------------------------------------------

    def _common_options(self):
        place = self._place
        snapshots = f"{self._room}/snapshots.qcow2"
        status, output = place.run([self._settings.image_tool, "create", "-q", "-f", "qcow2",
                                    snapshots, "1M"])
        if status:
            raise WorkbenchError(f"An image for snapshots cannot be made: {output}")
        return ["-object", f"memory-backend-ram,id=ram,size={MEMORY},prealloc=on",
                "-drive", f"if=none,id=snapshots,format=qcow2,file={snapshots}",
                *image.disk_options(place.file(image.disks(self._folder)))]

    def _start(self, extra, smp, paused=False):
        """Start another QEMU, and make it the present one."""
        number = len(self._guests) + 1
        config = Config(
            qemu=self._settings.qemu, kernel=assets.kernel(), initrd=image.initrd(),
            firmware=assets.firmware().efi, place=self._place, accel=self._settings.accel,
            cpu=self._settings.cpu, smp=smp, says=self._settings.says,
            append=self._settings.append,
            machine=f"virt,memory-backend=ram,pcie-hotplug-ports={NICS + DISKS}",
            memory=f"{MEMORY},slots={DIMMS},maxmem=4G", extra=[*self._options, *extra])
        guest = RecordedGuest(config, f"{self._name}.{number}",
                              self._folder / f"qmp.{number}.log", paused)
        self._guests.append(guest)
        self.guest, self.cpus = guest, Cpus(guest)
        self._vcpus = set(self.cpus.taken())

    def _start_like(self, machine, extra, paused=False):
        """Start another QEMU, with the devices of the model MACHINE."""
        words = []
        for number in sorted(machine.plugged() - {0}):
            words += ["-device", self._cpu_options[number]]
        for number in sorted(machine.dimms):
            words += ["-object", option(self._backend(number), "qom-type"),
                      "-device", option(self._dimm(number))]
        for number in sorted(machine.nics):
            words += ["-netdev", "dgram,local.type=inet,local.host=127.0.0.1,local.port=0,"
                      "remote.type=inet,remote.host=127.0.0.1,remote.port=9,"
                      f"id={_netdev(number)}", "-device", option(self._nic(number))]
        for number in sorted(machine.disks):
            words += ["-device", option(self._disk(number))]
        self._start([*words, *extra], f"1,maxcpus={self._settings.slots}", paused)

    def _device_memory(self):
        """Where the memory of modules begins."""
        found = re.search(r"([0-9a-f]{16})-[0-9a-f]{16} .*: device-memory",
                          self.guest.hmp("info mtree"))
        if not found:
            raise self.guest.failure("\"info mtree\" shows no device-memory")
        return int(found[1], 16)

    # --- devices, as device_add takes them -----------------------------------------------------

    @staticmethod
    def _backend(number):
        return {"qom-type": "memory-backend-ram", "id": f"{DIMM_ID.format(number)}-ram",
                "size": DIMM_SIZE, "prealloc": True}

    def _dimm(self, number):
        # A snapshot does not say where a module was.
        return {"driver": "pc-dimm", "id": DIMM_ID.format(number),
                "memdev": f"{DIMM_ID.format(number)}-ram", "slot": number,
                "addr": self._memory_start + number * DIMM_SIZE}

    @staticmethod
    def _nic(number):
        return {"driver": "virtio-net-pci", "id": NIC_ID.format(number),
                "netdev": _netdev(number), "mac": MAC.format(number), "romfile": "",
                "bus": f"hotplug{number}"}

    @staticmethod
    def _disk(number):
        name = DISK_ID.format(number)
        # By default there are as many queues as -smp has CPUs, which QEMUs of a run differ in.
        return {"driver": "virtio-blk-pci", "id": name, "drive": name, "serial": name,
                "num-queues": BOOT_CPUS, "bus": f"hotplug{NICS + number}"}

    # --- waiting -------------------------------------------------------------------------------

    def _end_of(self, handle, again=False):
        """Wait for the end of the request to remove HANDLE, an id or path; returns the outcome.

        With AGAIN, for a CPU, a guest that refuses is asked once more: Linux may have probed a PCI
        device.
        """
        key = "path" if handle.startswith("/") else "device"
        event = self.guest.event(("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"), SECONDS,
                                 **{key: handle})
        if event["event"] == "DEVICE_DELETED":
            return DONE
        if again:
            self.cpus.delete_again(handle)
            return self._end_of(handle)
        return REFUSED_BY_GUEST

    def _gone(self, handle, why, again=False):
        """Wait until HANDLE is removed, as _end_of() does. Raises GuestError if it is refused."""
        if self._end_of(handle, again) != DONE:
            raise self.guest.failure(f"the guest refused to give up {handle} {why}")

    def _bring_online(self, number):
        self.cpus.wait_enabled(number, SECONDS)
        self.cpus.bring_online(number, SECONDS)

    def _prepare(self, plugged):
        """Make a guest that has just booted what the model says of it."""
        self.guest.check(f"modprobe -a {' '.join(image.DRIVERS)}", SECONDS)
        for number in sorted(set(plugged) - self.cpus.view().online):
            self._bring_online(number)

    def _boot(self, plugged):
        self.guest.wait_ready(BOOT_SECONDS)
        self._prepare(plugged)

    @contextlib.contextmanager
    def _answering(self, machine):
        """Around what lets a guest go on; at the end it has done what MACHINE says it was asked."""
        handles = [self.cpus.handle(number) for number in sorted(machine.asked())]
        yield
        for handle in handles:
            self._gone(handle, WHILE_STOPPED, again=True)
        for number in sorted(machine.dimms_asked()):
            self._dimm_gone(number)
        for number in sorted(machine.plugged() - machine.asked() - machine.seen()):
            self.cpus.wait_enabled(number, SECONDS)

    # --- CPUs ----------------------------------------------------------------------------------

    def _cpu_plug(self, model, slots, online):
        for number in slots:
            self.cpus.add(number)
        self._vcpus |= set(slots)
        for number in slots if model.running else ():
            self.cpus.wait_enabled(number, SECONDS)
            if online:
                self._bring_online(number)

    def _cpu_unplug(self, model, slots):
        handles = [self.cpus.delete(number) for number in slots]
        if not model.running:
            return DONE
        ends = {self._end_of(handle, again=True) for handle in handles}
        return REFUSED_BY_GUEST if REFUSED_BY_GUEST in ends else DONE

    def _cpu_offline(self, _model, slot):
        self.guest.check(f"echo 0 > {SYSFS}/cpu{slot}/online", SECONDS)

    def _cpu_online(self, _model, slot):
        self._bring_online(slot)

    def _work(self, _model, slots):
        self.cpus.work(slots, 50)

    def _load(self, _model, on):
        if on:
            # One that only computes, and one that writes 4 MiB again and again.
            self.guest.check("(while :; do :; done) & echo $! > /tmp/load; (while :; do "
                             "dd if=/dev/urandom of=/tmp/written bs=64k count=64 2> /dev/null; "
                             "done) & echo $! >> /tmp/load", SECONDS)
        else:
            self.guest.check("kill $(cat /tmp/load); wait; rm /tmp/load /tmp/written", SECONDS)

    # --- memory --------------------------------------------------------------------------------

    def _dimm_plug(self, _model, dimm):
        self.guest.qmp("object-add", self._backend(dimm))
        self.guest.qmp("device_add", self._dimm(dimm))

    def _dimm_unplug(self, model, dimm):
        self.guest.qmp("device_del", {"id": DIMM_ID.format(dimm)})
        if not model.running:
            return DONE
        outcome = self._dimm_end(dimm)
        if outcome == DONE:
            self._drop_backend(dimm)
        return outcome

    def _dimm_end(self, dimm):
        """Wait for what becomes of the only request that is open, for a memory module.

        Returns the outcome. Not every guest that keeps it makes QEMU send an event for that.
        """
        while True:
            event = self.guest.event(
                ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "ACPI_DEVICE_OST"), SECONDS)
            data = event["data"]
            if event["event"] == "ACPI_DEVICE_OST":
                info = data["info"]
                if ((info["slot-type"], info["slot"], info["source"]) == ("DIMM", str(dimm), 3)
                        and info["status"] not in (0, IN_PROGRESS)):
                    return REFUSED_BY_GUEST
            elif data.get("device") == DIMM_ID.format(dimm):
                return DONE if event["event"] == "DEVICE_DELETED" else REFUSED_BY_GUEST

    def _dimm_gone(self, dimm):
        self._gone(DIMM_ID.format(dimm), WHILE_STOPPED)
        self._drop_backend(dimm)

    def _drop_backend(self, dimm):
        self.guest.qmp("object-del", {"id": self._backend(dimm)["id"]})

    # --- PCI -----------------------------------------------------------------------------------

    def _nic_plug(self, _model, number):
        address = {"type": "inet", "host": "127.0.0.1"}
        self.guest.qmp("netdev_add", {
            "type": "dgram", "id": _netdev(number), "local": {**address, "port": "0"},
            "remote": {**address, "port": "9"}})
        self.guest.qmp("device_add", self._nic(number))

    def _nic_unplug(self, _model, number):
        self._pci_unplug(NIC_ID.format(number))
        self.guest.qmp("netdev_del", {"id": _netdev(number)})

    def _disk_plug(self, _model, number):
        self.guest.qmp("device_add", self._disk(number))

    def _disk_unplug(self, _model, number):
        self._pci_unplug(DISK_ID.format(number))

    def _pci_unplug(self, name):
        self.guest.delete_device(name)
        self._gone(name, "")

    # --- the machine ---------------------------------------------------------------------------

    def _reset(self, model):
        handles = [self.cpus.handle(number) for number in sorted(model.machine.asked())]
        self.guest.events("RESET")
        self.guest.qmp("system_reset")
        self.guest.event("RESET", SECONDS)
        for handle in handles:
            self._gone(handle, "which a reset carries out")
        if model.running:
            self._boot(model.machine.plugged())

    def _reboot(self, model):
        self.guest.console.send("reboot -f")
        self._boot(model.machine.plugged())

    def _kexec(self, model):
        # -i: the check sums of what is started take ten seconds under emulation.
        self.guest.check("kexec -l -i /boot/vmlinuz --initrd=/boot/initrd.gz --reuse-cmdline", 180)
        # Warnings of the kernel that ends go to the console, as nobody can ask it for its log.
        self.guest.check("dmesg -n 5")
        before = self.guest.log.stat().st_size
        self.guest.console.send("kexec -e")
        self._boot(model.machine.plugged())
        shown = self.guest.log.read_bytes()[before:].decode("utf-8", "replace")
        if COMPLAINTS.search(shown):
            raise self.guest.failure(f"a kernel complained at its end:\n{shown}")

    def _stop(self, _model):
        self.guest.qmp("stop")

    def _cont(self, model):
        if not model.machine.booted:
            self.guest.qmp("cont")
            self._boot(model.machine.plugged())
            return
        with self._answering(model.machine):
            self.guest.qmp("cont")

    def _savevm(self, _model, name):
        self._hmp(f"savevm {name}")

    def _loadvm(self, model, name):
        # Whether it runs afterwards depends on whether it did before.
        with self._answering(model.snapshots[name]) if model.running else contextlib.nullcontext():
            self._hmp(f"loadvm {name}")

    def _restore(self, model, name):
        saved = model.snapshots[name]
        # Two cannot have the image of the snapshots.
        self.guest.close()
        # Paused, so that the guest answers nothing before it is listened to.
        self._start_like(saved, ["-loadvm", name], paused=True)
        if model.running:
            with self._answering(saved):
                self.guest.qmp("cont")

    def _hmp(self, line):
        said = self.guest.hmp(line)
        if said:
            raise self.guest.failure(f"\"{line}\" says: {said}")

    def _migrate(self, model, multifd):
        source = self.guest
        self._start_like(model.machine, ["-incoming", "defer"])
        # A guest that writes all the time must come to an end.
        source.qmp("migrate-set-parameters", {"max-bandwidth": 1 << 32, "downtime-limit": 10000})
        migration.begin(source, self.guest, f"unix:{self._room}/migration",
                        *(["multifd"] if multifd else []))
        migration.wait_moved(source, self.guest, 300)
        if model.running:
            migration.wait_running(self.guest)
        else:
            self.guest.wait_for(lambda: self.guest.qmp("query-status")["status"] != "inmigrate",
                                "the guest is on the other side", SECONDS)
        if multifd:
            # With it, there are no snapshots.
            self.guest.qmp("migrate-set-capabilities", {"capabilities": [
                {"capability": "multifd", "state": False}]})
        source.close()

    # --- what must be refused ------------------------------------------------------------------

    def _wrong(self, _model, what, number):
        try:
            if what == "boot-cpu":
                self.cpus.delete(number)
            elif what == "taken-slot":
                self.cpus.add(number, "wrong")
            elif what == "taken-dimm":
                self._wrong_dimm(number)
            elif what == "taken-port":
                self.guest.qmp("device_add", {
                    "driver": "virtio-rng-pci", "id": "wrong",
                    "bus": self._disk(number)["bus"]})
            elif what == "unknown-device":
                self.guest.qmp("device_del", {"id": "unknown"})
        except Refused:
            return REFUSED_BY_QEMU
        return DONE

    def _wrong_dimm(self, number):
        backend = {**self._backend(number), "id": "wrong-ram"}
        self.guest.qmp("object-add", backend)
        try:
            self.guest.qmp("device_add", {**self._dimm(number), "id": "wrong",
                                          "memdev": "wrong-ram"})
        finally:
            self.guest.qmp("object-del", {"id": "wrong-ram"})


def _netdev(number):
    return f"net{number}"
