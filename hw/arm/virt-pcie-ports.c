/*
 * PCIe root ports of the Arm virt machine: how many there can be, and ports
 * that the machine creates itself
 *
 * See docs/system/arm/virt.rst for what a user sees.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/core/hotplug.h"
#include "hw/core/qdev-properties.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie_port.h"
#include "monitor/qdev.h"
#include "qom/compat-properties.h"
#include "virt-pcie.h"
#include "trace.h"

/* With a number of its own, none of these collides with a port of the user. */
#define HOTPLUG_PORT_CHASSIS 255

/*
 * A port takes 4 KiB of the 64 KiB of I/O space (PCI-to-PCI Bridge Architecture
 * Specification 1.2, 3.2.5.6), and Linux leaves the first 4 KiB alone.
 */
#define NUM_IO_WINDOWS 15

/* --- Messages --- */

/* Returns: why there are not 256 bus numbers; NULL if there are */
static const char *virt_pcie_low_ecam_cause(const VirtMachineState *vms)
{
    if (vms->highmem_ecam) {
        return NULL;
    }
    if (vms->low_ecam_cause) {
        return vms->low_ecam_cause;
    }
    return vms->highmem ? "too few bits of physical address" : "'highmem=off'";
}

/* Returns: where @limit comes from, after "because of", to be freed */
static char *virt_pcie_limit_cause(const VirtMachineState *vms,
                                   VirtPCIeLimit limit)
{
    switch (limit.bound) {
    case VIRT_PCIE_BOUND_USER:
        return g_strdup_printf("'max-pcie-root-ports=%u'", limit.ports);
    case VIRT_PCIE_BOUND_MSI:
        if (limit.ports) {
            return g_strdup_printf("the %u message signalled interrupts of a "
                                   "GICv2m", NUM_GICV2M_SPIS);
        }
        return g_strdup("a lack of message signalled interrupts");
    case VIRT_PCIE_BOUND_MMIO:
        return g_strdup_printf("the %" PRIu64 " MiB of 32-bit memory space "
                               "that they share",
                               virt_pcie_mmio_size(vms, limit.ports) / MiB);
    case VIRT_PCIE_BOUND_BUSES:
        if (virt_pcie_low_ecam_cause(vms)) {
            return g_strdup_printf("the %u bus numbers of a machine with %s",
                                   virt_pcie_num_buses(vms),
                                   virt_pcie_low_ecam_cause(vms));
        }
        return g_strdup("the 256 bus numbers of a PCIe hierarchy");
    }
    g_assert_not_reached();
}

/* Returns: what may help to have @wanted ports, to be freed; NULL if nothing */
static char *virt_pcie_limit_remedy(const VirtMachineState *vms,
                                    unsigned wanted)
{
    VirtPCIeLimit greatest = virt_pcie_greatest_limit(vms);
    unsigned set = vms->max_pcie_root_ports;
    g_autofree char *more = g_strdup_printf("'max-pcie-root-ports=%u' or more",
                                            wanted);

    if (wanted <= greatest.ports) {
        return g_steal_pointer(&more);
    }
    /* A NULL ends what is joined. */
    switch (greatest.bound) {
    case VIRT_PCIE_BOUND_MSI:
        return g_strconcat("'gic-version=3' and 'msi=its' where the "
                           "accelerator has both",
                           wanted > (set ?: virt_pcie_num_buses(vms) - 1)
                           ? ", and " : NULL, more, NULL);
    case VIRT_PCIE_BOUND_MMIO:
        return g_strconcat("'highmem=on' and 'highmem-mmio=on' where the CPUs "
                           "have enough bits of physical address",
                           set && wanted > set ? ", and " : NULL, more, NULL);
    default:
        return NULL;
    }
}

/* Exits with a message if there cannot be as many ports as @prop asks for. */
static void virt_pcie_require(const VirtMachineState *vms, const char *prop,
                              unsigned wanted, VirtPCIeLimit limit)
{
    char *cause, *remedy;

    if (wanted <= limit.ports) {
        return;
    }
    cause = virt_pcie_limit_cause(vms, limit);
    remedy = virt_pcie_limit_remedy(vms, wanted);
    error_report("This machine cannot have '%s=%u': the limit is %u PCIe root "
                 "ports, because of %s. Use %s%sa smaller number", prop, wanted,
                 limit.ports, cause, remedy ?: "", remedy ? ", or " : "");
    g_free(cause);
    g_free(remedy);
    exit(EXIT_FAILURE);
}

