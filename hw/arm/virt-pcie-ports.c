/*
 * PCIe root ports of the Arm virt machine: how many there can be, and ports
 * that the machine makes itself
 *
 * See docs/system/arm/virt.rst for what a user sees.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/core/hotplug.h"
#include "hw/core/qdev-properties.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie_host.h"
#include "hw/pci/pcie_port.h"
#include "monitor/qdev.h"
#include "virt-pcie.h"
#include "trace.h"

/* Of 256 bus numbers, the root bus has one. */
#define MAX_ROOT_PORTS 255

/* The host bridge has slot 0 of the root bus. */
#define MAX_HOTPLUG_PORTS ((PCI_SLOT_MAX - 1) * PCI_FUNC_MAX)

/* With a number of its own, none of these collides with a port of the user. */
#define HOTPLUG_PORT_CHASSIS 255

/*
 * What guest and firmware set aside of a memory space for a port that a device
 * may be plugged into, and the BAR of the port itself
 */
#define PORT_WINDOW_SIZE (2 * MiB)
#define PORT_BAR_SIZE (4 * KiB)

/*
 * A port takes 4 KiB of the 64 KiB of I/O space (PCI-to-PCI Bridge Architecture
 * Specification 1.2, 3.2.5.6), and Linux leaves the first 4 KiB alone.
 */
#define NUM_IO_WINDOWS 15

/*
 * With one message signalled interrupt for a port, and one for the device in it
 * at least. Without, hotplug has to share an interrupt line with the device,
 * and Linux waits for itself when that is unplugged.
 */
#define MAX_GICV2M_PORTS (NUM_GICV2M_SPIS / 2)

unsigned virt_pcie_num_buses(const VirtMachineState *vms)
{
    return vms->memmap[VIRT_ECAM_ID(vms->highmem_ecam)].size /
           PCIE_MMCFG_SIZE_MIN;
}

const char *virt_pcie_num_buses_cause(const VirtMachineState *vms)
{
    if (vms->highmem_ecam) {
        return NULL;
    }
    if (vms->low_ecam_cause) {
        return vms->low_ecam_cause;
    }
    return vms->highmem ? "too few bits of physical address" : "'highmem=off'";
}

/* Returns: for how many ports a 32-bit memory space of @size bytes has room */
static unsigned virt_pcie_mmio_room(const VirtMachineState *vms, hwaddr size)
{
    unsigned windows = vms->highmem_mmio ? 1 : 2; /* prefetchable ones, too */

    return MIN(size / (windows * PORT_WINDOW_SIZE + PORT_BAR_SIZE),
               MAX_ROOT_PORTS);
}

/*
 * Returns: the size of the 32-bit memory space with bus numbers for @ports.
 * The size of ECAM, which is above it, is a power of two.
 */
static hwaddr virt_pcie_mmio_size(const VirtMachineState *vms, unsigned ports)
{
    const MemMapEntry *ecam = &vms->memmap[VIRT_PCIE_ECAM];
    const MemMapEntry *mmio = &vms->memmap[VIRT_PCIE_MMIO];

    if (ports < virt_pcie_num_buses(vms)) {
        return mmio->size;
    }
    return ecam->base + ecam->size - pow2ceil(ports + 1) * PCIE_MMCFG_SIZE_MIN -
           vms->memmap[VIRT_PCIE_PIO].size - mmio->base;
}

/* Whether more ports are asked for than a GICv2m can serve */
static bool virt_pcie_ports_exceed_gicv2m(const VirtMachineState *vms)
{
    return MAX(vms->max_pcie_root_ports, vms->pcie_hotplug_ports) >
           MAX_GICV2M_PORTS;
}

