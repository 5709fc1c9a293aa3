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
    VirtCPUSlotsState *state = opaque;
    const CPUArchIdList *slots = MACHINE(state->vms)->possible_cpus;

    state->num_slots = slots->len;
    g_free(state->taken);
    state->taken = g_new(uint8_t, slots->len);
    for (int i = 0; i < slots->len; i++) {
        state->taken[i] = slots->cpus[i].cpu != NULL;
    }
    return true;
}

static bool virt_cpu_slots_post_load(void *opaque, int version_id, Error **errp)
{
    VirtCPUSlotsState *state = opaque;
    const CPUArchIdList *slots = MACHINE(state->vms)->possible_cpus;

    if (state->num_slots != slots->len) {
        error_setg(errp, "The source has maxcpus=%" PRIu32 ", this machine "
                   "maxcpus=%d; start it with the -smp of the source",
                   state->num_slots, slots->len);
        return false;
    }

    for (int i = 0; i < slots->len; i++) {
        const CpuInstanceProperties *props = &slots->cpus[i].props;
        const bool here = slots->cpus[i].cpu != NULL;

        if (state->taken[i] != here) {
            error_setg(errp, "Only the %s has a CPU with socket-id=%" PRId64
                       ",cluster-id=%" PRId64 ",core-id=%" PRId64
                       ",thread-id=%" PRId64 "; start this machine with the "
                       "CPUs that the source has, using -smp and -device",
                       here ? "destination" : "source", props->socket_id,
                       props->cluster_id, props->core_id, props->thread_id);
            return false;
        }
    }
    state->vms->guest_loaded = true;
    return true;
}

static bool virt_cpu_slots_pre_load(void *opaque, Error **errp)
{
    VirtCPUSlotsState *state = opaque;

    /* It is allocated by the load. */
    g_clear_pointer(&state->taken, g_free);
    return true;
}

/*
 * To be loaded before anything whose size depends on the number of slots, and
 * before the state of any CPU.
 */
static const VMStateDescription vmstate_virt_cpu_slots = {
    .name = "virt/cpu-slots",
    .version_id = 1,
    .minimum_version_id = 1,
    .priority = MIG_PRI_GICV3,
    .pre_save_errp = virt_cpu_slots_pre_save,
    .pre_load_errp = virt_cpu_slots_pre_load,
    .post_load_errp = virt_cpu_slots_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(num_slots, VirtCPUSlotsState),
        VMSTATE_VBUFFER_ALLOC_UINT32(taken, VirtCPUSlotsState, 1, NULL,
                                     num_slots),
        VMSTATE_END_OF_LIST()
    }
};

void virt_cpu_slots_vmstate_register(VirtMachineState *vms)
{
    vms->cpu_slots_state.vms = vms;
    vmstate_register(NULL, 0, &vmstate_virt_cpu_slots, &vms->cpu_slots_state);
}
