# SPDX-License-Identifier: GPL-2.0-or-later
"""The report on a host as text."""

import textwrap

from .cpus import ARM64
from .devices import is_host_bridge

WIDTH = 98
_LABEL = 20
_FEW = 8                # so many names fit a line or two
_UNKNOWN = "unknown"


def render(found):
    """Return what collect.collect() has found as text of less than 100 columns."""
    sections = (("Host", _host), ("KVM", _kvm), ("QEMU", _qemu), ("CPUs and NUMA", _cpus),
                ("IOMMU", _iommu), ("SR-IOV", _sriov), ("Memory and VFIO", _memory),
                ("Not seen", _unseen))
    parts = []
    for title, section in sections:
        lines = [line for item in section(found) for line in _lines(item)]
        parts.append("\n".join([title, *lines]))
    return "\n\n".join(parts)


def render_verdict(judged):
    """Return what verdict.judge() says as text; commands may be longer than the lines."""
    device = judged["device"]
    shared = any(address != device["address"] and f" {address} " in line
                 for address in judged["addresses"] for line in judged["bind"])
    verdict = {"ready": "can be given to a guest now",
               "bind": "can be given to a guest once " + (
                   "all devices of its IOMMU group are taken from the host" if shared else
                   "it is bound to vfio-pci"),
               "no": "cannot be given to a guest"}[judged["verdict"]]
    if judged["unseen"]:
        verdict += ", as far as can be seen"
    lines = textwrap.wrap(f"{device['address']} {verdict}.", WIDTH, break_on_hyphens=False)
    for reason in judged["reasons"]:
        lines += textwrap.wrap(reason, WIDTH, initial_indent="- ", subsequent_indent="  ",
                               break_on_hyphens=False)
    lines += ["", _device(device).strip(), *(line.rstrip() for line in _details(device))]
    if judged["group"] is not None:
        lines.append(f"    IOMMU group {judged['group']}"
                     + (": " + ", ".join(judged["addresses"]) if judged["addresses"] else ""))
    parts = [
        ("Take it from the host, as root", judged["bind"]),
        ("Give it to a guest, with QEMU", [" ".join(judged["qemu"])] if judged["qemu"] else []),
        ("Give it to a guest, with libvirt (which binds it by itself"
         + (", but not the others of its group)" if len(judged["addresses"]) > 1 else ")"),
         (judged["libvirt"] or "").splitlines()),
        ("Give it back to the host, as root", judged["give_back"]),
        ("Take it at each start of the host, as root", judged["boot"])]
    for title, commands in parts:
        if commands:
            lines += ["", title, *(f"  {command}" for command in commands)]
    if judged["unseen"]:
        lines += ["", "Not seen", *(f"  {line}" for line in _unseen(judged))]
    return "\n".join(lines)


def _lines(item):
    """ITEM is (label, value), or a text that is a line of its own, cut if it is too long."""
    if isinstance(item, str):
        return [f"  {item}" if len(item) <= WIDTH - 2 else f"  {item[:WIDTH - 3]}…"]
    label, value = item
    return textwrap.wrap(str(value), WIDTH, initial_indent=f"  {label} ".ljust(_LABEL),
                         subsequent_indent=" " * _LABEL, break_on_hyphens=False)


def _known(value):
    return _UNKNOWN if value is None else value


def _yes(value, no="no"):
    return {None: _UNKNOWN, True: "yes", False: no}[value]


def _times(name, count):
    return name if count == 1 else f"{name} × {count}"


def _size(kib):
    if kib is None:
        return _UNKNOWN
    for unit, size in (("GiB", 1 << 20), ("MiB", 1 << 10)):
        if kib >= size:
            return f"{kib / size:.1f}".replace(".0", "") + f" {unit}"
    return f"{kib} KiB"


def _host(found):
    host = found["host"]
    yield "architecture", _known(host["arch"])
    yield "kernel", _known(host["kernel"])
    if host["command_line"]:
        yield "command line", host["command_line"]
    for cpu in host["cpus"] or [{"name": _UNKNOWN, "midr": None, "cpus": 1}]:
        yield "CPU", (_times(cpu["name"], cpu["cpus"])
                      + (f" (MIDR {cpu['midr']})" if cpu["midr"] else ""))
    if host["product"]:
        yield "product", host["product"]
    frequency = host["frequency"]
    yield "nominal frequency", (f"{frequency['mhz']} MHz ({frequency['source']})" if frequency
                                else _UNKNOWN)


def _kvm(found):
    kvm = found["kvm"]
    usable = "usable" if found["host"]["arch"] == ARM64 else "usable, but not for Arm guests"
    yield "/dev/kvm", usable if kvm["usable"] else kvm["reason"]
    if kvm["usable"]:
        yield "vCPUs of a guest", (f"up to {kvm['vcpus_recommended']} recommended, "
                                   f"{kvm['vcpus_max']} possible")
    nested = _yes(kvm["nested"])
    if found["host"]["arch"] != ARM64:
        yield "nested", nested
        return
    yield "nested", nested + ("" if kvm["nested"] is not False else
                              ": the CPU cannot, or the kernel was started without "
                              "kvm-arm.mode=nested (Linux 6.16)")
    versions = kvm["gic_versions"]
    yield "GIC", (_UNKNOWN if versions is None else
                  " and ".join(f"GICv{version}" for version in versions) or "none in KVM")
    yield "SMCCC filter", _yes(kvm["smccc_filter"],
                               "no: vCPU hot-plug with KVM needs Linux 6.4 or newer")