unsigned virt_pcie_possible_ports(const VirtMachineState *vms)
{
    unsigned ports = MAX_ROOT_PORTS;

    /* What virt_pcie_ports_choose_gic() would choose cannot be known. */
    if (vms->msi_controller == VIRT_MSI_CTRL_GICV2M &&
        (vms->msi_given || virt_pcie_ports_exceed_gicv2m(vms))) {
        ports = MAX_GICV2M_PORTS;
    }
    while (ports > virt_pcie_mmio_room(vms, virt_pcie_mmio_size(vms, ports))) {
        ports--;
    }
    return ports;
}

/* Returns: how many ports there can be. To be called when there is a memmap. */
static unsigned virt_pcie_max_ports(const VirtMachineState *vms)
{
    if (vms->max_pcie_root_ports) {
        return vms->max_pcie_root_ports;
    }
    return MIN(virt_pcie_num_buses(vms) - 1,
               virt_pcie_mmio_room(vms, vms->memmap[VIRT_PCIE_MMIO].size));
}

/* Returns: words that say where the limit comes from, to be freed */
static char *virt_pcie_max_ports_cause(const VirtMachineState *vms)
{
    unsigned buses = virt_pcie_num_buses(vms);

    if (vms->max_pcie_root_ports) {
        return g_strdup_printf("'max-pcie-root-ports=%u'",
                               vms->max_pcie_root_ports);
    }
    if (virt_pcie_max_ports(vms) < buses - 1) {
        return g_strdup_printf("the %" PRIu64 " MiB of 32-bit memory space "
                               "that they share with 'highmem-mmio=off'",
                               vms->memmap[VIRT_PCIE_MMIO].size / MiB);
    }
    if (virt_pcie_num_buses_cause(vms)) {
        return g_strdup_printf("the %u bus numbers of a machine with %s", buses,
                               virt_pcie_num_buses_cause(vms));
    }
    return g_strdup("the 256 bus numbers of a PCIe hierarchy");
}

static unsigned virt_pcie_count_ports_of_bus(PCIBus *bus)
{
    unsigned count = 0;

    for (int devfn = 0; devfn < ARRAY_SIZE(bus->devices); devfn++) {
        PCIDevice *d = bus->devices[devfn];

        count += d && object_dynamic_cast(OBJECT(d), TYPE_PCIE_ROOT_PORT);
    }
    return count;
}

/* Counted anew each time, so that nothing can get out of step. */
static unsigned virt_pcie_count_ports(const VirtMachineState *vms)
{
    unsigned count = virt_pcie_count_ports_of_bus(vms->bus);
    PCIBus *child;

    QLIST_FOREACH(child, &vms->bus->child, sibling) {
        if (pci_bus_is_root(child)) {
            count += virt_pcie_count_ports_of_bus(child);
        }
    }
    return count;
}

/* What follows the 32-bit memory space moves down; ECAM ends where it did. */
static void virt_pcie_grow_low_ecam(VirtMachineState *vms, unsigned ports)
{
    MemMapEntry *ecam = &vms->memmap[VIRT_PCIE_ECAM];
    MemMapEntry *pio = &vms->memmap[VIRT_PCIE_PIO];
    MemMapEntry *mmio = &vms->memmap[VIRT_PCIE_MMIO];
    hwaddr end = ecam->base + ecam->size;

    mmio->size = virt_pcie_mmio_size(vms, ports);
    pio->base = mmio->base + mmio->size;
    ecam->base = pio->base + pio->size;
    ecam->size = end - ecam->base;
}

void virt_pcie_ports_choose_gic(VirtMachineState *vms)
{
    vms->msi_given = vms->gic_version != VIRT_GIC_VERSION_NOSEL ||
                     vms->msi_controller != VIRT_MSI_CTRL_AUTO;
    if (!vms->msi_given && virt_pcie_ports_exceed_gicv2m(vms)) {
        vms->gic_version = VIRT_GIC_VERSION_MAX;
    }
}

