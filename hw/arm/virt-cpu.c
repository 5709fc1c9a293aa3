/*
 * The CPUs of the Arm virt machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/arm/bsa.h"
#include "hw/core/irq.h"
#include "hw/core/qdev-properties.h"
#include "hw/core/sysbus.h"
#include "hw/intc/arm_gic_common.h"
#include "qobject/qlist.h"
#include "system/kvm.h"
#include "system/numa.h"
#include "system/system.h"
#include "system/tcg.h"
#include "target/arm/cpu.h"
#include "target/arm/gtimer.h"
#include "target/arm/kvm_arm.h"
#include "virt-cpu.h"

/*
 * Give @cpuobj the memory with the allocation tags, which there is once for
 * all CPUs. Only CPUs with MTE have the property.
 */
static bool virt_cpu_link_tag_memory(VirtMachineState *vms, Object *cpuobj,
                                     Error **errp)
{
    if (!object_property_find(cpuobj, "tag-memory")) {
        error_setg(errp, "MTE requested, but not supported by the guest CPU");
        return false;
    }

    if (!vms->tag_sysmem) {
        vms->tag_sysmem = g_new(MemoryRegion, 1);
        memory_region_init(vms->tag_sysmem, OBJECT(vms), "tag-memory",
                           UINT64_MAX / 32);

        if (vms->secure) {
            vms->secure_tag_sysmem = g_new(MemoryRegion, 1);
            memory_region_init(vms->secure_tag_sysmem, OBJECT(vms),
                               "secure-tag-memory", UINT64_MAX / 32);

            /* As with ram, secure-tag takes precedence over tag. */
            memory_region_add_subregion_overlap(vms->secure_tag_sysmem, 0,
                                                vms->tag_sysmem, -1);
        }
    }

    object_property_set_link(cpuobj, "tag-memory", OBJECT(vms->tag_sysmem),
                             &error_abort);
    if (vms->secure) {
        object_property_set_link(cpuobj, "secure-tag-memory",
                                 OBJECT(vms->secure_tag_sysmem), &error_abort);
    }
    return true;
}

static bool virt_cpu_enable_mte(VirtMachineState *vms, Object *cpuobj,
                                Error **errp)
{
    if (tcg_enabled()) {
        return virt_cpu_link_tag_memory(vms, cpuobj, errp);
    }
    if (!kvm_enabled()) {
        error_setg(errp, "MTE requested, but not supported");
        return false;
    }
    if (!kvm_arm_mte_supported()) {
        error_setg(errp, "MTE requested, but not supported by KVM");
        return false;
    }
    kvm_arm_enable_mte(cpuobj, &error_abort);
    return true;
}

/* Make a CPU that is about to be realized what this machine needs. */
static bool virt_cpu_configure(VirtMachineState *vms, Object *cpuobj,
                               Error **errp)
{
    VirtMachineClass *vmc = VIRT_MACHINE_GET_CLASS(vms);

    if (!vms->secure) {
        object_property_set_bool(cpuobj, "has_el3", false, NULL);
    }

    if (!vms->virt && object_property_find(cpuobj, "has_el2")) {
        object_property_set_bool(cpuobj, "has_el2", false, NULL);
    }

    if (vmc->no_kvm_steal_time &&
        object_property_find(cpuobj, "kvm-steal-time")) {
        object_property_set_bool(cpuobj, "kvm-steal-time", false, NULL);
    }

    if (vmc->no_tcg_lpa2 && object_property_find(cpuobj, "lpa2")) {
        object_property_set_bool(cpuobj, "lpa2", false, NULL);
    }

    if (vms->gic_version == VIRT_GIC_VERSION_5) {
        if (!object_property_find(cpuobj, "has_gcie")) {
            error_setg(errp, "Using GICv5 but guest CPU does not support it");
            return false;
        }
        object_property_set_bool(cpuobj, "has_gcie", true, NULL);
    }

    if (object_property_find(cpuobj, "reset-cbar")) {
        object_property_set_int(cpuobj, "reset-cbar",
                                vms->memmap[VIRT_CPUPERIPHS].base,
                                &error_abort);
    }

    object_property_set_link(cpuobj, "memory", OBJECT(get_system_memory()),
                             &error_abort);
    if (vms->secure) {
        object_property_set_link(cpuobj, "secure-memory",
                                 OBJECT(vms->secure_sysmem), &error_abort);
    }

    return !vms->mte || virt_cpu_enable_mte(vms, cpuobj, errp);
}

