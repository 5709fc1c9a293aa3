# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU itself says about machines, CPUs and hot-plug on this host.

It is started with a machine that never runs, is asked by QMP, and ends.
"""

import shutil
from pathlib import Path

from ..system import paths
from .cpus import ARM64
from .qmp import Failed, Refused, asked

SECONDS = 60            # for one answer; TCG on a loaded machine is slow
FIRMWARE = (
    "/usr/share/AAVMF/AAVMF_CODE.fd",
    "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
    "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
    "/usr/share/edk2/aarch64/QEMU_EFI.fd",
    "/usr/share/qemu/edk2-aarch64-code.fd",
)
_NOT_AVAILABLE = "CPU hotplug is not available on this machine: "
# Where Fedora, RHEL and their relatives have the QEMU for guests like the host.
_QEMU_KVM = "/usr/libexec/qemu-kvm"


def find_binary(arch):
    """The qemu-system-aarch64 that is built here, else one of this host, else None.

    ARCH is the host's architecture.
    """
    if paths.QEMU_BINARY.exists():
        return paths.QEMU_BINARY
    found = shutil.which(paths.QEMU_BINARY.name)
    if not found and arch == ARM64:
        found = shutil.which("qemu-kvm") or shutil.which(_QEMU_KVM)
    return Path(found) if found else None


def find_firmware():
    """UEFI firmware for arm64 guests in one of the usual places, or None."""
    built = sorted(paths.GUEST.glob("firmware-*/QEMU_EFI.fd"), reverse=True)
    return next((path for path in [*map(Path, FIRMWARE), *built] if path.is_file()), None)


def nothing(error):
    """The result of ask() when it is not called, for the reason ERROR."""
    return {"binary": None, "version": None, "accelerator": None, "firmware": None, "error": error,
            "cpu_hotplug": None, "pcie_root_port_limit": None, "kernel_gic_versions": None,
            "cpu_models": None}


def ask(binary, firmware, kvm):
    """What QEMU says, as described in collect.py. Each part is None if it does not say.

    BINARY and FIRMWARE are paths, FIRMWARE may be None; KVM tells to use KVM and not TCG.
    """
    result = {**nothing(None), "binary": str(binary), "accelerator": "kvm" if kvm else "tcg",
              "firmware": str(firmware) if firmware else None}
    command = [binary, "-machine", "virt", "-accel", result["accelerator"],
               "-cpu", "host" if kvm else "max", "-smp", "1,maxcpus=2", "-S",
               "-display", "none", "-nodefaults", "-no-user-config"]
    if firmware:
        command += ["-bios", firmware]
    try:
        with asked(command, SECONDS) as qmp:
            version = qmp("query-version")
            result["version"] = ("{major}.{minor}.{micro}".format(**version["qemu"])
                                 + f" {version['package']}").strip()
            result["pcie_root_port_limit"] = _value(
                qmp, "qom-get", path="/machine", property="pcie-root-port-limit")
            result["kernel_gic_versions"] = sorted(
                gic["version"] for gic in _value(qmp, "query-gic-capabilities") or []
                if gic["kernel"]) if kvm else None
            result["cpu_models"] = _cpu_models(_value(qmp, "query-cpu-definitions") or [])
            # The last one, because it changes the machine.
            result["cpu_hotplug"] = _cpu_hotplug(qmp)
    except Failed as failed:
        result["error"] = str(failed)
    return result


def _value(qmp, command, **arguments):
    """The answer to a command, None if this QEMU does not know it or refuses it."""
    try:
        return qmp(command, **arguments)
    except Refused:
        return None


def _cpu_models(definitions):
    """{known, runnable}: a number, and names; runnable is None if this QEMU does not say."""
    runnable = sorted(model["name"] for model in definitions
                      if model.get("unavailable-features") == [])
    says = any("unavailable-features" in model for model in definitions)
    return {"known": len(definitions), "runnable": runnable if says else None}


def _cpu_hotplug(qmp):
    """{active, reason}: try to plug the second CPU, for only that tells why not."""
    try:
        slot = next(slot for slot in qmp("query-hotpluggable-cpus") if "qom-path" not in slot)
        qmp("device_add", driver=slot["type"], id="second", **slot["props"])
        return {"active": True, "reason": None}
    except Refused as refused:
        return {"active": False, "reason": str(refused).replace(_NOT_AVAILABLE, "", 1)}