/* Exits with a message that says why there cannot be so many. */
static G_NORETURN void virt_pcie_ports_refuse(const char *prop, unsigned wanted,
                                              unsigned limit, const char *cause,
                                              const char *remedy)
{
    error_report("This machine cannot have '%s=%u': the limit is %u PCIe root "
                 "ports, because of %s. Use %s, or a smaller number", prop,
                 wanted, limit, cause, remedy);
    exit(EXIT_FAILURE);
}

/* Refuses more than can be had with any value of 'max-pcie-root-ports'. */
static void virt_pcie_ports_check_possible(VirtMachineState *vms,
                                           const char *prop, unsigned wanted)
{
    unsigned limit = virt_pcie_possible_ports(vms);
    g_autofree char *cause = NULL;

    if (wanted <= limit) {
        return;
    }
    if (vms->msi_controller == VIRT_MSI_CTRL_GICV2M) {
        cause = g_strdup_printf("the %u message signalled interrupts of a "
                                "GICv2m", NUM_GICV2M_SPIS);
        virt_pcie_ports_refuse(prop, wanted, limit, cause,
                               "'gic-version=3' and 'msi=its'");
    }
    cause = g_strdup_printf("the %" PRIu64 " MiB of 32-bit memory space that "
                            "they share",
                            virt_pcie_mmio_size(vms, limit) / MiB);
    virt_pcie_ports_refuse(prop, wanted, limit, cause,
                           "'highmem=on' and 'highmem-mmio=on'");
}

void virt_pcie_ports_init(VirtMachineState *vms)
{
    unsigned wanted = vms->max_pcie_root_ports;
    unsigned limit;

    virt_pcie_ports_check_possible(vms, "max-pcie-root-ports", wanted);
    virt_pcie_ports_check_possible(vms, "pcie-hotplug-ports",
                                   vms->pcie_hotplug_ports);
    if (wanted && virt_pcie_num_buses(vms) < wanted + 1) {
        virt_pcie_grow_low_ecam(vms, wanted);
    }

    limit = virt_pcie_max_ports(vms);
    if (vms->pcie_hotplug_ports > limit) {
        g_autofree char *cause = virt_pcie_max_ports_cause(vms);
        g_autofree char *remedy =
            g_strdup_printf("'max-pcie-root-ports=%u' or more",
                            vms->pcie_hotplug_ports);

        virt_pcie_ports_refuse("pcie-hotplug-ports", vms->pcie_hotplug_ports,
                               limit, cause, remedy);
    }
    trace_virt_pcie_ports_init(limit, virt_pcie_num_buses(vms));
}

void virt_pcie_hotplug_ports_create(VirtMachineState *vms)
{
    for (unsigned i = 0; i < vms->pcie_hotplug_ports; i++) {
        int devfn = PCI_DEVFN(PCI_SLOT_MAX - 1 - i / PCI_FUNC_MAX,
                              i % PCI_FUNC_MAX);
        PCIDevice *port = pci_new_multifunction(devfn, "pcie-root-port");
        DeviceState *dev = DEVICE(port);
        Error *err = NULL;

        qdev_prop_set_uint8(dev, "chassis", HOTPLUG_PORT_CHASSIS);
        qdev_prop_set_uint16(dev, "slot", i);
        qdev_set_id(dev, g_strdup_printf("hotplug%u", i), &error_fatal);
        if (!pci_realize_and_unref(port, vms->bus, &err)) {
            error_reportf_err(err, "There is no room for 'pcie-hotplug-ports="
                              "%u' beside the default devices (which "
                              "'-nodefaults' leaves out): ",
                              vms->pcie_hotplug_ports);
            exit(EXIT_FAILURE);
        }
    }
}

void virt_pcie_check(VirtMachineState *vms)
{
    unsigned count = virt_pcie_count_ports(vms);
    unsigned limit = virt_pcie_max_ports(vms);
    Error *err = NULL;

    if (!virt_pcie_buses_check(vms, NULL, &err)) {
        if (vms->max_pcie_root_ports) {
            error_report_err(err);
            exit(EXIT_FAILURE);
        }
        warn_report_err(err);
    } else if (count > limit) {
        g_autofree char *cause = virt_pcie_max_ports_cause(vms);

        warn_report("There are %u PCIe root ports, and this machine can serve "
                    "%u of them because of %s; devices behind the others may "
                    "not work", count, limit, cause);
    }
}

