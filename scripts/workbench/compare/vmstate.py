# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU may migrate, and what a migration stream holds."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from ..guest import migration
from ..guest.qemu import GuestError
from . import differences
from .builds import TIMEOUT, output


def dump_vmstate(binary, machine):
    """What BINARY may migrate with MACHINE: the JSON of -dump-vmstate as text. Raises GuestError."""
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        file = Path(folder, "vmstate.json")
        output(binary, "-machine", machine, "-display", "none", "-nodefaults", "-dump-vmstate",
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
    return differences.lines(*texts) if texts[0] != texts[1] else ""


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
    """Migrate INSTANCE, running or not, into FILE and wait for the end. Raises GuestError."""
    instance.qmp("migrate", {"uri": f"file:{file}"})
    if migration.wait_end(instance) != "completed":
        raise instance.failure(f"migration failed: {instance.qmp('query-migrate')}")


def stream_description(file):
    """The description of the devices and fields that a migration stream holds, as a dictionary.

    FILE is the path of a complete stream; QEMU appends its description to it. Raises GuestError.
    """
    data = Path(file).read_bytes()
    at = len(data)
    while (at := data.rfind(b"\x06", 0, at)) >= 0:
        if at + 5 + int.from_bytes(data[at + 1:at + 5], "big") == len(data):
            return json.loads(data[at + 5:])
    raise GuestError(f"{file}: no description at the end of the migration stream")


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
    return differences.lines(*texts) if texts[0] != texts[1] else ""