def _qemu(found):
    qemu = found["qemu"]
    if qemu["binary"]:
        yield "program", qemu["binary"]
    if qemu["error"]:
        yield "no answer", qemu["error"]
        return
    yield "version", qemu["version"]
    yield "accelerator", ("KVM" if qemu["accelerator"] == "kvm" else
                          "TCG; KVM was not asked" if found["kvm"]["usable"] is None else
                          "TCG, for want of KVM for Arm guests on this host")
    yield "firmware", qemu["firmware"] or "none found; --firmware FILE names one"
    hotplug = qemu["cpu_hotplug"]
    yield "vCPU hot-plug", ("active on virt" if hotplug["active"] else
                            f"not active on virt: {hotplug['reason']}")
    ports = qemu["pcie_root_port_limit"]
    yield "PCIe root ports", ("limit unknown to this QEMU" if ports is None else
                              f"up to {ports} on virt")
    models = qemu["cpu_models"]
    names = models["runnable"]
    if names is None:
        yield "CPU models", f"{models['known']}; which of them run is unknown to this QEMU"
    else:
        yield "CPU models", (f"{len(names)} of {models['known']} can run"
                             + (f": {', '.join(names)}" if 0 < len(names) <= _FEW else ""))


def _cpus(found):
    cpus = found["topology"]
    yield "online", (f"{_known(cpus['online'])}, possible {_known(cpus['possible'])}")
    if cpus["threads"]:
        words = [f"{cpus[name]} {name if cpus[name] != 1 else name[:-1]}"
                 for name in ("sockets", "clusters", "cores", "threads") if cpus[name]]
        yield "topology", ", ".join(words)
    for node in found["numa"]:
        yield f"node {node['node']}", (f"CPUs {node['cpus'] or 'none'}; "
                                       f"{_size(node['memory_kib'])}, "
                                       f"{_size(node['free_kib'])} free")


def _device(device):
    """A device in a line: address, driver, class, identifiers, name."""
    kind = device["class_name"] or (f"class {device['class']}" if device["class"] else "")
    numbers = f"{device['vendor']}:{device['device']}" if device["vendor"] else ""
    words = (f"  {device['address']:<14}{device['driver'] or '-':<12} {kind:<20} {numbers:<9} "
             f"{device['name'] or ''}")
    return words.rstrip()


def _details(device):
    """What else is known of a device, in lines of their own."""
    words = []
    if device["numa_node"] is not None:
        words.append(f"node {device['numa_node']}")
    link = device["link"]
    if link:
        speed, most = (text.replace(" PCIe", "") for text in (link["speed"], link["max_speed"]))
        words.append(f"{speed} ×{link['width']}"
                     + ("" if (speed, link["width"]) == (most, link["max_width"]) else
                        f" (at most {most} ×{link['max_width']})"))
    if device["host_driver"] and device["host_driver"] != device["driver"]:
        words.append(f"driver of the host: {device['host_driver']}")
    words += [interface["name"] + (" (up)" if interface["used"] else "")
              for interface in device["interfaces"]]
    words += [disk["name"] + (f" ({', '.join(disk['used'])})" if disk["used"] else "")
              for disk in device["disks"]]
    if words:
        yield from textwrap.wrap("; ".join(words), WIDTH - 2, initial_indent="    ",
                                 subsequent_indent="    ", break_on_hyphens=False)


def _is_useless(device):
    """Whether a device is a bridge that nobody gives to a guest."""
    return device["bridge"] or is_host_bridge(device) and not device["vfio"]


def _iommu(found):
    iommu = found["iommu"]
    kinds = [unit["kind"] or unit["name"] for unit in iommu["units"]]
    groups = iommu["groups"]
    if not groups and not kinds:
        yield "none: " + ("there is no SMMU" if found["host"]["arch"] == ARM64 else
                          "there is no IOMMU") + ", or it is off in firmware or kernel"
        yield "No device can be passed to a guest."
        return
    yield "units", ", ".join(_times(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)) \
        or "none is shown"
    unsafe = found["vfio"]["allow_unsafe_interrupts"]
    yield "interrupts", {None: _UNKNOWN, True: "isolated", False: "not isolated, " + (
        "which VFIO was told to allow" if unsafe else
        "so VFIO refuses all devices: turn on interrupt remapping (on Arm, that takes a GIC with "
        "ITS)")}[iommu["msi_isolated"]]
    useful = [group for group in groups if not all(map(_is_useless, group["devices"]))]
    if len(useful) < len(groups):
        yield "only bridges in", "groups " + ", ".join(
            str(group["group"]) for group in groups if group not in useful)
    for group in useful:
        yield f"group {group['group']}", _group(group)
        for device in group["devices"]:
            yield _device(device)
            yield from _details(device)
    ungrouped = [device for device in iommu["ungrouped"] if not _is_useless(device)]
    if ungrouped:
        yield "no group", ("no IOMMU serves these, or they get a group with their first driver, "
                           "as on Arm with older kernels")
    for device in ungrouped:
        yield _device(device)
        yield from _details(device)
    devices = ungrouped + [device for group in useful for device in group["devices"]]
    if any(not device["vfio"] and not _is_useless(device) for device in devices):
        yield ("To pass on a device, bind all of its group but PCI bridges to vfio-pci. The host "
               "loses them:")
        yield "  modprobe vfio-pci"
        yield "  echo vfio-pci > /sys/bus/pci/devices/ADDRESS/driver_override"
        yield "  echo ADDRESS > /sys/bus/pci/devices/ADDRESS/driver/unbind"
        yield "  echo ADDRESS > /sys/bus/pci/drivers_probe"
        yield "scripts/host-report --device ADDRESS says more of one."