/*
 * With more ports than I/O windows, which ports get one would be left to
 * chance, and old firmware gives up altogether. PCIe devices need no I/O space.
 */
static void virt_pcie_port_reserve_no_io(VirtMachineState *vms,
                                         DeviceState *dev)
{
    const char *prop = "io-reserve";

    if (MAX(vms->max_pcie_root_ports, vms->pcie_hotplug_ports) <=
        NUM_IO_WINDOWS) {
        return;
    }
    if (object_property_find(OBJECT(dev), prop) &&
        object_property_get_uint(OBJECT(dev), prop,
                                 &error_abort) == UINT64_MAX) {
        qdev_prop_set_uint64(dev, prop, 0);
    }
}

/* Returns: why there may be no port more, to be freed; NULL if there may be */
static char *virt_pcie_port_find_blocker(VirtMachineState *vms,
                                         DeviceState *dev)
{
    const char *name = dev->id ?: object_get_typename(OBJECT(dev));
    unsigned limit = virt_pcie_max_ports(vms);
    unsigned count = virt_pcie_count_ports(vms);
    unsigned possible = virt_pcie_possible_ports(vms);
    g_autofree char *cause = NULL;
    g_autofree char *remedy = NULL;

    trace_virt_pcie_port_pre_plug(name, count, limit);
    if (count < limit) {
        return NULL;
    }
    cause = virt_pcie_max_ports_cause(vms);
    if (limit < possible) {
        remedy = g_strdup_printf("; use a greater 'max-pcie-root-ports', at "
                                 "most %u", possible);
    }
    return g_strdup_printf("PCIe root port '%s' is one too many: there are %u, "
                           "and the limit is %u because of %s%s", name, count,
                           limit, cause, remedy ?: "");
}

/* Returns: whether the port may come */
static bool virt_pcie_port_check(VirtMachineState *vms, DeviceState *dev,
                                 Error **errp)
{
    g_autofree char *blocker = NULL;
    Error *err = NULL;

    /* Of those that are there from the start, virt_pcie_check() speaks. */
    if (!vms->max_pcie_root_ports && !dev->hotplugged) {
        return true;
    }
    blocker = virt_pcie_port_find_blocker(vms, dev);
    if (blocker) {
        error_setg(&err, "%s", blocker);
    } else if (dev->hotplugged) {
        virt_pcie_buses_check(vms, PCI_DEVICE(dev), &err);
    }
    if (err && vms->max_pcie_root_ports) {
        error_propagate(errp, err);
        return false;
    }
    if (err) {
        warn_report_err(err);
    }
    return true;
}

void virt_pcie_port_pre_plug(VirtMachineState *vms, DeviceState *dev,
                             Error **errp)
{
    HotplugHandler *bus_handler = qdev_get_bus_hotplug_handler(dev);

    if (pci_bus_is_root(pci_get_bus(PCI_DEVICE(dev))) &&
        !virt_pcie_port_check(vms, dev, errp)) {
        return;
    }
    virt_pcie_port_reserve_no_io(vms, dev);
    if (bus_handler) {
        hotplug_handler_pre_plug(bus_handler, dev, errp);
    }
}

void virt_pcie_port_plug(DeviceState *dev, Error **errp)
{
    HotplugHandler *bus_handler = qdev_get_bus_hotplug_handler(dev);

    if (bus_handler) {
        hotplug_handler_plug(bus_handler, dev, errp);
    }
}

void virt_pcie_port_unplug_request(DeviceState *dev, Error **errp)
{
    /* Without one, nobody may ask for it: see qdev_hotunplug_allowed(). */
    HotplugHandler *bus_handler = qdev_get_bus_hotplug_handler(dev);

    hotplug_handler_unplug_request(bus_handler, dev, errp);
}

