/*
 * CPUs that the guest has ejected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_CPU_EJECT_H
#define SYSTEM_CPU_EJECT_H

/**
 * cpu_eject: Stop a CPU that the guest ejects, and unplug it later
 * @cpu: the CPU
 *
 * For devices whose registers let a guest eject a CPU. When this returns,
 * @cpu executes no guest code, and will not do so any more; if @cpu is the one
 * that executes the caller, it stops soon after the access to the register.
 * It goes on to process work that is queued for it, until it is unplugged by
 * the main loop. There are two exceptions: with HVF, an access to a device that
 * @cpu had made before may still be emulated, and with MSHV, a CPU that was
 * about to enter the guest executes it until its next exit.
 *
 * To be called with the BQL held, which is dropped meanwhile. A CPU with
 * cpu->ejected must not be allowed to eject others: two CPUs that eject each
 * other would wait for each other.
 */
void cpu_eject(CPUState *cpu);

/**
 * cpu_unplug_ejected: Unplug the CPUs that the guest has ejected
 *
 * Does nothing during an outgoing migration other than with COLO, because the
 * destination has the CPUs that were there when it began.
 *
 * To be called with the BQL held, but not by the thread of a vCPU, when
 * neither CPUs nor what belongs to them, like reset and state change handlers,
 * are being walked. Not to be called after migration_shutdown().
 */
void cpu_unplug_ejected(void);

/**
 * cpu_resolve_ejected: Unplug the CPUs the guest has ejected, or undo the eject
 *
 * To be called when the machine is reset, before anything else is done. During
 * an outgoing migration, the guest has these CPUs again after the reset.
 */
void cpu_resolve_ejected(void);

#endif