/*
 * The slot that @cpu names by its ids, which must be free. An id that can have
 * one value only may be left out; many clients do not know of clusters.
 */
static CPUArchId *virt_cpu_find_free_slot(MachineState *ms, ARMCPU *cpu,
                                          Error **errp)
{
    const struct {
        const char *name;
        int32_t *id;
        unsigned count;
    } levels[] = {
        { "socket-id", &cpu->socket_id, ms->smp.sockets },
        { "cluster-id", &cpu->cluster_id, ms->smp.clusters },
        { "core-id", &cpu->core_id, ms->smp.cores },
        { "thread-id", &cpu->thread_id, ms->smp.threads },
    };
    unsigned index = 0;
    CPUArchId *slot;

    for (int i = 0; i < ARRAY_SIZE(levels); i++) {
        int32_t *id = levels[i].id;

        if (*id == -1 && levels[i].count == 1) {
            *id = 0;
        }
        if (*id == -1) {
            error_setg(errp, "CPU property '%s' is not set, and without it "
                       "the CPU's slot is not known; query-hotpluggable-cpus "
                       "lists the properties of each slot", levels[i].name);
            return NULL;
        }
        if (*id < 0 || *id >= levels[i].count) {
            error_setg(errp, "CPU property '%s' is %" PRId32 ", but this "
                       "machine has slots with 0 to %u only; "
                       "query-hotpluggable-cpus lists the properties of each "
                       "slot", levels[i].name, *id, levels[i].count - 1);
            return NULL;
        }
        index = index * levels[i].count + *id;
    }

    slot = &ms->possible_cpus->cpus[index];
    if (slot->cpu) {
        g_autofree char *path = object_get_canonical_path(OBJECT(slot->cpu));

        error_setg(errp, "CPU slot with socket-id=%" PRId32 ",cluster-id=%"
                   PRId32 ",core-id=%" PRId32 ",thread-id=%" PRId32
                   " is taken by %s; slots that query-hotpluggable-cpus lists "
                   "without qom-path are free", cpu->socket_id,
                   cpu->cluster_id, cpu->core_id, cpu->thread_id, path);
        return NULL;
    }
    return slot;
}

CPUArchId *virt_cpu_slot(VirtMachineState *vms, ARMCPU *cpu)
{
    return &MACHINE(vms)->possible_cpus->cpus[CPU(cpu)->cpu_index];
}

void virt_cpu_pre_plug(VirtMachineState *vms, DeviceState *dev, Error **errp)
{
    ERRP_GUARD();
    MachineState *ms = MACHINE(vms);
    ARMCPU *cpu = ARM_CPU(dev);
    CPUArchId *slot = virt_cpu_find_free_slot(ms, cpu, errp);

    if (!slot) {
        return;
    }

    cpu->mp_affinity = slot->arch_id;
    CPU(dev)->cpu_index = slot - ms->possible_cpus->cpus;
    numa_cpu_pre_plug(slot, dev, errp);
    if (*errp) {
        return;
    }
    if (!virt_cpu_configure(vms, OBJECT(dev), errp)) {
        return;
    }
    if (virt_cpu_hotplug_active(vms)) {
        cpu->psci_cpu_hotplug = true;
        if (cpu->core_count == -1) {
            /* Not -smp cpus, which differs after migration. */
            cpu->core_count = ms->smp.max_cpus;
        }
    }
}

void virt_cpu_plug(VirtMachineState *vms, DeviceState *dev, Error **errp)
{
    virt_cpu_slot(vms, ARM_CPU(dev))->cpu = CPU(dev);
}

void virt_create_cpus(VirtMachineState *vms)
{
    MachineState *ms = MACHINE(vms);
    const CPUArchIdList *possible_cpus = ms->possible_cpus;

    assert(possible_cpus->len == ms->smp.max_cpus);
    for (int n = 0; n < ms->smp.cpus; n++) {
        const CpuInstanceProperties *props = &possible_cpus->cpus[n].props;
        ARMCPU *cpu = ARM_CPU(object_new(possible_cpus->cpus[n].type));

        cpu->socket_id = props->socket_id;
        cpu->cluster_id = props->cluster_id;
        cpu->core_id = props->core_id;
        cpu->thread_id = props->thread_id;
        qdev_realize(DEVICE(cpu), NULL, &error_fatal);
        object_unref(OBJECT(cpu));
    }
}

