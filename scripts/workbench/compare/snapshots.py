# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine shows to its firmware: ACPI tables, fw_cfg files, device tree."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import acpitables, differences
from .builds import TIMEOUT
from .fwcfg import FwCfg
from .instance import Instance


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

    The guest needs RAM up to 0x48000000 on Arm, 32 MiB on x86. Raises GuestError.
    """
    pc = "x86_64" in Path(binary).name
    with Instance(binary, ["-S"] + list(words)) as instance:
        device_tree = b""
        if not pc:
            with tempfile.TemporaryDirectory(prefix="compat-") as folder:
                file = Path(folder, "dtb")
                instance.qmp("dumpdtb", {"filename": str(file)})
                device_tree = file.read_bytes()
        return Snapshot(FwCfg(instance, pc).files(), device_tree)


def snapshot_differences(old, new):
    """How the Snapshots OLD and NEW differ, as a list of texts for people; empty when equal."""
    texts = []
    if old.device_tree != new.device_tree:
        texts.append("device trees differ:\n" + differences.lines(
            *(_source(shown.device_tree) for shown in (old, new))))
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


def _source(device_tree):
    if shutil.which("dtc") is None:
        return device_tree.hex(" ", 16).splitlines()
    done = subprocess.run(["dtc", "-I", "dtb", "-O", "dts", "-q"], input=device_tree,
                          capture_output=True, timeout=TIMEOUT, check=False)
    return done.stdout.decode(errors="replace").splitlines()
