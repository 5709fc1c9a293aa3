/*
 * PCIe root ports and bus numbers of the Arm virt machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_ARM_VIRT_PCIE_H
#define HW_ARM_VIRT_PCIE_H

#include "hw/arm/virt.h"

/*
 * virt-pcie-layout.c: numbers
 */

/* Of 256 bus numbers, the root bus has one. */
#define VIRT_PCIE_MAX_PORTS 255

/* What does not allow more root ports */
typedef enum VirtPCIeBound {
    VIRT_PCIE_BOUND_USER,       /* max-pcie-root-ports */
    VIRT_PCIE_BOUND_BUSES,      /* bus numbers */
    VIRT_PCIE_BOUND_MMIO,       /* 32-bit memory space */
    VIRT_PCIE_BOUND_MSI,        /* message signalled interrupts */
} VirtPCIeBound;

typedef struct VirtPCIeLimit {
    unsigned ports;
    VirtPCIeBound bound;
} VirtPCIeLimit;

/**
 * virt_pcie_prefers_gicv3: Returns: whether more ports are asked for than the
 * message signalled interrupts of a GICv2 suffice for
 * @vms: the machine, with its properties
 */
bool virt_pcie_prefers_gicv3(const VirtMachineState *vms);

/**
 * virt_pcie_num_buses: Returns: how many bus numbers the guest can use
 * @vms: the machine, with its memory map
 */
unsigned virt_pcie_num_buses(const VirtMachineState *vms);

/**
 * virt_pcie_mmio_size: Returns: the size of the 32-bit memory space if there
 * are bus numbers for that many ports
 * @vms: the machine, with its memory map
 * @ports: how many root ports
 */
hwaddr virt_pcie_mmio_size(const VirtMachineState *vms, unsigned ports);

/**
 * virt_pcie_greatest_limit: Returns: the greatest 'max-pcie-root-ports' that a
 * machine with these properties can have
 * @vms: the machine, with its memory map and its MSI controller
 */
VirtPCIeLimit virt_pcie_greatest_limit(const VirtMachineState *vms);

/**
 * virt_pcie_limit: Returns: how many root ports the machine can serve
 * @vms: the machine, after virt_pcie_fit_ecam()
 */
VirtPCIeLimit virt_pcie_limit(const VirtMachineState *vms);

/**
 * virt_pcie_fit_ecam: make room for the bus numbers of that many ports
 * @vms: the machine, before it has a PCIe host bridge
 * @ports: how many root ports, not more than virt_pcie_greatest_limit()
 */
void virt_pcie_fit_ecam(VirtMachineState *vms, unsigned ports);

/*
 * virt-pcie-buses.c: what is there
 */

/**
 * virt_pcie_count_ports: Returns: how many root ports there are on a root bus
 * and those of its pxb. Counted on each call, so that no counter can become
 * stale.
 * @root: root bus of the machine
 */
unsigned virt_pcie_count_ports(PCIBus *root);

/* A root bus that has fewer numbers than it needs for itself and its bridges */
typedef struct VirtPCIeShortage {
    PCIBus *bus;
    PCIBus *next;       /* root bus that has the numbers that follow, or NULL */
    uint64_t behind;    /* how many numbers the bridges need */
    unsigned has;       /* how many there are, for the root bus as well */
} VirtPCIeShortage;

/**
 * virt_pcie_find_shortage: check that there are bus numbers for all bridges
 * @root: root bus of the machine
 * @total: how many bus numbers there are
 * @new_bridge: a bridge that is about to be plugged, or NULL
 * @shortage: the first root bus that has too few, if that is returned
 *
 * Returns: whether a root bus has too few
 */
bool virt_pcie_find_shortage(PCIBus *root, unsigned total,
                             PCIDevice *new_bridge, VirtPCIeShortage *shortage);

/*
 * virt-pcie-ports.c: what the machine does, and its messages
 */

/**
 * virt_pcie_init: lay out the machine for the ports that are asked for
 * @vms: the machine, before it has a PCIe host bridge and after it is known
 *       whether there is a high ECAM, and what takes its MSIs
 *
 * Exits with a message if the machine cannot have that many.
 */
void virt_pcie_init(VirtMachineState *vms);

/**
 * virt_pcie_create_hotplug_ports: make the ports of 'pcie-hotplug-ports'
 * @vms: the machine, with its PCIe host bridge and its hotplug handler
 */
void virt_pcie_create_hotplug_ports(VirtMachineState *vms);

/**
 * virt_pcie_check: once all devices exist, check that there is room for them
 * @vms: the machine, before its tables are built
 *
 * Names in one message what does not fit. Exits if a limit was asked for with
 * 'max-pcie-root-ports'; otherwise the guest runs without what does not fit,
 * as it always did.
 */
void virt_pcie_check(VirtMachineState *vms);

/*
 * Plug and unplug of PCI bridges. Each does its part and then calls the
 * hotplug handler of the bus, if there is one.
 *
 * Pre-plug sets an error if 'max-pcie-root-ports' is set and the bridge is a
 * root port more than that, or is hotplugged and would get no bus number.
 */
void virt_pcie_bridge_pre_plug(VirtMachineState *vms, DeviceState *dev,
                               Error **errp);
void virt_pcie_bridge_plug(DeviceState *dev, Error **errp);
void virt_pcie_bridge_unplug_request(DeviceState *dev, Error **errp);
void virt_pcie_bridge_unplug(DeviceState *dev, Error **errp);

/*
 * virt-pcie-properties.c: what users set and read
 */

/**
 * virt_pcie_add_properties: what a user sets and reads
 * @oc: class of the machine
 */
void virt_pcie_add_properties(ObjectClass *oc);

#endif
