# SPDX-License-Identifier: GPL-2.0-or-later
"""Comparing two QEMU binaries: what they give to firmware, what they migrate.

No guest is booted. Tables and configuration are read the way firmware would read them, through
fw_cfg, with the bus accesses made over a qtest socket.
"""

import base64
import difflib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ..system import paths, polling, tools
from . import acpitables

tools.activate()

# The module comes from a Debian package that may only be unpacked below build/, see activate().
from qemu.qmp import ExecuteError, QMPError            # noqa: E402
from qemu.qmp.legacy import QEMUMonitorProtocol        # noqa: E402

from ..guest.ending import Judge, how  # noqa: E402
from ..system.process import Process  # noqa: E402

# Multiplies every timeout: for machines that are much slower than the one the defaults fit.
FACTOR = float(os.environ.get("GUEST_TIMEOUT_FACTOR", "1"))
TIMEOUT = 60 * FACTOR

# All types are compared, the oldest with the rest.
DEPRECATED = "warning: Machine type '[^']+' is deprecated"
# Neither Debian's source nor the build has it, and no test of ours needs it.
NO_ROM = r"^rom: file kvmvapic\.bin +: error Failed to open file"
# qemu64, the model of the x86 machines that are compared.
NO_THREADS = "warning: This family of AMD CPU doesn't support hyperthreading"

ARM_SCRATCH = 0x44000000        # guest RAM that nothing else uses
PC_SCRATCH = 0x01000000

_FW_CFG_NUMBERS = {"cpus": 0x05, "maxcpus": 0x0f, "machine id": 0x06}
_FW_CFG_DIRECTORY = 0x19
_DMA_READ, _DMA_SELECT, _DMA_ERROR = 2, 8, 1


class CompatError(Exception):
    """QEMU did not start, ended or did not answer; the text holds the command and QEMU's words."""


class Refused(CompatError):
    """QEMU refused a monitor command; the text is its message."""


def _value(text):
    """TEXT as a value inside a QEMU option: a comma has to be doubled."""
    return str(text).replace(",", ",,")


def empty_firmware(folder):
    """Make an image of zeros in FOLDER, of a size that all machines accept, and return its path."""
    image = Path(folder, "firmware")
    image.write_bytes(bytes(256 * 1024))
    return image


def machine_types(binary, name):
    """The versioned machine types NAME-X.Y that BINARY lists, oldest first, as a list of str.

    Raises CompatError when BINARY cannot be run or has none.
    """
    found = re.findall(rf"^({re.escape(name)}-(\d+)\.(\d+))\s",
                       _output(binary, "-machine", "help"), re.M)
    if not found:
        raise CompatError(f"{binary} lists no machine type {name}-X.Y")
    return [name for name, *_ in sorted(found, key=lambda f: (int(f[1]), int(f[2])))]


def machine_has(binary, machine, option):
    """Whether MACHINE of BINARY has the option OPTION (str). Raises CompatError."""
    return re.search(rf"^\s*{re.escape(option)}=", _output(binary, "-machine", f"{machine},help"),
                     re.M) is not None


def _output(binary, *words):
    """What BINARY prints. Raises CompatError unless it ends well and complains of nothing."""
    command = [str(binary), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.SubprocessError) as e:
        raise CompatError(f"{' '.join(command)} failed: {e}. Build it first.") from e
    wrong = Judge((DEPRECATED,)).verdict(done.returncode, done.stderr)
    if wrong:
        raise CompatError(f"{' '.join(command)}: {wrong}")
    return done.stdout


