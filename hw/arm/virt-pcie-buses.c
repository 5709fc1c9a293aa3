/*
 * PCI bus numbers of the Arm virt machine: whether there is one for each bridge
 *
 * A bridge needs a number for the bus behind it, and those of all bridges
 * further down. What has got none is not seen by the guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "virt-pcie.h"

/* Bus numbers to be kept free behind a bridge, for what may be plugged there */
static unsigned virt_pcie_reserved_buses(PCIDevice *bridge)
{
    const char *prop = "bus-reserve";
    uint64_t reserved;

    if (!object_property_find(OBJECT(bridge), prop)) {
        return 0;
    }
    reserved = object_property_get_uint(OBJECT(bridge), prop, &error_abort);
    return reserved == UINT32_MAX ? 0 : reserved; /* which is: not set */
}

/* Returns: how many numbers the bridges on @bus, and behind these, need */
static unsigned virt_pcie_buses_behind(PCIBus *bus)
{
    unsigned count = 0;

    for (int devfn = 0; devfn < ARRAY_SIZE(bus->devices); devfn++) {
        PCIDevice *d = bus->devices[devfn];

        if (d && IS_PCI_BRIDGE(d)) {
            PCIBus *secondary = pci_bridge_get_sec_bus(PCI_BRIDGE(d));

            count += 1 + MAX(virt_pcie_buses_behind(secondary),
                             virt_pcie_reserved_buses(d));
        }
    }
    return count;
}

/* Returns: the root bus (of a pxb) that follows number @nr; NULL if none */
static PCIBus *virt_pcie_next_root_bus(VirtMachineState *vms, int nr)
{
    PCIBus *found = NULL, *child;

    QLIST_FOREACH(child, &vms->bus->child, sibling) {
        if (pci_bus_is_root(child) && pci_bus_num(child) > nr &&
            (!found || pci_bus_num(child) < pci_bus_num(found))) {
            found = child;
        }
    }
    return found;
}

static void virt_pcie_buses_error(VirtMachineState *vms, PCIBus *bus,
                                  PCIBus *next, unsigned behind, unsigned has,
                                  Error **errp)
{
    unsigned total = virt_pcie_num_buses(vms);
    unsigned last = pci_bus_num(bus) + behind;
    const char *cause = virt_pcie_num_buses_cause(vms);
    g_autofree char *bridges = NULL;
    g_autofree char *why = NULL;
    g_autofree char *remedy = NULL;

    if (behind) {
        bridges = g_strdup_printf(" and %u for the bridges behind it", behind);
    }
    if (next && pci_bus_num(next) < total) {
        why = g_strdup_printf("root bus '%s' begins at %d", BUS(next)->name,
                              pci_bus_num(next));
        remedy = g_strdup_printf("a greater 'bus_nr' for '%s', or ",
                                 BUS(next)->name);
    } else if (cause) {
        why = g_strdup_printf("the machine has %u in all, with %s", total,
                              cause);
    } else {
        why = g_strdup_printf("a PCIe hierarchy has %u in all", total);
    }
    if (!remedy && last >= total && last <= virt_pcie_possible_ports(vms)) {
        remedy = g_strdup_printf("'max-pcie-root-ports=%u' or more, or ", last);
    }

    error_setg(errp, "PCIe root bus '%s' needs 1 bus number for itself%s, and "
               "has %u: %s. The guest would miss what is behind the last "
               "bridges. Use %s%s", BUS(bus)->name, bridges ?: "", has, why,
               remedy ?: "",
               behind ? "fewer bridges or a smaller 'bus-reserve'"
                      : "a smaller 'bus_nr'");
}

bool virt_pcie_buses_check(VirtMachineState *vms, PCIDevice *coming,
                           Error **errp)
{
    unsigned total = virt_pcie_num_buses(vms);
    PCIBus *bus, *next;

    for (bus = vms->bus; bus; bus = next) {
        unsigned nr = pci_bus_num(bus);
        unsigned behind = virt_pcie_buses_behind(bus);
        unsigned end, has;

        if (coming && pci_get_bus(coming) == bus) {
            behind += 1 + virt_pcie_reserved_buses(coming);
        }
        next = virt_pcie_next_root_bus(vms, nr);
        end = next ? MIN(pci_bus_num(next), total) : total;
        has = end > nr ? end - nr : 0;
        if (behind + 1 > has) {
            virt_pcie_buses_error(vms, bus, next, behind, has, errp);
            return false;
        }
    }
    return true;
}
