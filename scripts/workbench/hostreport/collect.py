# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/host-report: what a user needs to know of a host before starting guests.

collect() returns what --json prints. Keys stay; new ones may come. A value of null is unknown, or
does not exist on this architecture; why it is unknown is in "unseen".

format                      1
host.arch, host.kernel      names such as "aarch64" and "6.12.41"
host.command_line           that the kernel was started with
host.cpus                   [{name, midr, cpus}] for each kind of CPU; midr on Arm only
host.product                name of the processor by SMBIOS
host.frequency              {mhz, source}, nominal; source is a file of the CPU, or "SMBIOS"
kvm.usable, kvm.reason      whether /dev/kvm can be used, and why not; null if it was not asked
kvm.vcpus_recommended, kvm.vcpus_max
kvm.nested                  nested virtualization is on
kvm.gic_versions            versions of the GIC that KVM has; needs a QEMU that uses KVM
kvm.smccc_filter            QEMU can take over PSCI calls, as vCPU hot-plug needs (Linux 6.4)
qemu.binary, qemu.version, qemu.accelerator, qemu.firmware
                            what was asked, with "kvm" or "tcg"
qemu.error                  why there is no answer
qemu.cpu_hotplug            {active, reason} for the machine "virt" with that accelerator
qemu.pcie_root_port_limit   limit of the machine "virt"; null if QEMU does not know it
qemu.cpu_models             {known, runnable}: a number, and names; runnable is null if QEMU does
                            not say which models run
topology.online, topology.possible
                            lists of CPUs such as "0-3,8"
topology.sockets, topology.clusters, topology.cores, topology.threads
                            numbers of those that are online
numa                        [{node, cpus, memory_kib, free_kib}]
iommu.units                 [{name, kind}]; kind is such as "SMMUv3", null for others
iommu.msi_isolated          interrupts of devices are kept apart; VFIO needs it
iommu.groups                [{group, viable, blockers, direct, noiommu, used_by, devices}]:
                            blockers are the addresses of those devices because of which VFIO
                            cannot have the group; direct tells that the firmware needs one of
                            them, noiommu that there is no IOMMU, used_by is [{pid, name}] of the
                            processes that have it; null if none is seen, but not all are
iommu.ungrouped             [device] of PCI's that are in no group
sriov                       [{device, vfs, vfs_possible, functions}]; a function is {address,
                            driver, group}
huge_pages                  [{size_kib, total, free, nodes: [{node, total, free}]}]
transparent_huge_pages      "always", "madvise" or "never"
locked_memory               {soft_kib, hard_kib, exempt}: a limit of null is no limit; exempt tells
                            that none counts for this user
vfio.modules                loaded modules
vfio.dma_entry_limit, vfio.allow_unsafe_interrupts
                            parameters of vfio_iommu_type1
vfio.groups                 the kernel has nodes for groups (CONFIG_VFIO_GROUP)
vfio.nodes                  [{path, usable}] of /dev/iommu and those in /dev/vfio
vhost_net                   {path, usable} of /dev/vhost-net
unseen                      [{what, why}]: what could not be seen

A device is {address, class, class_name, vendor, device, name, driver, host_driver, bridge, vfio,
blocks, numa_node, link, interfaces, disks}: the first four digits of the class, identifiers of four
digits, names as far as known; host_driver is the one that the host has for it; bridge tells that it
has the header of a bridge (to PCI or CardBus), which VFIO never takes, vfio that its driver gives
it to VFIO, blocks that it keeps its group from VFIO; link is {speed, width, max_speed, max_width};
interfaces [{name, used}]; disks [{name, used}], where used is a list of texts. Other devices than
PCI's have an address, a driver, bridge, vfio and blocks, nulls and empty lists.
"""

import platform

from . import cpus, devices, kvm, memory, qemu
from .sysfs import Tree

FORMAT = 1


def collect(root="/", binary=None, firmware=None):
    """Return the report as a dictionary, see above.

    ROOT holds the host's /sys, /proc and /dev. QEMU and FIRMWARE are paths, or None for those in
    the usual places. With another ROOT than / KVM is not asked, and QEMU only if it is named.
    """
    tree = Tree(root)
    arch = cpus.architecture(tree)
    release = _release(tree)
    product, frequency = cpus.processor(tree)
    result = {
        "format": FORMAT,
        "host": {"arch": arch, "kernel": release,
                 "command_line": tree.text("/proc/cmdline"),
                 "cpus": cpus.models(tree), "product": product, "frequency": frequency},
        "kvm": kvm.ask(tree, arch),
    }
    if not arch:
        tree.miss("architecture", "there is no /proc/sys/kernel/arch (Linux 6.1)")
    _ask_qemu(tree, result, binary, firmware)
    result.update(_devices(tree, release))
    result.update(
        topology=cpus.topology(tree), numa=cpus.nodes(tree),
        huge_pages=memory.huge_pages(tree),
        transparent_huge_pages=memory.transparent_huge_pages(tree),
        locked_memory=memory.locked_memory(tree), vhost_net=memory.vhost_net(tree))
    result["unseen"] = _unseen(tree)
    return result


def collect_devices(root="/"):
    """Return the part of the report that is about devices, which takes neither KVM nor QEMU."""
    tree = Tree(root)
    result = {"format": FORMAT, "host": {"arch": cpus.architecture(tree),
                                         "kernel": _release(tree)}}
    result.update(_devices(tree, result["host"]["kernel"]))
    result["unseen"] = _unseen(tree)
    return result


def _release(tree):
    return (tree.text("/proc/sys/kernel/osrelease")
            or (platform.release() if tree.live else None))


def _devices(tree, release):
    facts = devices.Facts(tree, release)
    return {"iommu": devices.iommu(tree, facts), "sriov": devices.sriov(tree, facts),
            "vfio": memory.vfio(tree)}


def _unseen(tree):
    return [{"what": what, "why": why} for what, why in tree.unseen.items()]


def _ask_qemu(tree, result, binary, firmware):
    offered = result["kvm"]
    # An Arm guest runs with KVM on Arm only.
    use_kvm = bool(offered["usable"]) and result["host"]["arch"] == cpus.ARM64
    if tree.live:
        binary = binary or qemu.find_binary(result["host"]["arch"])
    if binary:
        answers = qemu.ask(binary, firmware or qemu.find_firmware(), use_kvm)
    elif tree.live:
        answers = qemu.nothing("there is no qemu-system-aarch64, neither in build nor in "
                               "PATH; --qemu FILE names one")
    else:
        answers = qemu.nothing("not asked: --qemu FILE names the one to ask")
    offered["gic_versions"] = answers.pop("kernel_gic_versions")
    result["qemu"] = answers
    if answers["error"]:
        tree.miss("what QEMU can do", answers["error"])
    if result["host"]["arch"] == cpus.ARM64 and offered["gic_versions"] is None:
        tree.miss("GIC versions of KVM", "no QEMU that uses KVM was asked")
