# SPDX-License-Identifier: GPL-2.0-or-later
"""ACPI tables byte by byte: MADT, PPTT, SRAT, GTDT and FADT as they reach the firmware.

No iasl that distributions ship decodes the online-capable bit of a MADT GICC entry, so the tables
that matter to CPU hot-plug are decoded here, after the ACPI specification 6.5. iasl is used to
show what differs when two tables do.
"""

import difflib
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

GICC_ENABLED = 1 << 0           # ACPI 6.5, table 5.37 "GICC CPU Interface Flags"
GICC_ONLINE_CAPABLE = 1 << 3

_HEADER = struct.Struct("<4sIBB6s8sI4sI")
_LINKER_CHECKSUM = 3            # bios-linker-loader's COMMAND_ADD_CHECKSUM
_LINKER_ENTRY = 128


class AcpiError(ValueError):
    """A table that is not what the specification says; the text names the table and the place."""


@dataclass(frozen=True)
class Table:
    """One table with its standard header; data is the whole table."""

    data: bytes

    def __post_init__(self):
        if len(self.data) < _HEADER.size or self.length != len(self.data):
            raise AcpiError(f"{self.signature}: the header says {self.length} bytes, "
                            f"there are {len(self.data)}")

    signature = property(lambda self: self.data[:4].decode("ascii", "replace"))
    length = property(lambda self: int.from_bytes(self.data[4:8], "little"))
    revision = property(lambda self: self.data[8])
    table_id = property(lambda self: self.data[16:24].decode("ascii", "replace"))

    def checksum_ok(self):
        """Whether all bytes add up to 0; true only once firmware (or link()) set the checksum."""
        return sum(self.data) & 0xff == 0


def split(blob, loader, name="etc/acpi/tables"):
    """The tables in BLOB, the content of the fw_cfg file NAME, as a list of Table.

    LOADER is the content of etc/table-loader. Its checksum commands say where each table lies:
    between tables there may be padding, and a FACS has neither checksum nor a standard header.
    Pointers in the tables are still offsets: linking is up to firmware. Raises AcpiError.
    """
    tables = []
    for at in range(0, len(loader) - _LINKER_ENTRY + 1, _LINKER_ENTRY):
        command, = struct.unpack_from("<I", loader, at)
        if command != _LINKER_CHECKSUM:
            continue
        file, _, start, length = struct.unpack_from("<56sIII", loader, at + 4)
        if file.rstrip(b"\0").decode() != name:
            continue
        if start + length > len(blob):
            raise AcpiError(f"the loader speaks of {length} bytes at {start} of {name}, "
                            f"which has {len(blob)}")
        tables.append(Table(bytes(blob[start:start + length])))
    return tables


def find(tables, signature):
    """The only table with SIGNATURE. Raises AcpiError when there is none or more than one."""
    found = [table for table in tables if table.signature == signature]
    if len(found) != 1:
        raise AcpiError(f"{len(found)} tables {signature!r} among "
                        + " ".join(table.signature for table in tables))
    return found[0]


def subtables(table, at, kind_size=1):
    """(offset, type, bytes) of each structure of TABLE from offset AT on.

    KIND_SIZE is the size of the type field, the length follows it in as many bytes.
    Raises AcpiError for a length of zero or past the end.
    """
    form = {1: "<BB", 2: "<HH"}[kind_size]
    while at < len(table.data):
        if at + 2 * kind_size > len(table.data):
            raise AcpiError(f"{table.signature}: half a structure at offset {at}")
        kind, length = struct.unpack_from(form, table.data, at)
        if length < 2 * kind_size or at + length > len(table.data):
            raise AcpiError(f"{table.signature}: the structure of type {kind} at offset {at} has "
                            f"the impossible length {length}")
        yield at, kind, table.data[at:at + length]
        at += length


@dataclass(frozen=True)
class Gicc:
    """MADT entry of type 11, a CPU. Its length tells the ACPI version: 76, 80 (6.3) or 82 (6.5)."""

    length: int
    interface: int
    uid: int
    flags: int
    performance_interrupt: int
    base: int
    gicv: int
    gich: int
    maintenance_interrupt: int
    redistributor: int
    mpidr: int

    enabled = property(lambda self: bool(self.flags & GICC_ENABLED))
    online_capable = property(lambda self: bool(self.flags & GICC_ONLINE_CAPABLE))


@dataclass(frozen=True)
class Madt:
    """A MADT: the CPUs decoded, the redistributor regions as (base, length), all else as bytes."""

    revision: int
    giccs: tuple
    redistributors: tuple
    others: tuple


def madt(table):
    """Decode the Arm parts of a MADT (signature APIC). Raises AcpiError."""
    _expect(table, "APIC")
    giccs, regions, others = [], [], []
    for at, kind, data in subtables(table, 44):
        if kind == 11:
            if len(data) < 76:
                raise AcpiError(f"APIC: GICC at offset {at} has {len(data)} bytes, less than 76")
            (interface, uid, flags, _parking, performance, _parked, base, gicv, gich, maintenance,
             redistributor, mpidr) = struct.unpack_from("<IIIIIQQQQIQQ", data, 4)
            giccs.append(Gicc(len(data), interface, uid, flags, performance, base, gicv, gich,
                              maintenance, redistributor, mpidr))
        elif kind == 14:
            regions.append(struct.unpack_from("<QI", data, 4))
        else:
            others.append((kind, data))
    return Madt(table.revision, tuple(giccs), tuple(regions), tuple(others))