static void virt_pcie_set_shortage(const VirtMachineState *vms,
                                   const VirtPCIeShortage *s, Error **errp)
{
    unsigned total = virt_pcie_num_buses(vms);
    uint64_t last = pci_bus_num(s->bus) + s->behind;
    const char *cause = virt_pcie_low_ecam_cause(vms);
    g_autofree char *bridges = NULL;
    g_autofree char *why = NULL;
    g_autoptr(GString) remedy = g_string_new(NULL);

    if (s->behind) {
        bridges = g_strdup_printf(" and %" PRIu64 " for the bridges behind it",
                                  s->behind);
    }
    if (s->next) {
        why = g_strdup_printf("root bus '%s' begins at %d", BUS(s->next)->name,
                              pci_bus_num(s->next));
        g_string_append_printf(remedy, "a greater 'bus_nr' for '%s', or ",
                               BUS(s->next)->name);
    } else if (cause) {
        why = g_strdup_printf("the machine has %u in all, with %s", total,
                              cause);
    } else {
        why = g_strdup_printf("a PCIe hierarchy has %u in all", total);
    }
    if (!s->next && last >= total &&
        last <= virt_pcie_greatest_limit(vms).ports) {
        g_string_append_printf(remedy, "'max-pcie-root-ports=%" PRIu64 "' or "
                               "more, or ", last);
    }
    if (!s->next && pci_bus_num(s->bus)) {
        g_string_append_printf(remedy, "a smaller 'bus_nr'%s",
                               s->has ? ", or " : "");
    }
    if (s->has) {
        g_string_append(remedy, "fewer bridges or a smaller 'bus-reserve'");
    }

    error_setg(errp, "PCIe root bus '%s' needs 1 bus number for itself%s, and "
               "has %u: %s. The guest would miss what is behind the last "
               "bridges. Use %s", BUS(s->bus)->name, bridges ?: "", s->has,
               why, remedy->str);
}

/* --- The machine --- */

void virt_pcie_init(VirtMachineState *vms)
{
    unsigned wanted = vms->max_pcie_root_ports;

    virt_pcie_require(vms, "max-pcie-root-ports", wanted,
                      virt_pcie_greatest_limit(vms));
    virt_pcie_fit_ecam(vms, wanted);
    virt_pcie_require(vms, "pcie-hotplug-ports", vms->pcie_hotplug_ports,
                      virt_pcie_limit(vms));
    if (wanted > NUM_IO_WINDOWS) {
        /*
         * It would be undefined which of the ports get an I/O window, and old
         * firmware fails altogether. PCIe devices need no I/O space.
         */
        object_register_sugar_prop(TYPE_PCIE_ROOT_PORT, "io-reserve", "0",
                                   true);
    }
    trace_virt_pcie_init(virt_pcie_limit(vms).ports, virt_pcie_num_buses(vms));
}

void virt_pcie_create_hotplug_ports(VirtMachineState *vms)
{
    for (unsigned i = 0; i < vms->pcie_hotplug_ports; i++) {
        int devfn = PCI_DEVFN(PCI_SLOT_MAX - 1 - i / PCI_FUNC_MAX,
                              i % PCI_FUNC_MAX);
        PCIDevice *port = pci_new_multifunction(devfn, "pcie-root-port");
        DeviceState *dev = DEVICE(port);
        Error *err = NULL;

        qdev_prop_set_uint8(dev, "chassis", HOTPLUG_PORT_CHASSIS);
        qdev_prop_set_uint16(dev, "slot", i);
        /* I/O windows are few, and left to the ports of the user. */
        qdev_prop_set_uint64(dev, "io-reserve", 0);
        qdev_set_id(dev, g_strdup_printf("hotplug%u", i), &error_fatal);
        if (!pci_realize_and_unref(port, vms->bus, &err)) {
            error_reportf_err(err, "There is no room for 'pcie-hotplug-ports="
                              "%u' beside the default devices (which "
                              "'-nodefaults' leaves out) and those of '-nic' "
                              "(for which '-device' can be used): ",
                              vms->pcie_hotplug_ports);
            exit(EXIT_FAILURE);
        }
    }
}

