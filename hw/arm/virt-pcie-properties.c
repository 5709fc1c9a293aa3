/*
 * Machine properties for PCIe root ports of the Arm virt machine
 *
 * See docs/system/arm/virt.rst for what a user sees.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/pci/pci.h"
#include "virt-pcie.h"

/* The host bridge has slot 0 of the root bus. */
#define MAX_HOTPLUG_PORTS ((PCI_SLOT_MAX - 1) * PCI_FUNC_MAX)

static void virt_pcie_set_number(Object *obj, Visitor *v, const char *name,
                                 uint8_t *field, unsigned max, const char *why,
                                 Error **errp)
{
    uint32_t value;

    if (!visit_type_uint32(v, name, &value, errp)) {
        return;
    }
    if (VIRT_MACHINE(obj)->bus) {
        error_setg(errp, "'%s' cannot be changed after the machine has been "
                   "initialized; use -machine", name);
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
    uint32_t value = VIRT_MACHINE(obj)->max_pcie_root_ports;

    visit_type_uint32(v, name, &value, errp);
}

static void virt_set_max_pcie_root_ports(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    virt_pcie_set_number(obj, v, name, &VIRT_MACHINE(obj)->max_pcie_root_ports,
                         VIRT_PCIE_MAX_PORTS,
                         "there are 256 bus numbers, and the root bus has one "
                         "of them", errp);
}

static void virt_get_pcie_root_port_limit(Object *obj, Visitor *v,
                                          const char *name, void *opaque,
                                          Error **errp)
{
    VirtMachineState *vms = VIRT_MACHINE(obj);
    uint32_t value = vms->bus ? virt_pcie_limit(vms).ports : 0;

    visit_type_uint32(v, name, &value, errp);
}

static void virt_get_pcie_root_ports(Object *obj, Visitor *v, const char *name,
                                     void *opaque, Error **errp)
{
    VirtMachineState *vms = VIRT_MACHINE(obj);
    uint32_t value = vms->bus ? virt_pcie_count_ports(vms->bus) : 0;

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
    virt_pcie_set_number(obj, v, name, &VIRT_MACHINE(obj)->pcie_hotplug_ports,
                         MAX_HOTPLUG_PORTS,
                         "there is room for eight ports in each of the 31 free "
                         "slots of the root bus", errp);
}

void virt_pcie_add_properties(ObjectClass *oc)
{
    object_class_property_add(oc, "max-pcie-root-ports", "uint32",
                              virt_get_max_pcie_root_ports,
                              virt_set_max_pcie_root_ports, NULL, NULL);
    object_class_property_set_description(oc, "max-pcie-root-ports",
        "The greatest number of PCIe root ports on pcie.0 and behind pxb, "
        "up to 255; all of them get what they need to work. 0 (default) is "
        "as many as the machine can serve without a change of its layout: "
        "see pcie-root-port-limit");

    object_class_property_add(oc, "pcie-root-port-limit", "uint32",
                              virt_get_pcie_root_port_limit, NULL, NULL, NULL);
    object_class_property_set_description(oc, "pcie-root-port-limit",
        "How many PCIe root ports this machine can serve, once it is created");

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
