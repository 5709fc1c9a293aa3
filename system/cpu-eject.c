/*
 * CPUs that the guest has ejected
 *
 * Unplugging a CPU means to wait for its thread, to run the unplug handlers of
 * the machine and to free the CPU. None of that can be done when the guest
 * ejects the CPU, in the thread of another CPU or in that of the CPU itself,
 * which others may be waiting for. So the CPU is only stopped then, which is
 * what the guest relies on, and is unplugged later.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/core/cpu.h"
#include "hw/core/hotplug.h"
#include "hw/core/qdev.h"
#include "migration/colo.h"
#include "migration/misc.h"
#include "qemu/aio.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/cpu-eject.h"
#include "system/runstate.h"

/* How often to check whether a migration has ended, in ms */
#define UNPLUG_RETRY_MS 100

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
    static bool busy;
    CPUState *cpu;

    /*
     * Unplugging drops the BQL to wait for the thread of the CPU. With COLO,
     * the migration has no end, and the guest ejects the CPU on both sides.
     */
    if (busy || (migration_is_running() && !migration_in_colo_state())) {
        return;
    }
    busy = true;
    while ((cpu = cpu_find_ejected())) {
        DeviceState *dev = DEVICE(cpu);

        hotplug_handler_unplug(qdev_get_hotplug_handler(dev), dev, NULL);
        object_unparent(OBJECT(dev));
    }
    busy = false;
}

static void cpu_schedule_unplug(void *opaque);

static void cpu_unplug_ejected_bh(void *opaque)
{
    static QEMUTimer *retry;

    /*
     * On an incoming migration, the CPU is unplugged when the machine starts.
     * After a migration, the CPUs belong to the destination.
     */
    if (runstate_check(RUN_STATE_INMIGRATE) ||
        runstate_check(RUN_STATE_POSTMIGRATE)) {
        return;
    }
    /* The end of a migration is known before its state is left. */
    if (!runstate_check(RUN_STATE_FINISH_MIGRATE)) {
        cpu_unplug_ejected();
    }
    if (!cpu_find_ejected()) {
        return;
    }

    /* Not every migration that fails or is cancelled sends an event. */
    if (!retry) {
        retry = timer_new_ms(QEMU_CLOCK_REALTIME, cpu_schedule_unplug, NULL);
    }
    timer_mod(retry, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
              UNPLUG_RETRY_MS);
}

static void cpu_schedule_unplug(void *opaque)
{
    /* Not the main context, which nested aio_poll() runs as well. */
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), cpu_unplug_ejected_bh,
                            NULL);
}

void cpu_eject(CPUState *cpu)
{
    qatomic_set(&cpu->ejected, true);
    cpu_schedule_unplug(NULL);
    cpu_pause_sync(cpu);
}

void cpu_resolve_ejected(void)
{
    CPUState *cpu;

    cpu_unplug_ejected();
    CPU_FOREACH(cpu) {
        qatomic_set(&cpu->ejected, false);
    }
}
