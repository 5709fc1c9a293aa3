/*
 * CPU hotplug of the Arm virt machine: what KVM needs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "hw/arm/bsa.h"
#include "system/kvm.h"
#include "target/arm/cpu.h"
#include "target/arm/kvm_arm.h"
#include "virt-cpu.h"

/* Whether PSCI 0.1 was asked for, whose function numbers differ. */
static bool virt_cpu_has_psci_0_1(const char *type)
{
    Object *cpuobj = object_new(type);
    g_autofree char *version = object_property_get_str(cpuobj,
                                                       "kvm-psci-version",
                                                       NULL);

    object_unref(cpuobj);
    return g_strcmp0(version, "0.1") == 0;
}

char *virt_cpu_hotplug_kvm_blocker(VirtMachineState *vms)
{
    if (!kvm_irqchip_in_kernel()) {
        return g_strdup("it needs the interrupt controller of KVM; use "
                        "'kernel-irqchip=on'");
    }
    if (!(kvm_arm_vgic_probe() & KVM_ARM_VGIC_V3)) {
        return g_strdup("it needs a GICv3, which KVM does not provide on "
                        "this host; use -accel tcg, or another host");
    }
    if (vms->virt) {
        return g_strdup("KVM does not support it with nested virtualization; "
                        "use 'virtualization=off'");
    }
    if (virt_cpu_has_psci_0_1(MACHINE(vms)->cpu_type)) {
        return g_strdup("it needs PSCI 0.2 or newer; leave out "
                        "'kvm-psci-version=0.1'");
    }
    if (!kvm_arm_can_forward_psci()) {
        return g_strdup("it needs KVM with SMCCC filters, which the kernel of "
                        "this host does not have; use Linux 6.4 or newer on "
                        "the host");
    }
    return NULL;
}

/* It is too late to do without: the guest has been promised the slots. */
static void virt_cpu_hotplug_kvm_check(int slot, Error *err)
{
    g_autofree char *where = NULL;

    if (!err) {
        return;
    }
    where = slot < 0 ? g_strdup("")
                     : g_strdup_printf(" for the empty CPU slot %d", slot);
    error_report("CPU hotplug cannot be set up%s: %s. Use 'cpu-hotplug=off', "
                 "or -smp with a smaller maxcpus", where,
                 error_get_pretty(err));
    error_free(err);
    exit(EXIT_FAILURE);
}

void virt_cpu_hotplug_kvm_create_vcpus(VirtMachineState *vms)
{
    const CPUArchIdList *slots = MACHINE(vms)->possible_cpus;
    Error *err = NULL;

    kvm_arm_forward_psci(&err);
    virt_cpu_hotplug_kvm_check(-1, err);
    for (int i = 0; i < slots->len; i++) {
        if (!slots->cpus[i].cpu) {
            kvm_arm_create_parked_vcpu(ARM_CPU(first_cpu), i,
                                       slots->cpus[i].arch_id, &err);
            virt_cpu_hotplug_kvm_check(i, err);
        }
    }
}

void virt_cpu_hotplug_kvm_init_vcpus(VirtMachineState *vms, bool pmu,
                                     bool steal_time)
{
    const CPUArchIdList *slots = MACHINE(vms)->possible_cpus;
    const hwaddr pvtime_base = vms->memmap[VIRT_PVTIME].base;
    Error *err = NULL;

    for (int i = 0; i < slots->len; i++) {
        if (slots->cpus[i].cpu) {
            continue;
        }
        if (pmu) {
            kvm_arm_parked_vcpu_init_pmu(i, VIRTUAL_PMU_IRQ, &err);
            virt_cpu_hotplug_kvm_check(i, err);
        }
        if (steal_time) {
            kvm_arm_parked_vcpu_init_pvtime(i, pvtime_base +
                                            i * PVTIME_SIZE_PER_CPU, &err);
            virt_cpu_hotplug_kvm_check(i, err);
        }
    }
}
