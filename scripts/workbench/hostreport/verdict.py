# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/host-report --device: whether a PCI device can be given to a guest, and how.

judge() returns what --json prints:

verdict     "ready", "bind" (once the commands were run that are in "bind"), or "no"
reasons     why not, or what is to be known first
unseen      [{what, why}]: what could not be seen of that on which the verdict depends; empty for
            "no", which depends on what was seen
device      as described in collect.py
group       number of the IOMMU group, or null; addresses: of all that the host gives up with it
qemu        arguments of QEMU for it; empty if it cannot be given away
libvirt     the same for a domain
bind, boot  shell commands, for root: to take the devices from the host, and to have that done at
            each start of it
give_back   to return them

The verdict, and with it the exit status, is by what was seen: what is in "unseen" turns no "ready"
into a "no". Otherwise only root could ever get a "ready"; and for a device that is on VFIO already,
the kernel refuses without harm what does not work after all (EBUSY if a process has it, EPERM if
interrupts are not isolated). Before the commands of "bind" are run, "unseen" should be empty, for
which it may take root to ask: the kernel takes a disk from the host even if it is mounted.
"""

from .cpus import ARM64
from .devices import GROUPS, PCI, is_host_bridge, is_pci
from .use import PROCESSES

READY, BIND, NO = "ready", "bind", "no"
VFIO, STUB = "vfio-pci", "pci-stub"
STATUS = {READY: 0, BIND: 1, NO: 3}         # 2 is a wrong option, or no such device


def judge(found, address):
    """The verdict on the PCI device ADDRESS by what collect.py has FOUND; None: no such device."""
    group, device = _find(found, address)
    if device is None:
        return None
    # Bridges to PCI stay as they are, unless one has a driver that the kernel does not let it have.
    mine = [other for other in (group["devices"] if group else [device])
            if not other["bridge"] or other["blocks"] or other["driver"] == STUB]
    function = _physical(found, address)
    # Those that the host uses must go, the others of the group may be without driver.
    wanted = [other for other in mine if other["blocks"] or other is device and not other["vfio"]]
    # Without its driver, a device has no virtual functions any more.
    ended = {vf["address"] for other in wanted for vf in _functions(found, other)}
    unbound = [(other, _stand_in(device, other)) for other in wanted
               if other["address"] not in ended]
    against = list(_against(found, group, device, mine, function))
    notes = [] if group is None and against else list(_notes(found, group, device, mine, function))
    unknown = [] if against else list(_unknown(found, group, mine))
    # Those of the group that a driver of the host may take at its next start go as well.
    always = [(other, _stand_in(device, other)) for other in mine
              if (other is device or other["driver"] or other["host_driver"])
              and other["address"] not in ended]
    taken = [other for other in mine
             if _is_taken(other) and (against or other["address"] not in ended)]
    groups = found["vfio"]["groups"] is not False
    return {
        "verdict": NO if against else BIND if unbound else READY,
        "reasons": against + notes + [text for text, _ in unknown if text],
        "unseen": [item for item in found["unseen"]
                   if any(item in causes for _, causes in unknown)],
        "device": device, "group": group and group["group"],
        "addresses": [other["address"] for other in mine],
        "qemu": [] if against else _qemu(address, groups),
        "libvirt": None if against else _libvirt(address),
        "bind": [] if against else list(_bind(found, group, unbound)),
        "boot": [] if against else list(_boot(found, group, always, function)),
        "give_back": list(_give_back(found, taken if against else [
            other for other in mine
            if other in taken or other in wanted and other["address"] not in ended])),
    }


def _stand_in(device, other):
    """The driver that keeps OTHER from the host while a guest has DEVICE.

    That is pci-stub for what no guest should have: it leaves the device as it is.
    """
    if other is device or other["vfio"] or not is_pci(other):
        return VFIO
    return STUB if other["bridge"] or is_host_bridge(other) or other["driver"] == STUB else VFIO


def _is_taken(device):
    """Whether the commands shown have been run for a device."""
    return device["vfio"] or device["driver"] == STUB and (
        device["bridge"] or is_host_bridge(device))


def _find(found, address):
    for group in found["iommu"]["groups"]:
        for device in group["devices"]:
            if device["address"] == address:
                return group, device
    return None, next((device for device in found["iommu"]["ungrouped"]
                       if device["address"] == address), None)


def _physical(found, address):
    """What is known of the physical function of the virtual function ADDRESS, or None."""
    return next((item for item in found["sriov"]
                 if address in (vf["address"] for vf in item["functions"])), None)


def _functions(found, device):
    """The virtual functions that a device has."""
    return next((item["functions"] for item in found["sriov"]
                 if item["device"]["address"] == device["address"]), [])


def _users(found, address):
    """The processes that have a device, or another one of its group; None for unknown."""
    group = _find(found, address)[0]
    return group["used_by"] if group else []


def _against(found, group, device, mine, function):
    """Why the device cannot be given away whatever is done with its driver."""
    if device["bridge"]:
        yield "it is a bridge to other PCI devices, which VFIO does not take"
    if group is None and (device["driver"] or not found["iommu"]["units"]):
        yield ("no IOMMU serves it: there is none" + (
            " (no SMMU)" if found["host"]["arch"] == ARM64 else "")
            + ", or it is off in firmware or kernel")
    elif group and group["noiommu"]:
        yield ("no IOMMU serves it, and that VFIO offers it nevertheless "
               "(enable_unsafe_noiommu_mode) is not for guests")
    if group and group["direct"]:
        yield ("the firmware wants memory to stay mapped for a device of its IOMMU group ('direct' "
               "in reserved_regions), which VFIO does not allow: look for a setting of the "
               "firmware")
    if found["iommu"]["msi_isolated"] is False and not found["vfio"]["allow_unsafe_interrupts"]:
        yield ("the interrupts (MSI) of devices are not isolated: turn on interrupt remapping (on "
               "Arm, that takes a GIC with ITS), or set allow_unsafe_interrupts of "
               "vfio_iommu_type1 if you trust the guest")
    card = function and next((other for other in mine if other["blocks"]
                              and other["address"] == function["device"]["address"]), None)
    if card:
        yield (f"its physical function {card['address']} is in the same IOMMU group, with the "
               f"driver {card['driver']}, without which it has no virtual functions: only behind "
               "ports with ACS do functions have groups of their own")
    for user in group["used_by"] or [] if group else []:
        yield f"process {user['pid']} ({user['name']}) has it" + (
            ", or another device of its IOMMU group, all of which only one guest can have"
            if len(mine) > 1 else "")
    for other in mine:
        for vf in _functions(found, other):
            for user in _users(found, vf["address"]) or []:
                yield (f"process {user['pid']} ({user['name']}) has its virtual function "
                       f"{vf['address']}")
        for disk in other["disks"]:
            if disk["used"]:
                yield (f"the host uses {disk['name']} of {other['address']}: "
                       + ", ".join(disk["used"]))


def _notes(found, group, device, mine, function):
    """What is to be known before it is given away."""
    if group is None:
        yield "it has no IOMMU group yet; if it gets none when it is bound, no IOMMU serves it"
    if is_host_bridge(device):
        yield (f"it is a part of the host itself ({device['class_name'] or 'a bridge'}): VFIO does "
               "take it, but guests have no use for it, and the host may need it")
    card = function and function["device"]["address"]
    for other in mine:
        if other is not device and other["blocks"] and other["address"] != card:
            yield _neighbour(other)
    for node in found["vfio"]["nodes"]:
        if group and node["path"] == f"/dev/vfio/{group['group']}" and not node["usable"]:
            yield f"this user may not open {node['path']}; libvirt and root can"
    for other in mine:
        for interface in other["interfaces"]:
            if interface["used"]:
                yield (f"the host uses the interface {interface['name']} of {other['address']}, "
                       "and loses it")
        vfs = [vf["address"] for vf in _functions(found, other)]
        if vfs and not other["vfio"] and other["address"] != card:
            alone = not any(member["address"] in vfs for member in mine)
            yield (f"{other['address']} has {len(vfs)} virtual functions, which end before it can "
                   "be bound" + ("; they can be given away instead" if alone else ""))
    if function and function["device"]["vfio"]:
        yield (f"its physical function {function['device']['address']} is on VFIO, so QEMU needs "
               "the vf-token that whoever has that one has given it")


def _neighbour(other):
    """What giving away a device means for OTHER of its group, which has a driver of the host."""
    kind = ", ".join(filter(None, (other["class_name"], other["driver"])))
    text = f"{other['address']} ({kind}) is in the same IOMMU group, "
    if not is_pci(other):
        return text + "but not PCI's: it has to lose its driver, after each start of the host"
    if other["bridge"]:
        return text + ("and Linux 5.19 and newer let bridges keep no other driver than pcieport: "
                       "pci-stub takes the place of it, and the host loses what it does, such as "
                       "hot-plug")
    if is_host_bridge(other):
        lost = ("error counts of memory" if other["class"] == "0600" else
                "a watchdog or GPIO lines")
        return text + ("and must lose its driver, but is not for guests: pci-stub takes the place "
                       "of its driver; the bridge goes on working, and the host loses only what "
                       f"the driver does, such as {lost}")
    return text + "and the host loses it as well"


def _unknown(found, group, mine):
    """What the verdict depends on, but is not known: (text or None, items of found["unseen"])."""
    def because(what, names):
        causes = [item for item in found["unseen"] if item["what"] in names]
        why = "; ".join(f"{item['what']}: {item['why']}" for item in causes)
        return f"{what} is not known" + (f" ({why})" if why else ""), causes

    if group and group["used_by"] is None:
        yield because("whether a process has it"
                      + (", or another device of its group," if len(mine) > 1 else ""), PROCESSES)
    for other in mine:
        if None in [_users(found, vf["address"]) for vf in _functions(found, other)]:
            yield because(f"whether a process has a virtual function of {other['address']}",
                          PROCESSES)
    if found["iommu"]["msi_isolated"] is None and not found["vfio"]["allow_unsafe_interrupts"]:
        yield because("whether the interrupts (MSI) of devices are isolated, without which VFIO "
                      "refuses them,", ("isolation of interrupts", "/proc/interrupts"))
    folder = f"{GROUPS}/{group['group']}/" if group else f"{PCI}/"
    regions = folder + "reserved_regions"
    if any(item["what"] == regions for item in found["unseen"]):
        yield because("whether the firmware wants memory to stay mapped for a device of its IOMMU "
                      "group", (regions,))
    yield None, [item for item in found["unseen"] if item["what"].startswith(folder)]
    uses = ("/proc/self/mountinfo", "/proc/swaps", "/sys/block")
    if any(item["what"] in uses for item in found["unseen"]):
        for other in mine:
            for disk in other["disks"]:
                yield because(f"whether the host uses the disk {disk['name']} of "
                              f"{other['address']}", uses)


def _qemu(address, groups):
    # Behind a port it can be unplugged as well, and plugged into one.
    arguments = ["-device", "pcie-root-port,id=port1,chassis=1"]
    if not groups:
        arguments += ["-object", "iommufd,id=iommufd0"]
    return arguments + ["-device", f"vfio-pci,host={address},bus=port1"
                        + ("" if groups else ",iommufd=iommufd0")]


def _libvirt(address):
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return "\n".join((
        "<hostdev mode='subsystem' type='pci' managed='yes'>", "  <source>",
        f"    <address domain='0x{domain}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>",
        "  </source>", "</hostdev>"))


def _bind(found, group, wanted):
    """Commands for devices to lose their drivers; WANTED is [(device, driver instead)]."""
    used = [driver for device, driver in wanted if is_pci(device)]
    for driver in (VFIO, STUB):
        if driver in used:
            yield f"modprobe {driver}"
    for device, _ in wanted:
        if _functions(found, device):
            yield f"echo 0 > {PCI}/{device['address']}/sriov_numvfs"
    for device, driver in wanted:
        if is_pci(device):
            yield from _rebind(device["address"], driver, device["driver"])
        else:
            yield _unbind(group, device)


def _rebind(address, driver, old):
    yield f"echo {driver} > {PCI}/{address}/driver_override"
    if old:
        yield f"echo {address} > {PCI}/{address}/driver/unbind"
    yield f"echo {address} > /sys/bus/pci/drivers_probe"


def _unbind(group, device):
    """The same for a device of any bus."""
    address = device["address"]
    return f"echo {address} > {GROUPS}/{group['group']}/devices/{address}/driver/unbind"


def _give_back(found, devices):
    devices = [device for device in devices if is_pci(device)]
    cards = (_physical(found, device["address"]) for device in devices)
    # With a 0 there, as the commands of _boot() leave it, functions get no driver.
    for card in dict.fromkeys(card["device"]["address"] for card in cards if card):
        yield f"echo 1 > {PCI}/{card}/sriov_drivers_autoprobe"
    for device in devices:
        folder = f"{PCI}/{device['address']}"
        if device["host_driver"]:
            yield f"modprobe {device['host_driver']}"
        yield f"echo > {folder}/driver_override"
        yield f"echo {device['address']} > {folder}/driver/unbind"
        yield f"echo {device['address']} > /sys/bus/pci/drivers_probe"


def _boot(found, group, wanted, function):
    """Commands for each start of the host; WANTED is [(device, driver instead)]."""
    functions = [vf["address"] for vf in function["functions"]] if function else []
    if function:
        # There is nothing to be bound before they are made.
        card = f"{PCI}/{function['device']['address']}"
        yield f"echo 0 > {card}/sriov_drivers_autoprobe"
        yield f"echo {function['vfs']} > {card}/sriov_numvfs"
        yield f"modprobe {VFIO}"
    for device, driver in wanted:
        if device["address"] in functions:
            yield from _rebind(device["address"], driver, None)
    others = [(device, driver) for device, driver in wanted
              if is_pci(device) and device["address"] not in functions]
    if others:
        yield from _override(found, others)
    for device, _ in wanted:
        if not is_pci(device) and device["blocks"]:
            yield _unbind(group, device)


def _override(found, wanted):
    for device, driver in wanted:
        yield f"driverctl set-override {device['address']} {driver}"
    ids = {driver: list(dict.fromkeys(f"{device['vendor']}:{device['device']}"
                                      for device, other in wanted if other == driver))
           for driver in (VFIO, STUB)}
    yield (f"# or, without driverctl, for all of that kind ({_count(found, ids[VFIO] + ids[STUB])})"
           ", and then make the initial RAM disk anew:")
    for driver in (VFIO, STUB):
        if ids[driver] and driver == STUB:
            yield (f"# (where {STUB} is no module, instead: {STUB}.ids={','.join(ids[STUB])} on "
                   "the kernel's command line)")
        if ids[driver]:
            yield f"echo options {driver} ids={','.join(ids[driver])} >> /etc/modprobe.d/vfio.conf"
        for host_driver in dict.fromkeys(device["host_driver"] for device, other in wanted
                                         if other == driver and device["host_driver"]):
            yield f"echo softdep {host_driver} pre: {driver} >> /etc/modprobe.d/vfio.conf"


def _count(found, ids):
    """How many devices have one of the identifiers IDS, as text."""
    everything = found["iommu"]["ungrouped"] + [
        device for group in found["iommu"]["groups"] for device in group["devices"]]
    count = sum(f"{device['vendor']}:{device['device']}" in ids for device in everything)
    return f"{count} device" + ("" if count == 1 else "s")
