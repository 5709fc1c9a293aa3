/*
 * vCPU threads that give way to each other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef ACCEL_TCG_VCPU_YIELD_H
#define ACCEL_TCG_VCPU_YIELD_H

/**
 * mttcg_vcpu_yield: let other threads run if there are too few host CPUs
 *
 * For the helpers of instructions by which a guest says that it waits for
 * another of its CPUs. While there are as many host CPUs as vCPU threads, the
 * other one runs anyway, and nothing is done.
 *
 * Call it without the BQL, on the thread of a vCPU.
 */
void mttcg_vcpu_yield(void);

#endif /* ACCEL_TCG_VCPU_YIELD_H */