def _group(group):
    drivers = {device["address"]: device["driver"] for device in group["devices"]}
    blockers = [f"{address} ({drivers[address]})" for address in group["blockers"]]
    if group["noiommu"]:
        return "without IOMMU (enable_unsafe_noiommu_mode), which is not for guests"
    if group["direct"]:
        return ("not for guests: the firmware wants memory to stay mapped for a device of it "
                "('direct' in reserved_regions)")
    if group["used_by"]:
        return "in use by " + ", ".join(f"process {user['pid']} ({user['name']})"
                                        for user in group["used_by"])
    if not blockers:
        ready = sum(device["vfio"] for device in group["devices"])
        if not ready:
            return "viable, but nothing is on VFIO yet"
        return "viable, ready for a guest" + (
            ", if no process has it, which is not known" if group["used_by"] is None else "")
    return (f"not viable: {', '.join(blockers)} still use{'s a' if len(blockers) == 1 else ''} "
            f"host driver{'' if len(blockers) == 1 else 's'}")


def _sriov(found):
    if not found["sriov"]:
        yield "no device has it"
    for item in found["sriov"]:
        device = item["device"]
        yield _device(device)[2:]
        yield f"  {_known(item['vfs'])} of {item['vfs_possible']} VFs in use"
        for function in item["functions"]:
            yield (f"    {function['address']:<14}{function['driver'] or '-':<12} "
                   + (f"group {function['group']}" if function["group"] is not None else "")
                   ).rstrip()
    if any(not item["vfs"] and item["vfs_possible"] for item in found["sriov"]):
        yield "To make VFs: echo NUMBER > /sys/bus/pci/devices/ADDRESS/sriov_numvfs"


def _memory(found):
    for pool in found["huge_pages"]:
        nodes = ", ".join(f"node {node['node']}: {_known(node['total'])}, "
                          f"{_known(node['free'])} free" for node in pool["nodes"])
        text = f"{_known(pool['total'])}, {_known(pool['free'])} free"
        # With one node there is nothing to tell apart.
        yield f"pages of {_size(pool['size_kib'])}", text + (
            f" ({nodes})" if pool["total"] and len(pool["nodes"]) > 1 else "")
    yield "transparent", _known(found["transparent_huge_pages"])
    yield "locked memory", _locked(found["locked_memory"])
    vfio = found["vfio"]
    yield "VFIO modules", ", ".join(vfio["modules"]) or "none; modprobe vfio-pci loads them"
    yield "VFIO mappings", (_UNKNOWN if vfio["dma_entry_limit"] is None else
                            f"up to {vfio['dma_entry_limit']} (dma_entry_limit)")
    yield "unsafe interrupts", {None: _UNKNOWN, True: "allowed", False: "not allowed"}[
        vfio["allow_unsafe_interrupts"]]
    if vfio["groups"] is False:
        yield "VFIO groups", "the kernel has none (CONFIG_VFIO_GROUP); QEMU needs iommufd"
    node = found["vhost_net"]
    yield "vhost-net", ("not there; modprobe vhost_net" if node is None else
                        "usable" if node["usable"] else "no permission")
    yield "VFIO nodes", ", ".join(
        node["path"] + ("" if node["usable"] else " (no permission)") for node in vfio["nodes"]) \
        or "neither /dev/vfio nor /dev/iommu"


def _locked(limits):
    if limits is None:
        return _UNKNOWN
    soft, hard = limits["soft_kib"], limits["hard_kib"]
    if soft is None:
        return "no limit"
    text = _size(soft)
    if hard != soft:
        text += ", may be raised " + ("without limit" if hard is None else f"to {_size(hard)}")
    if limits["exempt"]:
        return text + "; does not count for this user (CAP_IPC_LOCK)"
    return text + "; with VFIO it must be the guest's memory and some more (ulimit -l)"


def _unseen(found):
    if not found["unseen"]:
        yield "nothing: all was there and readable"
    for item in found["unseen"]:
        yield from textwrap.wrap(f"{item['what']}: {item['why']}", WIDTH - 2,
                                 subsequent_indent="  ", break_on_hyphens=False)
