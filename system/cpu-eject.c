/*
 * CPUs that the guest has given back
 *
 * To unplug a CPU is to wait for its thread, to run the unplug handlers of the
 * machine and to free the CPU. None of that can be done where the guest asks
 * for it, in the thread of another CPU or in that of the CPU itself, which
 * others may be waiting for. It can wait: what the guest relies on is that the
 * CPU does not execute anything any more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "hw/core/hotplug.h"
#include "hw/core/qdev.h"
#include "migration/misc.h"
#include "qemu/aio.h"
#include "qemu/main-loop.h"
#include "system/cpu-eject.h"
#include "system/runstate.h"

static CPUState *cpu_find_ejected(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (cpu->ejected) {
            return cpu;
        }
    }
    return NULL;
}

void cpu_unplug_ejected(void)
{
    CPUState *cpu;

    if (migration_is_running()) {
        return;
    }
    while ((cpu = cpu_find_ejected())) {
        DeviceState *dev = DEVICE(cpu);

        hotplug_handler_unplug(qdev_get_hotplug_handler(dev), dev, NULL);
        object_unparent(OBJECT(dev));
    }
}

static void cpu_unplug_ejected_bh(void *opaque)
{
    /* A CPU whose state is being loaded goes when the machine starts. */
    if (!runstate_check(RUN_STATE_INMIGRATE)) {
        cpu_unplug_ejected();
    }
}

static void cpu_schedule_unplug(void)
{
    /* Not the main context, which anyone runs who waits for I/O. */
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), cpu_unplug_ejected_bh,
                            NULL);
}

static int cpu_eject_migration_notify(NotifierWithReturn *notify,
                                      MigrationEvent *e, Error **errp)
{
    if (e->type == MIG_EVENT_FAILED) {
        cpu_schedule_unplug();
    }
    return 0;
}

void cpu_eject(CPUState *cpu)
{
    static NotifierWithReturn migration_notifier;

    if (!migration_notifier.notify) {
        migration_add_notifier_modes(&migration_notifier,
                                     cpu_eject_migration_notify,
                                     BIT(MIG_MODE__MAX) - 1);
    }

    qatomic_set(&cpu->ejected, true);
    cpu_schedule_unplug();
    cpu_pause_sync(cpu);
}

void cpu_settle_ejected(void)
{
    CPUState *cpu;

    cpu_unplug_ejected();
    CPU_FOREACH(cpu) {
        qatomic_set(&cpu->ejected, false);
    }
}
