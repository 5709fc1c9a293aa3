/*
 * Arm GICv3: CPU hotplug
 *
 * A CPU can be plugged into a redistributor that exists from the start, and
 * unplugged from it. The state of the redistributor belongs to the guest and
 * stays as it is; that of the CPU interface belongs to the CPU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/core/cpu.h"
#include "hw/core/hotplug.h"
#include "gicv3_internal.h"
#include "trace.h"

static GICv3CPUState *gicv3_cpu_slot(GICv3State *s, CPUState *cpu)
{
    uint64_t affinity = cpu->cc->get_arch_id(cpu);

    for (uint32_t i = 0; i < s->nb_mp_affinity; i++) {
        if (s->mp_affinity[i] == affinity) {
            return &s->cpu[i];
        }
    }
    return NULL;
}

static void gicv3_cpu_plug(HotplugHandler *handler, DeviceState *dev,
                           Error **errp)
{
    GICv3State *s = ARM_GICV3_COMMON(handler);
    ARMGICv3CommonClass *c = ARM_GICV3_COMMON_GET_CLASS(s);
    CPUState *cpu = CPU(dev);
    GICv3CPUState *cs = gicv3_cpu_slot(s, cpu);

    if (!c->cpu_plug) {
        error_setg(errp, "%s does not support CPU hotplug",
                   object_get_typename(OBJECT(s)));
        return;
    }
    if (!cs || cs->cpu) {
        error_setg(errp, "The GIC has no free redistributor for a CPU with "
                   "MPIDR affinity 0x%" PRIx64, cpu->cc->get_arch_id(cpu));
        return;
    }

    gicv3_init_ppis(s, cs - s->cpu + 1);
    cs->cpu = cpu;
    gicv3_set_gicv3state(cpu, cs);
    if (!c->cpu_plug(cs, errp)) {
        gicv3_set_gicv3state(cpu, NULL);
        cs->cpu = NULL;
        return;
    }
    trace_gicv3_cpu_plug(gicv3_redist_affid(cs));
}

static void gicv3_cpu_unplug(HotplugHandler *handler, DeviceState *dev,
                             Error **errp)
{
    GICv3State *s = ARM_GICV3_COMMON(handler);
    ARMGICv3CommonClass *c = ARM_GICV3_COMMON_GET_CLASS(s);
    CPUState *cpu = CPU(dev);
    GICv3CPUState *cs = gicv3_cpu_slot(s, cpu);

    g_assert(cs && cs->cpu == cpu);

    trace_gicv3_cpu_unplug(gicv3_redist_affid(cs));
    gicv3_set_gicv3state(cpu, NULL);
    cs->cpu = NULL;
    if (c->cpu_unplug) {
        c->cpu_unplug(cs);
    }
}

void gicv3_hotplug_class_init(ObjectClass *klass)
{
    HotplugHandlerClass *hc = HOTPLUG_HANDLER_CLASS(klass);

    hc->plug = gicv3_cpu_plug;
    hc->unplug = gicv3_cpu_unplug;
}
