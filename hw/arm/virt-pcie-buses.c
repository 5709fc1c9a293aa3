/*
 * PCI bus numbers and root ports of a machine: how many root ports there are,
 * and how many bus numbers the bridges need
 *
 * A bridge needs a number for the bus behind it, and those of all bridges
 * further down. The guest does not see devices on a bus without a number.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie_port.h"
#include "virt-pcie.h"

static unsigned virt_pcie_ports_of_bus(PCIBus *bus)
{
    unsigned count = 0;

    for (int devfn = 0; devfn < ARRAY_SIZE(bus->devices); devfn++) {
        PCIDevice *d = bus->devices[devfn];

        count += d && object_dynamic_cast(OBJECT(d), TYPE_PCIE_ROOT_PORT);
    }
    return count;
}

unsigned virt_pcie_count_ports(PCIBus *root)
{
    unsigned count = virt_pcie_ports_of_bus(root);
    PCIBus *child;

    QLIST_FOREACH(child, &root->child, sibling) {
        if (pci_bus_is_root(child)) {
            count += virt_pcie_ports_of_bus(child);
        }
    }
    return count;
}

/* Bus numbers to be kept free behind a bridge, for bridges plugged later */
static uint32_t virt_pcie_reserved_buses(PCIDevice *bridge)
{
    const char *prop = "bus-reserve";
    uint32_t reserved;

    if (!object_property_find(OBJECT(bridge), prop)) {
        return 0;
    }
    reserved = object_property_get_uint(OBJECT(bridge), prop, &error_abort);
    return reserved == UINT32_MAX ? 0 : reserved; /* not set */
}

/*
 * Returns: how many numbers the bridges on @bus, and behind these, need;
 * @new_bridge is one that is about to be plugged, or NULL
 */
static uint64_t virt_pcie_buses_behind(PCIBus *bus, PCIDevice *new_bridge)
{
    uint64_t count = 0;

    for (int devfn = 0; devfn < ARRAY_SIZE(bus->devices); devfn++) {
        PCIDevice *d = bus->devices[devfn];

        if (d && IS_PCI_BRIDGE(d)) {
            PCIBus *secondary = pci_bridge_get_sec_bus(PCI_BRIDGE(d));

            count += 1 + MAX(virt_pcie_buses_behind(secondary, new_bridge),
                             virt_pcie_reserved_buses(d));
        }
    }
    if (new_bridge && pci_get_bus(new_bridge) == bus) {
        count += 1 + (uint64_t)virt_pcie_reserved_buses(new_bridge);
    }
    return count;
}

/* Returns: the root bus (of a pxb) that follows number @nr; NULL if none */
static PCIBus *virt_pcie_next_root_bus(PCIBus *root, int nr)
{
    PCIBus *found = NULL, *child;

    QLIST_FOREACH(child, &root->child, sibling) {
        if (pci_bus_is_root(child) && pci_bus_num(child) > nr &&
            (!found || pci_bus_num(child) < pci_bus_num(found))) {
            found = child;
        }
    }
    return found;
}

bool virt_pcie_find_shortage(PCIBus *root, unsigned total,
                             PCIDevice *new_bridge, VirtPCIeShortage *shortage)
{
    PCIBus *bus, *next;

    for (bus = root; bus; bus = next) {
        unsigned nr = pci_bus_num(bus);
        uint64_t behind = virt_pcie_buses_behind(bus, new_bridge);
        unsigned end, has;

        next = virt_pcie_next_root_bus(root, nr);
        end = next ? MIN(pci_bus_num(next), total) : total;
        has = end > nr ? end - nr : 0;
        if (behind + 1 > has) {
            *shortage = (VirtPCIeShortage) {
                .bus = bus,
                .next = end < total ? next : NULL,
                .behind = behind,
                .has = has,
            };
            return true;
        }
    }
    return false;
}
