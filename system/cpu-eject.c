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
#include "qemu/timer.h"
#include "system/cpu-eject.h"
#include "system/runstate.h"

/* How often to see whether a migration has ended, in ms */
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

    /* To wait for the thread of a CPU, the BQL is dropped. */
    if (busy || migration_is_running()) {
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
     * A CPU whose state is being loaded goes when the machine starts. After a
     * migration, the CPUs are those of the destination.
     */
    if (runstate_check(RUN_STATE_INMIGRATE) ||
        runstate_check(RUN_STATE_POSTMIGRATE)) {
        return;
    }
    cpu_unplug_ejected();
    if (!cpu_find_ejected()) {
        return;
    }

    /* Not each migration that ends while the guest goes on sends an event. */
    if (!retry) {
        retry = timer_new_ms(QEMU_CLOCK_REALTIME, cpu_schedule_unplug, NULL);
    }
    timer_mod(retry, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
              UNPLUG_RETRY_MS);
}

static void cpu_schedule_unplug(void *opaque)
{
    /* Not the main context, which anyone runs who waits for I/O. */
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), cpu_unplug_ejected_bh,
                            NULL);
}

void cpu_eject(CPUState *cpu)
{
    qatomic_set(&cpu->ejected, true);
    cpu_schedule_unplug(NULL);
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
