/*
 * CPU hotplug of the Arm virt machine
 *
 * See docs/specs/acpi_cpu_hotplug.rst for the interface to the guest, and
 * docs/system/arm/virt.rst for what a user sees.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/accel.h"
#include "qemu/error-report.h"
#include "exec/icount.h"
#include "hw/acpi/generic_event_device.h"
#include "hw/arm/boot.h"
#include "hw/core/hotplug.h"
#include "system/kvm.h"
#include "system/qtest.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "system/tcg.h"
#include "target/arm/cpu.h"
#include "target/arm/internals.h"
#include "virt-cpu.h"
#include "trace.h"

/*
 * Whether the CPUs will be 64-bit ones: only such machines have ACPI.
 * No CPU exists yet, and the properties given with -cpu may matter.
 */
static bool virt_cpu_type_is_aarch64(const char *type)
{
    Object *cpuobj = object_new(type);
    bool aarch64 = object_property_get_bool(cpuobj, "aarch64", NULL);

    object_unref(cpuobj);
    return aarch64;
}

/* Returns: NULL if the accelerator can add and remove vCPUs, or why not. */
static char *virt_cpu_hotplug_accel_blocker(VirtMachineState *vms)
{
    if (replay_mode != REPLAY_MODE_NONE) {
        return g_strdup("record/replay does not support it; leave out -icount");
    }
    if (icount_enabled()) {
        return g_strdup("-icount runs all vCPUs in one thread, and it needs a "
                        "thread per vCPU; leave out -icount");
    }
    if (kvm_enabled()) {
        return virt_cpu_hotplug_kvm_blocker(vms);
    }
    if (tcg_enabled() && !qemu_tcg_mttcg_enabled()) {
        return g_strdup("it needs a thread per vCPU; use -accel "
                        "tcg,thread=multi");
    }
    if (!tcg_enabled() && !qtest_enabled()) {
        return g_strdup_printf("the accelerator '%s' does not support it; use "
                               "-accel kvm or -accel tcg",
                               current_accel_name());
    }
    if (!module_object_class_by_name("arm-gicv3")) {
        return g_strdup("it needs a GICv3, which is not part of this build of "
                        "QEMU");
    }
    return NULL;
}

/* Returns: NULL if CPU hotplug can work on this machine, or why not. */
static char *virt_cpu_hotplug_find_blocker(VirtMachineState *vms,
                                           bool firmware_loaded)
{
    MachineState *ms = MACHINE(vms);
    char *blocker;

    if (vms->cpu_hotplug == ON_OFF_AUTO_OFF) {
        return g_strdup("it is off, by the machine property 'cpu-hotplug' or "
                        "by default for this machine version; use "
                        "'cpu-hotplug=auto', and -smp with maxcpus greater "
                        "than cpus");
    }
    if (vms->cpu_hotplug == ON_OFF_AUTO_AUTO &&
        ms->smp.max_cpus == ms->smp.cpus) {
        return g_strdup("the machine was started with as many CPUs as it may "
                        "have; use -smp with maxcpus greater than cpus, or "
                        "'cpu-hotplug=on'");
    }
    if (vms->acpi == ON_OFF_AUTO_OFF) {
        return g_strdup("it needs ACPI; use 'acpi=on'");
    }
    if (!firmware_loaded) {
        return g_strdup("it needs UEFI firmware, to pass ACPI tables to the "
                        "guest; use -bios, or pflash");
    }
    if (vms->secure) {
        return g_strdup("it needs QEMU's PSCI, which secure firmware replaces; "
                        "use 'secure=off'");
    }
    if (vms->gic_version == VIRT_GIC_VERSION_2 ||
        vms->gic_version == VIRT_GIC_VERSION_5) {
        return g_strdup_printf("it needs a GICv3 or GICv4, not a GICv%d; use "
                               "'gic-version=3'", vms->gic_version);
    }
    blocker = virt_cpu_hotplug_accel_blocker(vms);
    if (!blocker && !virt_cpu_type_is_aarch64(ms->cpu_type)) {
        blocker = g_strdup_printf("it needs 64-bit CPUs, and '%s' is 32-bit; "
                                  "use a 64-bit model with -cpu, without "
                                  "aarch64=off",
                                  ms->cpu_type);
    }
    return blocker;
}

void virt_cpu_hotplug_init(VirtMachineState *vms, bool firmware_loaded)
{
    vms->cpu_hotplug_blocker = virt_cpu_hotplug_find_blocker(vms,
                                                             firmware_loaded);
    if (vms->cpu_hotplug_blocker) {
        if (vms->cpu_hotplug == ON_OFF_AUTO_ON) {
            error_report("CPU hotplug is not available with 'cpu-hotplug=on': "
                         "%s", vms->cpu_hotplug_blocker);
            exit(EXIT_FAILURE);
        }
        return;
    }
    vms->cpu_hotplug_active = true;

    /* Nobody asked for a version, and the default would depend on maxcpus. */
    if (vms->gic_version == VIRT_GIC_VERSION_NOSEL) {
        vms->gic_version = VIRT_GIC_VERSION_3;
    }
}