void virt_gic_set_cpu_slots(VirtMachineState *vms)
{
    const CPUArchIdList *slots = MACHINE(vms)->possible_cpus;
    QList *affinities = qlist_new();

    for (int i = 0; i < slots->len; i++) {
        qlist_append_int(affinities, slots->cpus[i].arch_id);
    }
    qdev_prop_set_array(vms->gic, "mp-affinity", affinities);
}

void virt_gic_connect_cpu(VirtMachineState *vms, ARMCPU *cpu, int index)
{
    DeviceState *cpudev = DEVICE(cpu);
    SysBusDevice *gicbusdev = SYS_BUS_DEVICE(vms->gic);
    int num_cpu = virt_num_cpu_slots(vms);
    int intidbase = NUM_IRQS + index * GIC_INTERNAL;
    /*
     * Mapping from the output timer irq lines from the CPU to the
     * GIC PPI inputs we use for the virt board.
     */
    const int timer_irq[] = {
        [GTIMER_PHYS] = ARCH_TIMER_NS_EL1_IRQ,
        [GTIMER_VIRT] = ARCH_TIMER_VIRT_IRQ,
        [GTIMER_HYP]  = ARCH_TIMER_NS_EL2_IRQ,
        [GTIMER_SEC]  = ARCH_TIMER_S_EL1_IRQ,
        [GTIMER_HYPVIRT] = ARCH_TIMER_NS_EL2_VIRT_IRQ,
        [GTIMER_S_EL2_PHYS] = ARCH_TIMER_S_EL2_IRQ,
        [GTIMER_S_EL2_VIRT] = ARCH_TIMER_S_EL2_VIRT_IRQ,
    };

    for (unsigned irq = 0; irq < ARRAY_SIZE(timer_irq); irq++) {
        qdev_connect_gpio_out(cpudev, irq,
                              qdev_get_gpio_in(vms->gic,
                                               intidbase + timer_irq[irq]));
    }

    if (vms->gic_version != VIRT_GIC_VERSION_2) {
        qemu_irq irq = qdev_get_gpio_in(vms->gic,
                                        intidbase + ARCH_GIC_MAINT_IRQ);
        qdev_connect_gpio_out_named(cpudev, "gicv3-maintenance-interrupt",
                                    0, irq);
    } else if (vms->virt) {
        qemu_irq irq = qdev_get_gpio_in(vms->gic,
                                        intidbase + ARCH_GIC_MAINT_IRQ);
        sysbus_connect_irq(gicbusdev, index + 4 * num_cpu, irq);
    }

    qdev_connect_gpio_out_named(cpudev, "pmu-interrupt", 0,
                                qdev_get_gpio_in(vms->gic, intidbase
                                                 + VIRTUAL_PMU_IRQ));

    sysbus_connect_irq(gicbusdev, index, qdev_get_gpio_in(cpudev, ARM_CPU_IRQ));
    sysbus_connect_irq(gicbusdev, index + num_cpu,
                       qdev_get_gpio_in(cpudev, ARM_CPU_FIQ));
    sysbus_connect_irq(gicbusdev, index + 2 * num_cpu,
                       qdev_get_gpio_in(cpudev, ARM_CPU_VIRQ));
    sysbus_connect_irq(gicbusdev, index + 3 * num_cpu,
                       qdev_get_gpio_in(cpudev, ARM_CPU_VFIQ));

    if (vms->gic_version != VIRT_GIC_VERSION_2) {
        sysbus_connect_irq(gicbusdev, index + 4 * num_cpu,
                           qdev_get_gpio_in(cpudev, ARM_CPU_NMI));
        sysbus_connect_irq(gicbusdev, index + 5 * num_cpu,
                           qdev_get_gpio_in(cpudev, ARM_CPU_VINMI));
    }
}

void virt_gic_disconnect_cpu(VirtMachineState *vms, int index)
{
    const int outputs_per_cpu = 6;

    for (int i = 0; i < outputs_per_cpu; i++) {
        sysbus_connect_irq(SYS_BUS_DEVICE(vms->gic),
                           index + i * virt_num_cpu_slots(vms), NULL);
    }
}