@dataclass(frozen=True)
class PpttNode:
    """A processor hierarchy node. parent is the parent's offset in the table, 0 for none."""

    offset: int
    flags: int
    parent: int
    uid: int
    resources: tuple

    package = property(lambda self: bool(self.flags & 1))
    uid_valid = property(lambda self: bool(self.flags & 2))
    thread = property(lambda self: bool(self.flags & 4))
    leaf = property(lambda self: bool(self.flags & 8))


def pptt(table):
    """The processor nodes of a PPTT in the order of the table. Raises AcpiError."""
    _expect(table, "PPTT")
    nodes = []
    for at, kind, data in subtables(table, 36):
        if kind == 0:
            flags, parent, uid, count = struct.unpack_from("<IIII", data, 4)
            if len(data) != 20 + 4 * count:
                raise AcpiError(f"PPTT: node at {at} has {len(data)} bytes and {count} resources")
            nodes.append(PpttNode(at, flags, parent, uid,
                                  struct.unpack_from(f"<{count}I", data, 20)))
    known = {node.offset for node in nodes}
    for node in nodes:
        if node.parent and node.parent not in known:
            raise AcpiError(f"PPTT: node at {node.offset} has no node as parent ({node.parent})")
    return nodes


@dataclass(frozen=True)
class Srat:
    """NUMA affinities: cpus maps a CPU's uid to (node, flags), memory is (node, base, size, flags)."""

    cpus: dict
    memory: tuple


def srat(table):
    """Decode the GICC and memory affinities of a SRAT. Raises AcpiError."""
    _expect(table, "SRAT")
    cpus, memory = {}, []
    for _, kind, data in subtables(table, 48):
        if kind == 3:
            node, uid, flags, _clock = struct.unpack_from("<IIII", data, 2)
            if uid in cpus:
                raise AcpiError(f"SRAT: two entries for the CPU with uid {uid}")
            cpus[uid] = (node, flags)
        elif kind == 1:
            node, _, base, size, _, flags = struct.unpack_from("<IHQQII", data, 2)
            memory.append((node, base, size, flags))
    return Srat(cpus, tuple(memory))


@dataclass(frozen=True)
class Gtdt:
    """The four per-CPU timers as (interrupt, flags), and how many platform timers there are."""

    revision: int
    secure_el1: tuple
    nonsecure_el1: tuple
    virtual_el1: tuple
    el2: tuple
    platform_timers: int


def gtdt(table):
    """Decode a GTDT. Raises AcpiError."""
    _expect(table, "GTDT", 96)
    words = struct.unpack_from("<8I", table.data, 48)
    return Gtdt(table.revision, words[0:2], words[2:4], words[4:6], words[6:8],
                struct.unpack_from("<I", table.data, 88)[0])


@dataclass(frozen=True)
class Fadt:
    """What a FADT (signature FACP) says about its version and the platform."""

    revision: int
    minor: int
    flags: int
    arm_boot: int

    hardware_reduced = property(lambda self: bool(self.flags & 1 << 20))
    psci = property(lambda self: bool(self.arm_boot & 1))
    psci_hvc = property(lambda self: bool(self.arm_boot & 2))


def fadt(table):
    """Decode a FADT of ACPI 5.1 or later. Raises AcpiError."""
    _expect(table, "FACP", 132)
    flags, = struct.unpack_from("<I", table.data, 112)
    arm_boot, minor = struct.unpack_from("<HB", table.data, 129)
    return Fadt(table.revision, minor & 15, flags, arm_boot)


def _expect(table, signature, least=36):
    if table.signature != signature:
        raise AcpiError(f"expected a {signature}, got a {table.signature}")
    if len(table.data) < least:
        raise AcpiError(f"{signature}: {len(table.data)} bytes, at least {least} are needed")


def difference(old, new, labels=("pristine", "patched"), lines=60):
    """Text that shows how the tables OLD and NEW differ: as ASL where iasl is there, else as hex.

    Both are Table or bytes. At most LINES lines. Empty when the bytes are equal.
    """
    old, new = (getattr(table, "data", table) for table in (old, new))
    if old == new:
        return ""
    texts = [_asl(data) or _hex(data) for data in (old, new)]
    if texts[0] == texts[1]:
        texts = [_hex(data) for data in (old, new)]
    shown = list(difflib.unified_diff(*texts, *labels, lineterm="", n=2))
    if len(shown) > lines:
        shown[lines:] = [f"... {len(shown) - lines} more lines"]
    return "\n".join(shown)


def _hex(data):
    return [f"{at:06x}: {data[at:at + 16].hex(' ')}" for at in range(0, len(data), 16)]


def _asl(data):
    if shutil.which("iasl") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="acpi-") as folder:
        aml = Path(folder, "table.aml")
        aml.write_bytes(data)
        done = subprocess.run(["iasl", "-d", aml.name], cwd=folder, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=60, check=False)
        asl = aml.with_suffix(".dsl")
        if done.returncode or not asl.exists():
            return None
        # The disassembler's comment at the top holds the date and the file's name.
        text = asl.read_text(errors="replace").partition("*/")[2]
        return [line for line in text.splitlines() if line.strip()]