/*
 * Whether a CPU's value of @prop is a feature, which all CPUs must have alike,
 * and not what makes it one of several.
 */
static bool virt_cpu_property_is_feature(const ObjectProperty *prop)
{
    static const char *const individual[] = {
        "socket-id", "cluster-id", "core-id", "thread-id", "node-id",
        "hotplugged", NULL
    };

    return prop->get && !g_strv_contains(individual, prop->name) &&
           !g_str_has_prefix(prop->type, "child<");
}

/*
 * Check which vector lengths were set. Their properties, sve128 and so on, do
 * not tell: they are all off until a CPU is realized.
 */
static bool virt_cpu_check_vector_lengths(const char *prefix,
                                          const ARMVQMap *vq_map,
                                          const ARMVQMap *expected,
                                          Error **errp)
{
    const uint32_t differ = (vq_map->init ^ expected->init) |
                            (vq_map->map ^ expected->map);

    if (!differ) {
        return true;
    }
    error_setg(errp, "CPU property '%s%d' is set in another way than for the "
               "CPUs that the machine was started with, and all must be alike; "
               "leave it out", prefix, (ctz32(differ) + 1) * 128);
    return false;
}

/*
 * Check that nothing but its slot was set on a CPU that is not realized yet:
 * features are for -cpu to set, for all CPUs. The boot CPU cannot tell what
 * was set there, because realizing it has changed its properties.
 */
static bool virt_cpu_check_features(const char *cpu_type, Object *cpuobj,
                                    Error **errp)
{
    g_autoptr(Object) reference = object_new(cpu_type);
    const ARMCPU *cpu = ARM_CPU(cpuobj), *expected_cpu = ARM_CPU(reference);
    ObjectPropertyIterator iter;
    ObjectProperty *prop;

    object_property_iter_init(&iter, cpuobj);
    while ((prop = object_property_iter_next(&iter))) {
        g_autofree char *value = NULL, *expected = NULL;

        if (!virt_cpu_property_is_feature(prop)) {
            continue;
        }
        value = object_property_print(cpuobj, prop->name, false, NULL);
        expected = object_property_print(reference, prop->name, false, NULL);
        if (g_strcmp0(value, expected) == 0) {
            continue;
        }
        error_setg(errp, "CPU property '%s' is %s, but %s for the CPUs that "
                   "the machine was started with, and all must be alike; "
                   "leave it out", prop->name, value, expected);
        return false;
    }
    return virt_cpu_check_vector_lengths("sve", &cpu->sve_vq,
                                         &expected_cpu->sve_vq, errp) &&
           virt_cpu_check_vector_lengths("sme", &cpu->sme_vq,
                                         &expected_cpu->sme_vq, errp);
}

static bool virt_cpu_hotplug_check(VirtMachineState *vms, Error **errp)
{
    if (!virt_cpu_hotplug_active(vms)) {
        error_setg(errp, "CPU hotplug is not available on this machine: %s",
                   vms->cpu_hotplug_blocker);
        return false;
    }
    /* The source's CPUs have been compared with those of this machine. */
    if (vms->guest_loaded && runstate_check(RUN_STATE_INMIGRATE)) {
        error_setg(errp, "CPUs cannot be added or removed while the state of "
                   "the guest is being loaded; wait until the migration has "
                   "ended");
        return false;
    }
    return true;
}

/* Check whether a CPU of -device or device_add is allowed, without its slot. */
static bool virt_cpu_check_plug(VirtMachineState *vms, DeviceState *dev,
                                Error **errp)
{
    const char *cpu_type = MACHINE(vms)->cpu_type;
    const char *type = object_get_typename(OBJECT(dev));

    if (!virt_cpu_hotplug_check(vms, errp)) {
        return false;
    }
    if (!g_str_equal(type, cpu_type)) {
        error_setg(errp, "The CPUs of this machine are of type '%s', to which "
                   "a CPU of type '%s' cannot be added", cpu_type, type);
        return false;
    }
    return virt_cpu_check_features(cpu_type, OBJECT(dev), errp);
}

void virt_cpu_hotplug_pre_plug(VirtMachineState *vms, DeviceState *dev,
                               Error **errp)
{
    ERRP_GUARD();
    ARMCPU *cpu = ARM_CPU(dev);

    if (!virt_cpu_check_plug(vms, dev, errp)) {
        return;
    }
    virt_cpu_pre_plug(vms, dev, errp);
    if (*errp) {
        return;
    }
    /* What the CPUs of -smp get by arm_load_kernel() */
    cpu->psci_conduit = vms->bootinfo.psci_conduit;
    CPU(cpu)->start_powered_off = true;
}

