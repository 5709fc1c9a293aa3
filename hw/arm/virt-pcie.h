/*
 * PCIe root ports and bus numbers of the Arm virt machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_ARM_VIRT_PCIE_H
#define HW_ARM_VIRT_PCIE_H

#include "hw/arm/virt.h"

/**
 * virt_pcie_ports_add_properties: what a user sets and reads
 * @oc: class of the machine
 */
void virt_pcie_ports_add_properties(ObjectClass *oc);

/**
 * virt_pcie_ports_choose_gic: leave the choice of a GIC open to better ones if
 * there are to be more ports than the default one can serve
 * @vms: the machine, before its GIC is chosen
 */
void virt_pcie_ports_choose_gic(VirtMachineState *vms);

/**
 * virt_pcie_ports_init: have the memory map serve the ports that are asked for
 * @vms: the machine, before it has a PCIe host bridge and after it is known
 *       whether there is a high ECAM, and what takes its MSIs
 *
 * Exits with a message if the machine cannot have that many.
 */
void virt_pcie_ports_init(VirtMachineState *vms);

/**
 * virt_pcie_hotplug_ports_create: make the ports of 'pcie-hotplug-ports'
 * @vms: the machine, with its PCIe host bridge and its hotplug handler
 */
void virt_pcie_hotplug_ports_create(VirtMachineState *vms);

/**
 * virt_pcie_num_buses: Returns: how many bus numbers the guest can use
 * @vms: the machine, after virt_pcie_ports_init()
 */
unsigned virt_pcie_num_buses(const VirtMachineState *vms);

/**
 * virt_pcie_possible_ports: Returns: the greatest 'max-pcie-root-ports' that
 * the machine could have
 * @vms: the machine, with its memory map
 */
unsigned virt_pcie_possible_ports(const VirtMachineState *vms);

/**
 * virt_pcie_num_buses_cause: Returns: why there are not 256 bus numbers, in
 * words that can stand after "because of"; NULL if there are
 * @vms: the machine, after virt_pcie_ports_init()
 */
const char *virt_pcie_num_buses_cause(const VirtMachineState *vms);

/**
 * virt_pcie_check: once all devices are there, see whether they fit
 * @vms: the machine, before its tables are built
 *
 * Names in one message what does not fit. Exits if a limit was asked for with
 * 'max-pcie-root-ports'; otherwise the guest runs without what does not fit,
 * as it always did.
 */
void virt_pcie_check(VirtMachineState *vms);

/**
 * virt_pcie_buses_check: whether there are bus numbers for all bridges
 * @vms: the machine, with all its devices
 * @coming: a bridge that is about to join them, or NULL
 * @errp: set if not, with the name of the first root bus that does not fit
 */
bool virt_pcie_buses_check(VirtMachineState *vms, PCIDevice *coming,
                           Error **errp);

/*
 * Hotplug of PCIe root ports. Each does its part and hands on to the hotplug
 * handler of the bus, if there is one.
 *
 * Pre-plug sets an error if the port is more than 'max-pcie-root-ports' allows.
 */
void virt_pcie_port_pre_plug(VirtMachineState *vms, DeviceState *dev,
                             Error **errp);
void virt_pcie_port_plug(DeviceState *dev, Error **errp);
void virt_pcie_port_unplug_request(DeviceState *dev, Error **errp);
void virt_pcie_port_unplug(DeviceState *dev, Error **errp);

#endif
