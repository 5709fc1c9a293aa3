# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host does with its PCI devices: interfaces, disks, processes, and the drivers it has."""

import fnmatch
import re

_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_IFF_UP = 1
_FIRST_NAMESPACE = "pid:[4026531836]"       # PROC_PID_INIT_INO of the kernel, which never changes
_ALL = "processes"
PROCESSES = (_ALL, "/proc/*/fd", "/proc/*/fd/*")


def _owner(path):
    """The address of the PCI device that PATH, a folder below /sys/devices, belongs to, or None."""
    found = _ADDRESS.findall(path or "")
    return found[-1] if found else None


def interfaces(tree):
    """{address: [{name, used}]} of the network interfaces; used tells that it is up."""
    result = {}
    for name in tree.names("/sys/class/net"):
        folder = f"/sys/class/net/{name}"
        owner = _owner(tree.target(folder))
        if owner:
            up = (tree.number(f"{folder}/flags") or 0) & _IFF_UP
            result.setdefault(owner, []).append(
                {"name": name, "used": bool(up) or tree.exists(f"{folder}/master")})
    return result


def disks(tree):
    """{address: [{name, used}]} of the disks; used is a list of texts such as "nvme0n1p2 at /"."""
    mounts = _mounts(tree)
    result = {}
    for name in tree.names("/sys/block"):
        folder = f"/sys/block/{name}"
        target = tree.target(folder)
        owner = _owner(target)
        controllers = [owner] if owner else []
        match = re.search(r"/nvme-subsystem/([^/]+)/", target or "")
        if match:
            # A disk with several ways to it is the subsystem's.
            subsystem = f"/sys/class/nvme-subsystem/{match.group(1)}"
            controllers = [_owner(tree.target(f"{subsystem}/{controller}"))
                           for controller in tree.names(subsystem, r"nvme\d+")]
        for address in filter(None, controllers):
            parts = [(name, folder)] + [(part, f"{folder}/{part}")
                                        for part in tree.names(folder, re.escape(name) + r"p?\d+")]
            used = [text for part in parts for text in _uses(tree, mounts, *part)]
            result.setdefault(address, []).append({"name": name, "used": used})
    return result


def _mounts(tree):
    """{major:minor or device: where it is mounted}, of swap as well."""
    result = {}
    mountinfo = tree.text("/proc/self/mountinfo")
    if mountinfo is None:
        tree.miss("/proc/self/mountinfo", "it is not there")
    for line in (mountinfo or "").splitlines():
        words = line.split(" ")
        if " - " in line and len(words) > 6:
            source = words[words.index("-") + 2]
            for key in (words[2], source.rsplit("/", 1)[-1]):
                result.setdefault(key, "at " + words[4])
    for line in (tree.text("/proc/swaps") or "").splitlines()[1:]:
        result.setdefault(line.split()[0].rsplit("/", 1)[-1], "for swap")
    return result


def _uses(tree, mounts, name, folder):
    use = mounts.get(name) or mounts.get(tree.text(f"{folder}/dev"))
    if use:
        yield f"{name} {use}"
    for holder in tree.names(f"{folder}/holders"):
        yield f"{name} by {holder}"


def processes(tree):
    """({node: [{pid, name}]}, whether all are seen) of the processes with a node of VFIO open.

    Why not all are seen is in tree.unseen, under one of PROCESSES.
    """
    result = {}
    pids = tree.names("/proc", r"\d+")
    namespace = tree.target("/proc/self/ns/pid")
    if "1" not in pids:
        tree.miss(_ALL, "not all are in /proc: there is no process 1, as with hidepid=, the option "
                  "of /proc, or in a copy")
    elif namespace and namespace != _FIRST_NAMESPACE:
        tree.miss(_ALL, "those outside of this PID namespace are not in /proc, as in a container")
    for pid in pids:
        for descriptor in tree.names(f"/proc/{pid}/fd"):
            node = tree.target(f"/proc/{pid}/fd/{descriptor}") or ""
            if node.startswith("/dev/vfio/") and node != "/dev/vfio/vfio":
                user = {"pid": int(pid), "name": tree.text(f"/proc/{pid}/comm")}
                if user not in result.setdefault(node, []):
                    result[node].append(user)
    return result, not any(what in tree.unseen for what in PROCESSES)


class Drivers:
    """Which drivers the host has for its devices, by the lists of the kernel's modules."""

    def __init__(self, tree, release):
        self._tree = tree
        self._aliases = []
        folder = f"/lib/modules/{release}"
        modules = re.findall(r"^alias (pci:\S+) (\S+)$", tree.text(f"{folder}/modules.alias") or "",
                             re.M)
        builtin = re.findall(r"(?:^|\0)([^.\0]+)\.alias=(pci:[^\0]+)",
                             tree.text(f"{folder}/modules.builtin.modinfo") or "")
        self._aliases = modules + [(alias, name) for name, alias in builtin]

    def name(self, folder):
        """The driver that the device in FOLDER of sysfs had if it were not given away, or None."""
        modalias = self._tree.text(f"{folder}/modalias")
        for alias, name in self._aliases if modalias else ():
            if "vfio" not in name and name != "pci_stub" and fnmatch.fnmatchcase(modalias, alias):
                return name
        return None