void virt_cpu_hotplug_plug(VirtMachineState *vms, DeviceState *dev,
                           Error **errp)
{
    ERRP_GUARD();
    ARMCPU *cpu = ARM_CPU(dev);
    CPUArchId *slot = virt_cpu_slot(vms, cpu);

    hotplug_handler_plug(HOTPLUG_HANDLER(vms->gic), dev, errp);
    if (*errp) {
        return;
    }
    virt_gic_connect_cpu(vms, cpu, CPU(cpu)->cpu_index);
    arm_register_cpu_reset(cpu);
    slot->cpu = CPU(cpu);
    hotplug_handler_plug(HOTPLUG_HANDLER(vms->acpi_dev), dev, &error_abort);
    trace_virt_cpu_plug(CPU(cpu)->cpu_index, slot->arch_id, dev->hotplugged);
}

static void virt_cpu_remove(VirtMachineState *vms, ARMCPU *cpu)
{
    CPUArchId *slot = virt_cpu_slot(vms, cpu);
    DeviceState *dev = DEVICE(cpu);
    int index = CPU(cpu)->cpu_index;

    trace_virt_cpu_unplug(index, slot->arch_id);
    hotplug_handler_unplug(HOTPLUG_HANDLER(vms->acpi_dev), dev, &error_abort);
    arm_unregister_cpu_reset(cpu);
    slot->cpu = NULL;
    /* This drops the BQL until the CPU's thread has ended. */
    qdev_unrealize(dev);
    hotplug_handler_unplug(HOTPLUG_HANDLER(vms->gic), dev, &error_abort);
    virt_gic_disconnect_cpu(vms, index);
}

/* Whether there is a guest, running or stopped, that may know of its CPUs. */
static bool virt_has_guest(const VirtMachineState *vms)
{
    return vms->guest_loaded || !(runstate_check(RUN_STATE_PRELAUNCH) ||
                                  runstate_check(RUN_STATE_INMIGRATE));
}

void virt_cpu_unplug_request(VirtMachineState *vms, DeviceState *dev,
                             Error **errp)
{
    ARMCPU *cpu = ARM_CPU(dev);

    if (!virt_cpu_hotplug_check(vms, errp)) {
        return;
    }
    if (CPU(cpu) == first_cpu) {
        error_setg(errp, "The boot CPU cannot be removed, only one of the "
                   "others that query-hotpluggable-cpus lists with qom-path");
        return;
    }
    if (CPU(cpu)->ejected) {
        error_setg(errp, "CPU %s is being removed already",
                   dev->canonical_path);
        return;
    }
    trace_virt_cpu_unplug_request(CPU(cpu)->cpu_index, cpu->mp_affinity);

    if (!virt_has_guest(vms)) {
        /* No guest has ever seen the CPU, and none could answer. */
        virt_cpu_remove(vms, cpu);
        object_unparent(OBJECT(dev));
        return;
    }
    hotplug_handler_unplug_request(HOTPLUG_HANDLER(vms->acpi_dev), dev, errp);
}

void virt_cpu_unplug(VirtMachineState *vms, DeviceState *dev, Error **errp)
{
    virt_cpu_remove(vms, ARM_CPU(dev));
}

void virt_cpu_hotplug_reset(VirtMachineState *vms)
{
    vms->guest_loaded = false;
    if (virt_cpu_hotplug_active(vms)) {
        acpi_cpu_complete_removals(&ACPI_GED(vms->acpi_dev)->cpuhp_state);
    }
}

static CpuPowerState virt_cpu_power_state(const ARMCPU *cpu)
{
    switch (arm_cpu_affinity_info(cpu)) {
    case PSCI_ON:
        return CPU_POWER_STATE_ON;
    case PSCI_ON_PENDING:
        return CPU_POWER_STATE_ON_PENDING;
    case PSCI_OFF:
        return CPU_POWER_STATE_OFF;
    default:
        g_assert_not_reached();
    }
}

static CpuSlotState virt_cpu_slot_state(VirtMachineState *vms,
                                        const CPUState *cpu)
{
    if (!cpu) {
        return CPU_SLOT_STATE_EMPTY;
    }
    if (cpu->ejected) {
        return CPU_SLOT_STATE_EJECTED;
    }
    if (virt_cpu_hotplug_active(vms) && vms->acpi_dev &&
        acpi_cpu_removal_requested(&ACPI_GED(vms->acpi_dev)->cpuhp_state,
                                   cpu)) {
        return CPU_SLOT_STATE_UNPLUG_PENDING;
    }
    return CPU_SLOT_STATE_PLUGGED;
}

void virt_cpu_describe_slot(MachineState *ms, const CPUArchId *slot,
                            HotpluggableCPU *info)
{
    VirtMachineState *vms = VIRT_MACHINE(ms);

    info->has_state = true;
    info->state = virt_cpu_slot_state(vms, slot->cpu);
    if (slot->cpu && !slot->cpu->ejected &&
        (!kvm_enabled() || virt_cpu_hotplug_active(vms))) {
        info->has_power_state = true;
        info->power_state = virt_cpu_power_state(ARM_CPU(slot->cpu));
    }
}