void virt_pcie_port_unplug(DeviceState *dev, Error **errp)
{
    hotplug_handler_unplug(qdev_get_bus_hotplug_handler(dev), dev, errp);
}

static void virt_pcie_visit_number(Object *obj, Visitor *v, const char *name,
                                   uint8_t *field, unsigned max,
                                   const char *why, Error **errp)
{
    uint32_t value;

    if (!visit_type_uint32(v, name, &value, errp)) {
        return;
    }
    if (VIRT_MACHINE(obj)->bus) {
        error_setg(errp, "'%s' cannot be changed any more: the machine has "
                   "been laid out for it; use -machine", name);
        return;
    }
    if (value > max) {
        error_setg(errp, "'%s=%u' is not possible: %s; use 0 to %u", name,
                   value, why, max);
        return;
    }
    *field = value;
}

static void virt_get_max_pcie_root_ports(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    VirtMachineState *vms = VIRT_MACHINE(obj);
    uint32_t value = vms->bus ? virt_pcie_max_ports(vms)
                              : vms->max_pcie_root_ports;

    visit_type_uint32(v, name, &value, errp);
}

static void virt_set_max_pcie_root_ports(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    virt_pcie_visit_number(obj, v, name,
                           &VIRT_MACHINE(obj)->max_pcie_root_ports,
                           MAX_ROOT_PORTS,
                           "there are 256 bus numbers, and the root bus has "
                           "one of them", errp);
}

static void virt_get_pcie_root_ports(Object *obj, Visitor *v, const char *name,
                                     void *opaque, Error **errp)
{
    VirtMachineState *vms = VIRT_MACHINE(obj);
    uint32_t value = vms->bus ? virt_pcie_count_ports(vms) : 0;

    visit_type_uint32(v, name, &value, errp);
}

static void virt_get_pcie_hotplug_ports(Object *obj, Visitor *v,
                                        const char *name, void *opaque,
                                        Error **errp)
{
    uint32_t value = VIRT_MACHINE(obj)->pcie_hotplug_ports;

    visit_type_uint32(v, name, &value, errp);
}

static void virt_set_pcie_hotplug_ports(Object *obj, Visitor *v,
                                        const char *name, void *opaque,
                                        Error **errp)
{
    virt_pcie_visit_number(obj, v, name, &VIRT_MACHINE(obj)->pcie_hotplug_ports,
                           MAX_HOTPLUG_PORTS,
                           "there is room for eight ports in each of the 31 "
                           "free slots of the root bus", errp);
}

void virt_pcie_ports_add_properties(ObjectClass *oc)
{
    object_class_property_add(oc, "max-pcie-root-ports", "uint32",
                              virt_get_max_pcie_root_ports,
                              virt_set_max_pcie_root_ports, NULL, NULL);
    object_class_property_set_description(oc, "max-pcie-root-ports",
        "The greatest number of PCIe root ports on pcie.0 and behind pxb, "
        "up to 255; all of them get what they need to work. "
        "0 (default) is as many as the memory map has bus numbers for: 255, "
        "or 15 without a high ECAM. Reads as the limit in effect");

    object_class_property_add(oc, "pcie-root-ports", "uint32",
                              virt_get_pcie_root_ports, NULL, NULL, NULL);
    object_class_property_set_description(oc, "pcie-root-ports",
        "How many PCIe root ports there are");

    object_class_property_add(oc, "pcie-hotplug-ports", "uint32",
                              virt_get_pcie_hotplug_ports,
                              virt_set_pcie_hotplug_ports, NULL, NULL);
    object_class_property_set_description(oc, "pcie-hotplug-ports",
        "Create that many empty PCIe root ports, up to 248, to plug devices "
        "into: hotplug0, hotplug1 and so on (default: 0)");
}
