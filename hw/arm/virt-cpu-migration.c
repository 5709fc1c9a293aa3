/*
 * CPU hotplug of the Arm virt machine: migration
 *
 * The destination of a migration is to be started with the same CPUs as the
 * source has at that time. A difference would otherwise show late and in
 * obscure ways, or not at all: a CPU that only the destination has gets no
 * state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/vmstate.h"
#include "virt-cpu.h"

static bool virt_cpu_slots_pre_save(void *opaque, Error **errp)
{
    VirtMachineState *vms = opaque;
    const CPUArchIdList *slots = MACHINE(vms)->possible_cpus;

    vms->num_slots_migrated = slots->len;
    g_free(vms->slots_migrated);
    vms->slots_migrated = g_new(uint8_t, slots->len);
    for (int i = 0; i < slots->len; i++) {
        vms->slots_migrated[i] = slots->cpus[i].cpu != NULL;
    }
    return true;
}

static bool virt_cpu_slots_post_load(void *opaque, int version_id, Error **errp)
{
    VirtMachineState *vms = opaque;
    const CPUArchIdList *slots = MACHINE(vms)->possible_cpus;

    if (vms->num_slots_migrated != slots->len) {
        error_setg(errp, "The source has maxcpus=%" PRIu32 ", this machine "
                   "maxcpus=%d; start it with the -smp of the source",
                   vms->num_slots_migrated, slots->len);
        return false;
    }

    for (int i = 0; i < slots->len; i++) {
        const CpuInstanceProperties *props = &slots->cpus[i].props;
        const bool here = slots->cpus[i].cpu != NULL;

        if (vms->slots_migrated[i] != here) {
            error_setg(errp, "Only the %s has a CPU with socket-id=%" PRId64
                       ",cluster-id=%" PRId64 ",core-id=%" PRId64
                       ",thread-id=%" PRId64 "; start this machine with the "
                       "CPUs that the source has, using -smp and -device",
                       here ? "destination" : "source", props->socket_id,
                       props->cluster_id, props->core_id, props->thread_id);
            return false;
        }
    }
    vms->guest_loaded = true;
    return true;
}

static bool virt_cpu_slots_pre_load(void *opaque, Error **errp)
{
    VirtMachineState *vms = opaque;

    /* It is allocated when it is loaded. */
    g_clear_pointer(&vms->slots_migrated, g_free);
    return true;
}

/*
 * To be loaded before anything whose size depends on the number of slots, and
 * before RAM is sent: no CPU is plugged or unplugged after that, at either end.
 */
static const VMStateDescription vmstate_virt_cpu_slots = {
    .name = "virt/cpu-slots",
    .version_id = 1,
    .minimum_version_id = 1,
    .early_setup = true,
    .priority = MIG_PRI_GICV3,
    .pre_save_errp = virt_cpu_slots_pre_save,
    .pre_load_errp = virt_cpu_slots_pre_load,
    .post_load_errp = virt_cpu_slots_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(num_slots_migrated, VirtMachineState),
        VMSTATE_VBUFFER_ALLOC_UINT32(slots_migrated, VirtMachineState, 1, NULL,
                                     num_slots_migrated),
        VMSTATE_END_OF_LIST()
    }
};

/* Released machine versions must not change their migration stream. */
static bool virt_cpu_hotplug_state_needed(void *opaque)
{
    VirtMachineState *vms = opaque;

    return virt_cpu_hotplug_active(vms) ||
           !VIRT_MACHINE_GET_CLASS(vms)->no_cpu_hotplug;
}

static bool virt_cpu_hotplug_pre_save(void *opaque, Error **errp)
{
    VirtMachineState *vms = opaque;

    vms->cpu_hotplug_migrated = virt_cpu_hotplug_active(vms);
    return true;
}

static void virt_cpu_hotplug_set_surplus(Error **errp)
{
    error_setg(errp, "This machine has CPU hotplug, and the source does not; "
               "start this machine with 'cpu-hotplug=off'");
}

static bool virt_cpu_hotplug_post_load(void *opaque, int version_id,
                                       Error **errp)
{
    VirtMachineState *vms = opaque;

    if (vms->cpu_hotplug_migrated == virt_cpu_hotplug_active(vms)) {
        return true;
    }
    if (vms->cpu_hotplug_migrated) {
        error_setg(errp, "The source has CPU hotplug, and this machine does "
                   "not: %s", vms->cpu_hotplug_blocker);
    } else {
        virt_cpu_hotplug_set_surplus(errp);
    }
    return false;
}

bool virt_cpu_check_loaded(VirtMachineState *vms, Error **errp)
{
    if (virt_cpu_hotplug_active(vms) && !vms->guest_loaded) {
        virt_cpu_hotplug_set_surplus(errp);
        return false;
    }
    return true;
}

/*
 * Whether there is CPU hotplug may depend on the host, and many devices depend
 * on it: this has to be the first thing to be loaded.
 */
static const VMStateDescription vmstate_virt_cpu_hotplug = {
    .name = "virt/cpu-hotplug",
    .version_id = 1,
    .minimum_version_id = 1,
    .early_setup = true,
    .priority = MIG_PRI_GICV3,
    .needed = virt_cpu_hotplug_state_needed,
    .pre_save_errp = virt_cpu_hotplug_pre_save,
    .post_load_errp = virt_cpu_hotplug_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(cpu_hotplug_migrated, VirtMachineState),
        VMSTATE_END_OF_LIST()
    }
};

void virt_cpu_vmstate_register(VirtMachineState *vms)
{
    /* What is registered first is loaded first. */
    vmstate_register(NULL, 0, &vmstate_virt_cpu_hotplug, vms);
    if (virt_cpu_hotplug_active(vms)) {
        vmstate_register(NULL, 0, &vmstate_virt_cpu_slots, vms);
    }
}
