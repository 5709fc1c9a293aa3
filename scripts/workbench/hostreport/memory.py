# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory for guests: huge pages, and what limits the memory and mappings of VFIO."""

import os
import re

from .cpus import NODES

_CAP_IPC_LOCK = 14
_ALL_UIDS = ["0", "4294967295"]     # those outside, and their number, in the first user namespace
_TYPE1 = "/sys/module/vfio_iommu_type1"


def huge_pages(tree):
    """[{size_kib, total, free, nodes: [{node, total, free}]}], smallest size first."""
    result = []
    for pool in tree.names("/sys/kernel/mm/hugepages", r"hugepages-\d+kB"):
        nodes = [{"node": int(node[len("node"):]),
                  **_pool(tree, f"{NODES}/{node}/hugepages/{pool}")}
                 for node in tree.names(NODES, r"node\d+")]
        result.append({"size_kib": int(re.search(r"\d+", pool).group()),
                       **_pool(tree, f"/sys/kernel/mm/hugepages/{pool}"), "nodes": nodes})
    if not result:
        tree.miss("huge pages", "the kernel has no /sys/kernel/mm/hugepages")
    return result


def _pool(tree, folder):
    return {"total": tree.number(f"{folder}/nr_hugepages"),
            "free": tree.number(f"{folder}/free_hugepages")}


def transparent_huge_pages(tree):
    """The mode: "always", "madvise" or "never"; None if the kernel has none."""
    modes = tree.text("/sys/kernel/mm/transparent_hugepage/enabled")
    if modes is None:
        tree.miss("transparent huge pages", "the kernel has none, or does not show them")
    match = re.search(r"\[(\w+)\]", modes or "")
    return match.group(1) if match else None


def locked_memory(tree):
    """{soft_kib, hard_kib, exempt} of this process, or None; a limit of None is no limit.

    The same as getrlimit() and the capability say, but readable in a copy of /proc as well.
    """
    match = re.search(r"^Max locked memory +(\S+) +(\S+)", tree.text("/proc/self/limits") or "",
                      re.M)
    if not match:
        tree.miss("limit of locked memory", "there is no /proc/self/limits")
        return None
    soft, hard = (None if value == "unlimited" else int(value) // 1024
                  for value in match.groups())
    return {"soft_kib": soft, "hard_kib": hard, "exempt": _may_lock(tree)}


def _may_lock(tree):
    """Whether no limit counts for this process; see hw/vfio/host-device.c."""
    capabilities = re.search(r"^CapEff:\s*(\w+)", tree.text("/proc/self/status") or "", re.M)
    if not capabilities or not int(capabilities.group(1), 16) >> _CAP_IPC_LOCK & 1:
        return False
    # In a user namespace, the capability is worth nothing for this.
    uids = tree.text("/proc/self/uid_map")
    return uids is None or uids.split()[1:3] == _ALL_UIDS


def vfio(tree):
    """{modules, dma_entry_limit, allow_unsafe_interrupts, groups, nodes: [{path, usable}]}."""
    if not tree.exists(_TYPE1):
        tree.miss("limits of vfio_iommu_type1", "the module is not loaded")
    has_groups = tree.exists("/sys/class/vfio")
    nodes = ["/dev/iommu"] if tree.exists("/dev/iommu") else []
    for folder in ("/dev/vfio", "/dev/vfio/devices"):
        nodes += [f"{folder}/{name}" for name in tree.names(folder)
                  if not tree.path(f"{folder}/{name}").is_dir()]
    unsafe = tree.text(f"{_TYPE1}/parameters/allow_unsafe_interrupts")
    return {
        # Those that are part of the kernel are here, too, if they have parameters.
        "modules": tree.names("/sys/module", "vfio.*|iommufd"),
        "dma_entry_limit": tree.number(f"{_TYPE1}/parameters/dma_entry_limit"),
        "allow_unsafe_interrupts": None if unsafe is None else unsafe in ("Y", "1"),
        # Without nodes of either kind, vfio is not loaded.
        "groups": has_groups if has_groups or tree.exists("/sys/class/vfio-dev") else None,
        "nodes": [_node(tree, node) for node in nodes],
    }


def vhost_net(tree):
    """{path, usable} of the node by which the kernel moves packets of virtio-net, or None."""
    path = "/dev/vhost-net"
    if tree.exists(path):
        return _node(tree, path)
    tree.miss(path, "it is not there: modprobe vhost_net makes it")
    return None


def _node(tree, path):
    return {"path": path, "usable": os.access(str(tree.path(path)), os.R_OK | os.W_OK)}
