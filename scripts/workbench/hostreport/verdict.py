# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/host-report --device: whether a PCI device can be given to a guest, and how.

judge() returns what --json prints:

verdict     "ready", "bind" (once the commands were run that are in "bind"), or "no"
reasons     why not, or what is to be known first
device      as described in collect.py
group       number of the IOMMU group, or null; addresses: of those to be given away with it
qemu        arguments of QEMU for it; empty if it cannot be given away
libvirt     the same for a domain
bind, boot  shell commands, for root: to take the devices from the host, and to have that done at
            each start of it
give_back   to return them
"""

from .cpus import ARM64
from .devices import PCI, is_bridge

READY, BIND, NO = "ready", "bind", "no"
STATUS = {READY: 0, BIND: 1, NO: 3}         # 2 is a wrong option, or no such device


def judge(found, address):
    """The verdict on the PCI device ADDRESS by what collect.py has FOUND; None: no such device."""
    group, device = _find(found, address)
    if device is None:
        return None
    mine = [other for other in (group["devices"] if group else [device]) if not is_bridge(other)]
    against = list(_against(found, group, device, mine))
    function = _physical(found, address)
    notes = [] if group is None and against else list(_notes(found, group, mine, function))
    # Those that the host uses must go, the others of the group may be without driver.
    wanted = [other for other in mine if other is device or other["blocks"]]
    unbound = [other for other in wanted if not other["vfio"]]
    with_functions = [other["address"] for other in unbound if _functions(found, other)]
    verdict = NO if against else BIND if unbound else READY
    groups = found["vfio"]["groups"] is not False
    return {
        "verdict": verdict, "reasons": against + notes, "device": device,
        "group": group and group["group"], "addresses": [other["address"] for other in mine],
        "qemu": [] if against else _qemu(address, groups),
        "libvirt": None if against else _libvirt(address),
        "bind": [] if against else list(_bind(unbound, with_functions)),
        "boot": [] if against else list(_boot(found, wanted, function)),
        "give_back": [line for other in wanted if other["vfio"] or not against
                      for line in _give_back(other)],
    }


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


def _against(found, group, device, mine):
    """Why the device cannot be given away whatever is done with its driver."""
    if is_bridge(device):
        yield "it is a bridge, which no guest can have"
    if group is None and (device["driver"] or not found["iommu"]["units"]):
        yield ("no IOMMU serves it: there is none" + (
            " (no SMMU)" if found["host"]["arch"] == ARM64 else "")
            + ", or it is off in firmware or kernel")
    if group is None:
        return
    if group["noiommu"]:
        yield ("no IOMMU serves it, and that VFIO hands it out all the same "
               "(enable_unsafe_noiommu_mode) is not for guests")
    if group["direct"]:
        yield ("the firmware wants memory to stay mapped for a device of its IOMMU group ('direct' "
               "in reserved_regions), which VFIO does not allow: look for a setting of the "
               "firmware")
    if found["iommu"]["msi_isolated"] is False and not found["vfio"]["allow_unsafe_interrupts"]:
        yield ("the interrupts (MSI) of devices are not isolated: turn on interrupt remapping (on "
               "Arm, that takes a GIC with ITS), or set allow_unsafe_interrupts of "
               "vfio_iommu_type1 if you trust the guest")
    for user in group["used_by"]:
        yield f"process {user['pid']} ({user['name']}) has it, or another device of its IOMMU group"
    for other in mine:
        for function in _functions(found, other):
            for user in (_find(found, function["address"])[0] or {"used_by": []})["used_by"]:
                yield (f"process {user['pid']} ({user['name']}) has its virtual function "
                       f"{function['address']}")
        for disk in other["disks"]:
            if disk["used"]:
                yield (f"the host uses {disk['name']} of {other['address']}: "
                       + ", ".join(disk["used"]))


def _notes(found, group, mine, function):
    if group is None:
        yield "it has no IOMMU group yet; if it gets none when it is bound, no IOMMU serves it"
    for node in found["vfio"]["nodes"]:
        if group and node["path"] == f"/dev/vfio/{group['group']}" and not node["usable"]:
            yield f"this user may not open {node['path']}; libvirt and root can"
    for other in mine:
        for interface in other["interfaces"]:
            if interface["used"]:
                yield (f"the host uses the interface {interface['name']} of {other['address']}, "
                       "and loses it")
        vfs = len(_functions(found, other))
        if vfs and not other["vfio"]:
            yield (f"{other['address']} has {vfs} virtual functions, which end before it can be "
                   "bound; they can be given away instead")
    if function and function["device"]["vfio"]:
        yield (f"its physical function {function['device']['address']} is on VFIO, so QEMU needs "
               "the vf-token that whoever has that one has given it")


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


def _bind(unbound, with_functions):
    if unbound:
        yield "modprobe vfio-pci"
    for address in with_functions:
        yield f"echo 0 > {PCI}/{address}/sriov_numvfs"
    for device in unbound:
        folder = f"{PCI}/{device['address']}"
        yield f"echo vfio-pci > {folder}/driver_override"
        if device["driver"]:
            yield f"echo {device['address']} > {folder}/driver/unbind"
        yield f"echo {device['address']} > /sys/bus/pci/drivers_probe"


def _give_back(device):
    folder = f"{PCI}/{device['address']}"
    if device["host_driver"]:
        yield f"modprobe {device['host_driver']}"
    yield f"echo > {folder}/driver_override"
    yield f"echo {device['address']} > {folder}/driver/unbind"
    yield f"echo {device['address']} > /sys/bus/pci/drivers_probe"


def _boot(found, wanted, function):
    if function:
        # There is nothing to be bound before they are made.
        yield f"echo 0 > {PCI}/{function['device']['address']}/sriov_drivers_autoprobe"
        yield (f"echo {function['vfs']} > {PCI}/{function['device']['address']}/sriov_numvfs")
        for device in wanted:
            yield from _bind([{**device, "driver": None}], [])
        return
    for device in wanted:
        yield f"driverctl set-override {device['address']} vfio-pci"
    kinds = dict.fromkeys((f"{device['vendor']}:{device['device']}", device["host_driver"])
                          for device in wanted)
    yield (f"# or, without driverctl, for all of that kind ({_count(found, kinds)}), and then make "
           "the initial RAM disk anew:")
    yield ("echo options vfio-pci ids=" + ",".join(ids for ids, _ in kinds)
           + " >> /etc/modprobe.d/vfio.conf")
    for driver in filter(None, dict.fromkeys(driver for _, driver in kinds)):
        yield f"echo softdep {driver} pre: vfio-pci >> /etc/modprobe.d/vfio.conf"


def _count(found, kinds):
    """How many devices have the identifiers of KINDS, as text."""
    ids = {kind for kind, _ in kinds}
    everything = found["iommu"]["ungrouped"] + [
        device for group in found["iommu"]["groups"] for device in group["devices"]]
    count = sum(f"{device['vendor']}:{device['device']}" in ids for device in everything)
    return f"{count} device" + ("" if count == 1 else "s")