class Instance:
    """A running QEMU with a monitor and a qtest socket. Use it in a with statement.

    BINARY and WORDS, the arguments, make the command; nothing is added but -nodefaults and what
    keeps it silent. SAYS are regular expressions for what it may write. Raises CompatError with
    QEMU's own message when it does not start, and when it does not end as expect() was told.
    """

    def __init__(self, binary, words, qtest=True, says=()):
        self._judge = Judge((DEPRECATED, NO_ROM, NO_THREADS, *says))
        self.command = [str(binary), "-nodefaults", "-no-user-config", "-display", "none"]
        self.command += [str(word) for word in words]
        self.process = self._monitor = self._qtest = None
        pairs = [socket.socketpair() for _ in range(2 if qtest else 1)]
        self._sockets = [ours for ours, _ in pairs]
        theirs = [other for _, other in pairs]
        self.command += ["-chardev", f"socket,id=monitor,fd={theirs[0].fileno()}",
                         "-object", "monitor-qmp,id=qmp,chardev=monitor"]
        if qtest:
            self.command += ["-chardev", f"socket,id=qtest,fd={theirs[1].fileno()}",
                             "-qtest", "chardev:qtest", "-qtest-log", "/dev/null"]
        try:
            self.process = Process(self.command, pass_fds=[s.fileno() for s in theirs])
            for other in theirs:
                other.close()       # so that our end sees it when QEMU dies
            self._monitor = QEMUMonitorProtocol(self._sockets[0])
            self._monitor.settimeout(TIMEOUT)
            self._monitor.connect()
            if qtest:
                self._sockets[1].settimeout(TIMEOUT)
                self._qtest = self._sockets[1].makefile("r")
        except (QMPError, OSError, EOFError, TimeoutError) as e:
            failure = self.failure(f"QEMU does not start ({e})")
            self.close(force=True)
            raise failure from None
        except BaseException:
            self.close(force=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(force=kind is not None)

    def expect(self, status=None, says=()):
        """Say how this QEMU ends if not with exit status 0, and which lines it may write."""
        self._judge.expect(status, says)

    def close(self, force=False):
        """End QEMU and close all sockets; harmless when done before.

        Raises CompatError if QEMU does not end by itself when told to quit, if its exit status is
        not the expected one, or if it wrote something that is not expected. FORCE is for after a
        failure: QEMU is killed, and nothing is judged.
        """
        wrong = "" if force or self._monitor is None else self._end()
        if self.process is not None:
            self.process.kill()
        if self._monitor is not None:
            try:
                self._monitor.close()
            except (QMPError, OSError, EOFError, TimeoutError):
                pass        # its end is broken by now
            self._monitor = None
        if self._qtest is not None:
            self._qtest.close()
            self._qtest = None
        for ours in self._sockets:
            ours.close()
        if wrong:
            raise CompatError(f"{wrong}\n  command: {' '.join(self.command)}")

    def _end(self):
        """Have QEMU quit, and return what is wrong with how it does that."""
        killed = ""
        try:
            if self.process.status() is None:
                self._monitor.cmd("quit")
        except TimeoutError:
            killed = "does not answer when told to quit"
        except (QMPError, OSError, EOFError):
            pass            # it may be gone before it has answered; its status tells
        status = self.process.wait(TIMEOUT if not killed else 0)
        if status is None:
            killed = killed or f"goes on for {TIMEOUT:g} s when told to quit"
        return self._judge.verdict(status, self.process.errors(), killed)

    def failure(self, what):
        """A CompatError that says WHAT went wrong, in which command, and what QEMU wrote."""
        text = what
        if self.process is not None:
            status = self.process.wait(1)
            if status is not None:
                text += f"\n  ended with {how(status)}"
            if self.process.errors():
                text += f"\n  QEMU wrote: {self.process.errors()}"
        return CompatError(f"{text}\n  command: {' '.join(self.command)}")

    # --- monitor -------------------------------------------------------------------------------

    def qmp(self, command, **arguments):
        """The answer of QEMU's monitor to COMMAND. Raises Refused with QEMU's message."""
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return self._monitor.cmd(command, **arguments)
        except ExecuteError as e:
            raise Refused(str(e)) from None
        except (QMPError, OSError, EOFError, TimeoutError) as e:
            raise self.failure(f"the monitor broke at {command} ({e!r})") from None

    def wait_for(self, condition, what, seconds=30):
        """Poll until CONDITION() is true and return its value. Raises CompatError after SECONDS."""
        value = polling.until(condition, seconds * FACTOR, 0.01)
        if not value:
            raise self.failure(f"after {seconds * FACTOR:g} s: {what} did not come about")
        return value

    # --- qtest ---------------------------------------------------------------------------------

    def qtest(self, line):
        """Send LINE in the qtest protocol and return the words after OK.

        By hand, as QEMU's own client is part of its source tree and needs more of it than this.
        """
        try:
            self._sockets[1].sendall(line.encode() + b"\n")
            answer = self._qtest.readline().split()
        except OSError as e:
            raise self.failure(f"qtest broke at {line[:60]!r} ({e})") from None
        if answer[:1] != ["OK"]:
            raise self.failure(f"qtest: {line[:60]!r} was answered {' '.join(answer)!r}")
        return answer[1:]

    def read(self, address, size):
        """SIZE bytes of guest memory at ADDRESS."""
        return base64.b64decode(self.qtest(f"b64read {address:#x} {size:#x}")[0]) if size else b""

    def write(self, address, data):
        """Write DATA (bytes) to the guest's bus at ADDRESS."""
        self.qtest(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def readl(self, address):
        """The 32-bit register at ADDRESS."""
        return int(self.qtest(f"readl {address:#x}")[0], 16)

    def writeb(self, address, value):
        """Write VALUE to the 8-bit register at ADDRESS."""
        self.qtest(f"writeb {address:#x} {value:#x}")

    def readl(self, address):
        """The value of the 32-bit register at ADDRESS."""
        return int(self.qtest(f"readl {address:#x}")[0], 0)

    def writel(self, address, value):
        """Write VALUE to the 32-bit register at ADDRESS."""
        self.qtest(f"writel {address:#x} {value:#x}")


class FwCfg:
    """The fw_cfg device of INSTANCE, read by DMA like firmware does. PC tells x86 from Arm virt."""

    def __init__(self, instance, pc=False):
        self._instance = instance
        self._pc = pc
        self._scratch = PC_SCRATCH if pc else ARM_SCRATCH

    def item(self, selector, size):
        """SIZE bytes of the item SELECTOR; past its end there are zeros."""
        request, data = self._scratch, self._scratch + 0x1000
        self._instance.write(request, struct.pack(
            ">IIQ", selector << 16 | _DMA_SELECT | _DMA_READ, size, data))
        if self._pc:
            # The register is big-endian; out is little-endian. Writing the low half starts it.
            for port, half in ((0x514, request >> 32), (0x518, request & 0xffffffff)):
                swapped, = struct.unpack("<I", struct.pack(">I", half))
                self._instance.qtest(f"outl {port:#x} {swapped:#x}")
        else:
            self._instance.write(0x09020010, struct.pack(">Q", request))
        if struct.unpack(">I", self._instance.read(request, 4))[0] & _DMA_ERROR:
            raise self._instance.failure(f"fw_cfg cannot read item {selector:#x}")
        return self._instance.read(data, size)

    def directory(self):
        """{file name: (selector, size)}."""
        count, = struct.unpack(">I", self.item(_FW_CFG_DIRECTORY, 4))
        data = self.item(_FW_CFG_DIRECTORY, 4 + 64 * count)
        files = {}
        for at in range(4, len(data), 64):
            size, selector, name = struct.unpack_from(">IHxx56s", data, at)
            files[name.rstrip(b"\0").decode()] = (selector, size)
        return files

    def file(self, name):
        """The content of the file NAME. Raises CompatError when there is none."""
        files = self.directory()
        if name not in files:
            raise self._instance.failure(
                f"fw_cfg has no file {name}, only {', '.join(sorted(files))}")
        # A table is rebuilt, and its size may change, when it is first selected.
        selector, size = files[name]
        self.item(selector, 1)
        return self.item(selector, self.directory()[name][1])

    def files(self):
        """{name: content} of all files and of the numbers that say how many CPUs there are."""
        found = {name: self.item(key, 8) for name, key in _FW_CFG_NUMBERS.items()}
        for _, selector_and_size in sorted(self.directory().items()):
            self.item(selector_and_size[0], 1)
        for name, (selector, size) in sorted(self.directory().items()):
            found[name] = self.item(selector, size)
        return found

    def tables(self):
        """The ACPI tables as a list of acpitables.Table; empty when there is no ACPI."""
        if "etc/acpi/tables" not in self.directory():
            return []
        return acpitables.split(self.file("etc/acpi/tables"), self.file("etc/table-loader"))


@dataclass(frozen=True)
class Snapshot:
    """What a machine shows to its firmware: all fw_cfg files, and the device tree (b"" on x86)."""

    files: dict
    device_tree: bytes

    @property
    def tables(self):
        """The ACPI tables as a list of acpitables.Table; empty when there is no ACPI."""
        if "etc/acpi/tables" not in self.files:
            return []
        return acpitables.split(self.files["etc/acpi/tables"], self.files["etc/table-loader"])


def snapshot(binary, words):
    """Start BINARY with WORDS, stopped, and take a Snapshot. WORDS must name machine and RAM.

    The guest needs RAM up to 0x48000000 on Arm, 32 MiB on x86. Raises CompatError.
    """
    pc = "x86_64" in Path(binary).name
    with Instance(binary, ["-S"] + list(words)) as instance:
        device_tree = b""
        if not pc:
            with tempfile.TemporaryDirectory(prefix="compat-") as folder:
                file = Path(folder, "dtb")
                instance.qmp("dumpdtb", filename=str(file))
                device_tree = file.read_bytes()
        return Snapshot(FwCfg(instance, pc).files(), device_tree)


def snapshot_differences(old, new):
    """How the Snapshots OLD and NEW differ, as a list of texts for people; empty when equal."""
    texts = []
    if old.device_tree != new.device_tree:
        texts.append("device trees differ:\n" + _diff(*(_source(tree.device_tree)
                                                         for tree in (old, new))))
    for name in sorted(set(old.files) - set(new.files)):
        texts.append(f"fw_cfg file {name} is gone")
    for name in sorted(set(new.files) - set(old.files)):
        texts.append(f"fw_cfg file {name} is new")
    for name in sorted(set(old.files) & set(new.files)):
        before, after = old.files[name], new.files[name]
        if before == after:
            continue
        if name == "etc/acpi/tables":
            texts.append(_table_differences(old.tables, new.tables))
        else:
            texts.append(f"fw_cfg file {name} differs:\n"
                         + acpitables.difference(before, after))
    return texts


def _table_differences(old, new):
    names = [[table.signature for table in tables] for tables in (old, new)]
    if names[0] != names[1]:
        return f"ACPI tables were {' '.join(names[0])}, are {' '.join(names[1])}"
    shown = [f"ACPI table {before.signature} differs:\n" + acpitables.difference(before, after)
             for before, after in zip(old, new) if before != after]
    return "\n".join(shown) or "etc/acpi/tables differs outside the tables"


def _diff(old, new, lines=60):
    shown = list(difflib.unified_diff(old, new, "pristine", "patched", lineterm="", n=2))
    return "\n".join(shown[:lines] + (["..."] if len(shown) > lines else []))


def _source(device_tree):
    if shutil.which("dtc") is None:
        return device_tree.hex(" ", 16).splitlines()
    done = subprocess.run(["dtc", "-I", "dtb", "-O", "dts", "-q"], input=device_tree,
                          capture_output=True, timeout=TIMEOUT, check=False)
    return done.stdout.decode(errors="replace").splitlines()


# --- migration state ---------------------------------------------------------------------------

def dump_vmstate(binary, machine):
    """What BINARY may migrate with MACHINE: the JSON of -dump-vmstate as text. Raises CompatError."""
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        file = Path(folder, "vmstate.json")
        _output(binary, "-machine", machine, "-display", "none", "-nodefaults", "-dump-vmstate",
                str(file))
        return file.read_text()


_STUB = {"name": "(null)", "version_id": 0, "minimum_version_id": 0}


def fill_stub(old, new, subsection):
    """The text OLD of dump_vmstate(), with the stub in SUBSECTION replaced by what NEW has there.

    A build without a feature may have a stub for its state: a description with neither name nor
    fields. Such a subsection is never sent. OLD is returned as it is where it has no stub there.
    """
    def walk(value, other, inside):
        if isinstance(value, dict) and isinstance(other, dict):
            if inside and value == _STUB:
                return other
            inside = inside or value.get("name") == subsection
            return {key: walk(item, other.get(key), inside) for key, item in value.items()}
        if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
            return [walk(one, another, inside) for one, another in zip(value, other)]
        return value
    return json.dumps(walk(json.loads(old), json.loads(new), False))


def without_subsections(text, names):
    """TEXT of dump_vmstate() without the subsections that are called one of NAMES."""
    def walk(value):
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        result = {key: walk(item) for key, item in value.items()}
        if "Subsections" in result:
            result["Subsections"] = [s for s in result["Subsections"] if s["name"] not in names]
            if not result["Subsections"]:
                del result["Subsections"]
        return result
    return json.dumps(walk(json.loads(text)))


def vmstate_differences(old, new):
    """How two texts of dump_vmstate() differ, as text; empty when equal.

    QEMU lists devices in the order of a hash table, so the order does not count.
    """
    texts = [json.dumps(json.loads(text), indent=1, sort_keys=True).splitlines()
             for text in (old, new)]
    return _diff(*texts) if texts[0] != texts[1] else ""


def check_vmstate(source, old, new):
    """The complaints of QEMU's vmstate-static-checker.py about OLD -> NEW and NEW -> OLD, as text.

    SOURCE is a QEMU source folder, OLD and NEW are texts of dump_vmstate().
    """
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        files = []
        for name, text in (("old", old), ("new", new)):
            files.append(Path(folder, name))
            files[-1].write_text(text)
        said = ""
        for extra in ([], ["--reverse"]):
            done = subprocess.run(
                [sys.executable, str(Path(source, "scripts/vmstate-static-checker.py")),
                 "-s", str(files[0]), "-d", str(files[1])] + extra,
                capture_output=True, text=True, timeout=TIMEOUT, check=False)
            if done.returncode or done.stdout:
                said += f"{'backward' if extra else 'forward'}: {done.stdout}{done.stderr}"
        return said


def save(instance, file):
    """Migrate INSTANCE, running or not, into FILE and wait for the end. Raises CompatError."""
    instance.qmp("migrate", uri=f"file:{file}")

    def ended():
        state = instance.qmp("query-migrate")
        if state["status"] == "failed":
            raise instance.failure(f"migration failed: {state.get('error-desc')}")
        return state["status"] == "completed"
    instance.wait_for(ended, "the end of the migration", 60)


def stream_description(file):
    """The description of the devices and fields that a migration stream holds, as a dictionary.

    FILE is the path of a complete stream; QEMU appends its description to it. Raises CompatError.
    """
    data = Path(file).read_bytes()
    at = len(data)
    while (at := data.rfind(b"\x06", 0, at)) >= 0:
        if at + 5 + int.from_bytes(data[at + 1:at + 5], "big") == len(data):
            return json.loads(data[at + 5:])
    raise CompatError(f"{file}: no description at the end of the migration stream")


def description_differences(old, new):
    """How two stream_description() differ, as text; empty when equal.

    The order of devices does not count: one that was hot-plugged comes last, and at its place when
    the same machine is started with it. Buffers whose size follows from what the guest did are
    compared by name only.
    """
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()
                    if not (key == "size" and value.get("type") == "buffer")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    def ordered(value):
        return dict(plain(value), devices=sorted(plain(value["devices"]), key=lambda device: (
            device["name"], device["instance_id"])))

    texts = [json.dumps(ordered(value), indent=1).splitlines() for value in (old, new)]
    return _diff(*texts) if texts[0] != texts[1] else ""


# --- a guest of seventeen instructions -----------------------------------------------------------

_COUNTERS = 0x48000000
_PROGRAM = (
    0xd2a9000a,     #        mov  x10, #0x48000000
    0xd2800060,     #        mov  x0, #3
    0xf2b88000,     #        movk x0, #0xc400, lsl #16      PSCI CPU_ON
    0xd2800021,     #        mov  x1, #1                    of CPU 1
    0x10000102,     #        adr  x2, second
    0xd2800003,     #        mov  x3, #0
    0xd4000002,     #        hvc  #0
    0xf9000940,     #        str  x0, [x10, #16]            the answer
    0xf9400144,     # first: ldr  x4, [x10]
    0x91000484,     #        add  x4, x4, #1
    0xf9000144,     #        str  x4, [x10]
    0x17fffffd,     #        b    first
    0xd2a9000a,     # second: mov x10, #0x48000000
    0xf9400544,     # loop:  ldr  x4, [x10, #8]
    0x91000484,     #        add  x4, x4, #1
    0xf9000544,     #        str  x4, [x10, #8]
    0x17fffffd,     #        b    loop
)


@dataclass
class CountingGuest:
    """A guest whose two CPUs count in memory for ever. MACHINE, SMP, EXTRA go to QEMU's command.

    It is given a firmware image, though an empty one: without, virt has no ACPI event device.
    """

    machine: str
    smp: str = "2"
    extra: list = field(default_factory=list)

    def start(self, binary, folder, incoming=None):
        """An Instance of BINARY, running from the start or from the stream file INCOMING.

        FOLDER takes the program. Returns when both CPUs count; raises CompatError if they do not.
        """
        program = Path(folder, "program")
        program.write_bytes(struct.pack(f"<{len(_PROGRAM)}I", *_PROGRAM))
        words = ["-machine", self.machine, "-accel", "tcg,thread=multi", "-cpu", "cortex-a57",
                 "-smp", self.smp, "-m", "256M", "-bios", empty_firmware(folder),
                 "-device", f"loader,file={_value(program)},addr={ARM_SCRATCH:#x},force-raw=on,"
                 "cpu-num=0"] + list(self.extra)
        if incoming:
            words += ["-incoming", f"file:{incoming}"]
        instance = Instance(binary, words)
        try:
            instance.wait_for(lambda: instance.qmp("query-status")["status"] == "running",
                              "a running guest")
            self.wait_counting(instance)
        except BaseException:
            instance.close(force=True)
            raise
        return instance

    @staticmethod
    def counters(instance):
        """How far each of the two CPUs has counted."""
        return struct.unpack("<QQ", instance.read(_COUNTERS, 16))

    def wait_counting(self, instance):
        """Wait until both CPUs have gone on counting."""
        before = self.counters(instance)
        instance.wait_for(
            lambda: all(now > old for now, old in zip(self.counters(instance), before)),
            f"counting on both CPUs (they stand at {before})")

    def save(self, instance, file):
        """Migrate INSTANCE into FILE; returns the counters it stopped at. Raises CompatError."""
        instance.qmp("stop")
        stopped = self.counters(instance)
        # The destination goes on by itself only if the source was running.
        instance.qmp("cont")
        save(instance, file)
        return stopped


def default_binary(build, target):
    """The path of qemu-system-TARGET in the build folder BUILD."""
    return Path(build, f"qemu-system-{target}")


PRISTINE = Path(os.environ.get("COMPAT_PRISTINE", paths.PRISTINE))
PATCHED = Path(os.environ.get("COMPAT_PATCHED", paths.PATCHED))
