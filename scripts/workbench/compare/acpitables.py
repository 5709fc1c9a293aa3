# SPDX-License-Identifier: GPL-2.0-or-later
"""ACPI tables byte by byte, as they reach the firmware; of the MADT, the CPUs.

No iasl that distributions ship decodes the online-capable bit of a MADT GICC entry, so those are
decoded here, after the ACPI specification 6.5. iasl is used to show what differs when two tables
do.
"""

import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import differences

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


def subtables(table, at):
    """(offset, type, bytes) of each structure of TABLE from offset AT on.

    Raises AcpiError for a length of zero or past the end.
    """
    while at < len(table.data):
        if at + 2 > len(table.data):
            raise AcpiError(f"{table.signature}: half a structure at offset {at}")
        kind, length = table.data[at:at + 2]
        if length < 2 or at + length > len(table.data):
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

    giccs: tuple
    redistributors: tuple
    others: tuple


def madt(table):
    """Decode the Arm parts of a MADT (signature APIC). Raises AcpiError."""
    if table.signature != "APIC":
        raise AcpiError(f"expected an APIC, got a {table.signature}")
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
    return Madt(tuple(giccs), tuple(regions), tuple(others))


def difference(old, new):
    """Text that shows how the tables OLD and NEW differ: as ASL where iasl is there, else as hex.

    Both are Table or bytes. Empty when the bytes are equal.
    """
    old, new = (getattr(table, "data", table) for table in (old, new))
    if old == new:
        return ""
    texts = [_asl(data) or _hex(data) for data in (old, new)]
    if texts[0] == texts[1]:
        texts = [_hex(data) for data in (old, new)]
    return differences.lines(*texts)


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
