/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry points of the program in monitor.c, at EL1 with the MMU off. */

#define STACKS  0x40300000
#define STACK   0x4000
#define CPU_OFF 0x84000002

        .section .text.start, "ax"
        .global start, second, bounced
start:
        mov     x19, xzr
        adr     x20, first_cpu
        b       enter
        /* CPU_ON starts CPUs here, with the context id in x0. */
second:
        mov     x19, x0
        adr     x20, other_cpu
enter:
        adr     x0, vectors
        msr     vbar_el1, x0
        isb
        mrs     x0, mpidr_el1
        and     x0, x0, #15
        ldr     x1, =STACKS + STACK
        mov     x2, #STACK
        madd    x1, x0, x2, x1
        mov     sp, x1
        mov     x1, x19
        br      x20

        /* These turn themselves off at once. x0 is the address of struct cpu; no stack. */
bounced:
        mov     x1, #0xff
        msr     S3_0_C4_C6_0, x1        /* ICC_PMR_EL1 */
        mov     x1, #1
        msr     S3_0_C12_C12_7, x1      /* ICC_IGRPEN1_EL1: one may be pending, and is masked */
        isb
        ldr     x1, [x0]
        add     x1, x1, #1
        str     x1, [x0]                /* entries */
        dsb     sy
        mov     x19, x0
        ldr     w0, =CPU_OFF
        hvc     #0
stale:
        ldr     x1, [x19, #24]
        add     x1, x1, #1
        str     x1, [x19, #24]          /* laps */
        b       stale

        .ltorg

/* What was accessed is not there, or not so: go on behind the instruction, and count it. */
        .balign 0x800
vectors:
        .rept   16
        .balign 0x80
        str     x0, [sp, #-16]!
        mrs     x0, elr_el1
        add     x0, x0, #4
        msr     elr_el1, x0
        mrs     x0, tpidr_el1
        add     x0, x0, #1
        msr     tpidr_el1, x0
        ldr     x0, [sp], #16
        eret
        .endr
