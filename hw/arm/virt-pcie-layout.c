/*
 * PCIe of the Arm virt machine: how many root ports its memory map and its
 * interrupts suffice for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"
#include "hw/pci/pcie_host.h"
#include "system/kvm.h"
#include "virt-pcie.h"

/*
 * Memory space that guest and firmware reserve for a port that a device may be
 * plugged into, and the size of the BAR of the port itself
 */
#define PORT_WINDOW_SIZE (2 * MiB)
#define PORT_BAR_SIZE (4 * KiB)

/*
 * A port takes one message signalled interrupt, and the device in it at least
 * one. Without them, both share an interrupt line: hotplug works, but Linux
 * deadlocks when it removes a device that shares the line of its port.
 */
#define MAX_GICV2M_PORTS (NUM_GICV2M_SPIS / 2)

unsigned virt_pcie_num_buses(const VirtMachineState *vms)
{
    return vms->memmap[VIRT_ECAM_ID(vms->highmem_ecam)].size /
           PCIE_MMCFG_SIZE_MIN;
}

hwaddr virt_pcie_mmio_size(const VirtMachineState *vms, unsigned ports)
{
    const MemMapEntry *ecam = &vms->memmap[VIRT_PCIE_ECAM];
    const MemMapEntry *mmio = &vms->memmap[VIRT_PCIE_MMIO];

    if (ports < virt_pcie_num_buses(vms)) {
        return mmio->size;
    }
    /* ECAM, the size of which is a power of two, grows downwards. */
    return ecam->base + ecam->size - pow2ceil(ports + 1) * PCIE_MMCFG_SIZE_MIN -
           vms->memmap[VIRT_PCIE_PIO].size - mmio->base;
}

/* Returns: whether there is 32-bit memory space for the windows of @ports */
static bool virt_pcie_mmio_suffices(const VirtMachineState *vms, unsigned ports)
{
    unsigned windows = vms->highmem_mmio ? 1 : 2; /* prefetchable ones, too */

    return ports * (windows * PORT_WINDOW_SIZE + PORT_BAR_SIZE) <=
           virt_pcie_mmio_size(vms, ports);
}

static unsigned virt_pcie_its_ports(const VirtMachineState *vms)
{
    /* Old machine versions have a GICv3 without ITS with TCG. */
    return kvm_irqchip_in_kernel() || vms->tcg_its ? VIRT_PCIE_MAX_PORTS : 0;
}

static unsigned virt_pcie_msi_ports(const VirtMachineState *vms)
{
    switch (vms->msi_controller) {
    case VIRT_MSI_CTRL_ITS:
        return virt_pcie_its_ports(vms);
    case VIRT_MSI_CTRL_GICV2M:
        return MAX_GICV2M_PORTS;
    default:
        return 0;
    }
}

/*
 * Returns: the greatest limit up to @ports, which is that of bus numbers, and
 * @msi_ports, which is that of interrupts
 */
static VirtPCIeLimit virt_pcie_limit_up_to(const VirtMachineState *vms,
                                           unsigned ports, unsigned msi_ports)
{
    VirtPCIeLimit limit = { ports, VIRT_PCIE_BOUND_BUSES };

    if (msi_ports < limit.ports) {
        limit = (VirtPCIeLimit) { msi_ports, VIRT_PCIE_BOUND_MSI };
    }
    while (!virt_pcie_mmio_suffices(vms, limit.ports)) {
        limit = (VirtPCIeLimit) { limit.ports - 1, VIRT_PCIE_BOUND_MMIO };
    }
    return limit;
}

VirtPCIeLimit virt_pcie_greatest_limit(const VirtMachineState *vms)
{
    unsigned msi_ports = virt_pcie_msi_ports(vms);

    if (vms->gicv3_if_preferred) {
        msi_ports = MAX(msi_ports, virt_pcie_its_ports(vms));
    }
    return virt_pcie_limit_up_to(vms, VIRT_PCIE_MAX_PORTS, msi_ports);
}

VirtPCIeLimit virt_pcie_limit(const VirtMachineState *vms)
{
    if (vms->max_pcie_root_ports) {
        return (VirtPCIeLimit) { vms->max_pcie_root_ports,
                                 VIRT_PCIE_BOUND_USER };
    }
    return virt_pcie_limit_up_to(vms, virt_pcie_num_buses(vms) - 1,
                                 virt_pcie_msi_ports(vms));
}

bool virt_pcie_prefers_gicv3(const VirtMachineState *vms)
{
    return vms->max_pcie_root_ports > MAX_GICV2M_PORTS;
}

void virt_pcie_fit_ecam(VirtMachineState *vms, unsigned ports)
{
    MemMapEntry *ecam = &vms->memmap[VIRT_PCIE_ECAM];
    MemMapEntry *pio = &vms->memmap[VIRT_PCIE_PIO];
    MemMapEntry *mmio = &vms->memmap[VIRT_PCIE_MMIO];
    hwaddr end = ecam->base + ecam->size;

    if (ports < virt_pcie_num_buses(vms)) {
        return;
    }
    /* What follows the 32-bit memory space moves down; ECAM ends as before. */
    mmio->size = virt_pcie_mmio_size(vms, ports);
    pio->base = mmio->base + mmio->size;
    ecam->base = pio->base + pio->size;
    ecam->size = end - ecam->base;
}