void virt_pcie_check(VirtMachineState *vms)
{
    unsigned count = virt_pcie_count_ports(vms->bus);
    VirtPCIeLimit limit = virt_pcie_limit(vms);
    VirtPCIeShortage shortage;
    Error *err = NULL;

    if (virt_pcie_find_shortage(vms->bus, virt_pcie_num_buses(vms), NULL,
                                &shortage)) {
        virt_pcie_set_shortage(vms, &shortage, &err);
        if (vms->max_pcie_root_ports) {
            error_report_err(err);
            exit(EXIT_FAILURE);
        }
        warn_report_err(err);
    } else if (count > limit.ports) {
        g_autofree char *cause = virt_pcie_limit_cause(vms, limit);
        g_autofree char *remedy = virt_pcie_limit_remedy(vms, count);

        warn_report("This machine can serve %u PCIe root ports because of %s, "
                    "and there are %u: %s the surplus ones may not work%s%s",
                    limit.ports, cause, count,
                    limit.bound == VIRT_PCIE_BOUND_MSI ? "hotplug behind"
                                                       : "devices behind",
                    remedy ? "; use " : "", remedy ?: "");
    }
}

/* --- Hotplug of bridges --- */

/* Sets an error if the limit leaves no room for a root port. */
static void virt_pcie_check_limit(VirtMachineState *vms, DeviceState *dev,
                                  Error **errp)
{
    const char *name = dev->id ?: object_get_typename(OBJECT(dev));
    VirtPCIeLimit limit = virt_pcie_limit(vms);
    unsigned count = virt_pcie_count_ports(vms->bus);
    g_autofree char *cause = NULL;
    g_autofree char *remedy = NULL;

    trace_virt_pcie_port_pre_plug(name, count, limit.ports);
    if (count < limit.ports) {
        return;
    }
    cause = virt_pcie_limit_cause(vms, limit);
    remedy = virt_pcie_limit_remedy(vms, count + 1);
    error_setg(errp, "PCIe root port '%s' is one too many: there are %u, and "
               "the limit is %u because of %s%s%s", name, count, limit.ports,
               cause, remedy ? "; use " : "", remedy ?: "");
}

static void virt_pcie_check_bridge(VirtMachineState *vms, DeviceState *dev,
                                   Error **errp)
{
    ERRP_GUARD();
    VirtPCIeShortage shortage;

    if (object_dynamic_cast(OBJECT(dev), TYPE_PCIE_ROOT_PORT) &&
        pci_bus_is_root(pci_get_bus(PCI_DEVICE(dev)))) {
        virt_pcie_check_limit(vms, dev, errp);
    }
    if (!*errp && dev->hotplugged &&
        virt_pcie_find_shortage(vms->bus, virt_pcie_num_buses(vms),
                                PCI_DEVICE(dev), &shortage)) {
        virt_pcie_set_shortage(vms, &shortage, errp);
    }
}

void virt_pcie_bridge_pre_plug(VirtMachineState *vms, DeviceState *dev,
                               Error **errp)
{
    HotplugHandler *bus_handler = qdev_get_bus_hotplug_handler(dev);
    Error *err = NULL;

    /* virt_pcie_check() reports those that exist when the machine starts. */
    if (vms->max_pcie_root_ports || dev->hotplugged) {
        virt_pcie_check_bridge(vms, dev, &err);
    }
    if (err && vms->max_pcie_root_ports) {
        error_propagate(errp, err);
        return;
    }
    if (err) {
        warn_report_err(err);
    }
    if (bus_handler) {
        hotplug_handler_pre_plug(bus_handler, dev, errp);
    }
}

void virt_pcie_bridge_plug(DeviceState *dev, Error **errp)
{
    HotplugHandler *bus_handler = qdev_get_bus_hotplug_handler(dev);

    if (bus_handler) {
        hotplug_handler_plug(bus_handler, dev, errp);
    }
}

void virt_pcie_bridge_unplug_request(DeviceState *dev, Error **errp)
{
    /* Without one, nobody may ask for it: see qdev_hotunplug_allowed(). */
    HotplugHandler *bus_handler = qdev_get_bus_hotplug_handler(dev);

    hotplug_handler_unplug_request(bus_handler, dev, errp);
}

void virt_pcie_bridge_unplug(DeviceState *dev, Error **errp)
{
    hotplug_handler_unplug(qdev_get_bus_hotplug_handler(dev), dev, errp);
}
