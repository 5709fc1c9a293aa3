# SPDX-License-Identifier: GPL-2.0-or-later
"""What KVM of the running kernel can do."""

import fcntl
import grp
import os
import struct

from .cpus import ARM64, X86

DEVICE = "/dev/kvm"

# From linux/kvm.h and arm64's asm/kvm.h. By hand because no module of Python has them, and a host
# that runs guests has no headers; they are part of the kernel's ABI and never change.
_GET_API_VERSION = 0xae00
_CREATE_VM = 0xae01
_CHECK_EXTENSION = 0xae03
_HAS_DEVICE_ATTR = 0x4018aee3       # _IOW(0xae, 0xe3, struct kvm_device_attr), 24 bytes
_API_VERSION = 12
_CAP_NR_VCPUS = 9
_CAP_MAX_VCPUS = 66
_CAP_ARM_VM_IPA_SIZE = 165
_CAP_ARM_EL2 = 240
_ARM_VM_SMCCC_CTRL = 0
_ARM_VM_SMCCC_FILTER = 0


def ask(tree, arch):
    """What KVM says as {usable, reason, vcpus_recommended, vcpus_max, nested, smccc_filter}.

    usable is False with a reason, or None with the reason why KVM was not asked. All others are
    None where nothing is known, or where the architecture ARCH has no such thing.
    """
    result = {"usable": None, "reason": None, "vcpus_recommended": None, "vcpus_max": None,
              "nested": _x86_nested(tree) if arch == X86 else None, "smccc_filter": None}
    if not tree.live:
        result["reason"] = "not asked: the files are not those of the running kernel"
        tree.miss("KVM", result["reason"])
        return result
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        result.update(usable=False, reason=_explain(error, arch))
        tree.miss("what KVM can do", "it is not usable")
        return result
    try:
        result.update(_answers(tree, device, arch))
    except OSError as error:
        result.update(usable=False, reason=f"{DEVICE} does not work: {error.strerror}")
    finally:
        os.close(device)
    return result


def _answers(tree, device, arch):
    def check(capability):
        return fcntl.ioctl(device, _CHECK_EXTENSION, capability)

    version = fcntl.ioctl(device, _GET_API_VERSION, 0)
    if version != _API_VERSION:
        return {"usable": False, "reason": f"KVM has version {version} of its interface, and QEMU "
                f"needs {_API_VERSION}"}
    result = {"usable": True, "vcpus_recommended": check(_CAP_NR_VCPUS),
              "vcpus_max": check(_CAP_MAX_VCPUS)}
    if arch == ARM64:
        result["nested"] = check(_CAP_ARM_EL2) > 0
        try:
            result["smccc_filter"] = _has_smccc_filter(device, check(_CAP_ARM_VM_IPA_SIZE))
        except OSError as error:
            tree.miss("SMCCC filter of KVM", f"no virtual machine can be made: {error.strerror}")
    return result


def _has_smccc_filter(device, ipa_bits):
    """Whether QEMU may take over PSCI calls, asked as target/arm/kvm-psci.c of the series does."""
    # The default of 40 bits is more than some machines have.
    machine = fcntl.ioctl(device, _CREATE_VM, ipa_bits)
    try:
        # struct kvm_device_attr: flags, group, attr, addr
        fcntl.ioctl(machine, _HAS_DEVICE_ATTR,
                    struct.pack("=IIQQ", 0, _ARM_VM_SMCCC_CTRL, _ARM_VM_SMCCC_FILTER, 0))
        return True
    except OSError:
        return False
    finally:
        os.close(machine)


def _x86_nested(tree):
    for module in ("kvm_intel", "kvm_amd"):
        value = tree.text(f"/sys/module/{module}/parameters/nested")
        if value is not None:
            return value in ("Y", "1")
    tree.miss("nested virtualization", "neither kvm_intel nor kvm_amd is loaded")
    return None


def _explain(error, arch):
    if isinstance(error, FileNotFoundError):
        return f"there is no {DEVICE}: " + (
            "the kernel has no KVM, or was not started in EL2, as in a virtual machine"
            if arch == ARM64 else "the kernel has no KVM, its module is not loaded, or "
            "virtualization is off in firmware")
    if isinstance(error, PermissionError):
        status = os.stat(DEVICE)
        try:
            group = grp.getgrgid(status.st_gid).gr_name
        except KeyError:
            group = status.st_gid
        return (f"permission denied: {DEVICE} has mode {status.st_mode & 0o777:04o} and belongs "
                f"to group {group}")
    return f"{DEVICE} cannot be opened: {error.strerror}"
