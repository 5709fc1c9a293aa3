/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program that runs in place of firmware on the machine virt, and does what its UART says:
 * hypercalls and accesses to registers that no real guest would do. The tests are in
 * tests/support/pscicases.py.
 *
 * One line is one order; all numbers are hexadecimal. The answer is "= " and a decimal number.
 *
 *   call F A B C       the hypercall F, lower half of its result
 *   while F A B C R    the same, again and again as long as the result is R
 *   read A W           a register of W bytes at the address A
 *   write A W V        likewise; the answer is how many accesses to memory failed so far
 *   interrupts         have the CPU interface of the GIC take them
 *   acknowledge        the interrupt that is pending, 1023 for none; it is active from now on
 *   bounce C N         CPU_ON of CPU C until it succeeded N times; each time it turns itself off.
 *                      Its field 3 counts what it does after that
 *   tlbi C             have all CPUs drop their TLBs, again and again as long as CPU C has an order
 *   key                a character from the console of semihosting, which is waited for
 *   debug N            set and clear a breakpoint and a watchpoint, N times
 *   storm S N          N accesses to the registers of CPU hotplug, chosen by the seed S
 *   on C ORDER         have CPU C do one of these, and do not wait for it; 0, or 1 if it is busy
 *   field C I          what is known of CPU C: see struct cpu, field I
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define UART        0x09000000UL
#define HOTPLUG     0x090d0000UL
#define CPUS        16
#define CPU_ON      0xc4000003UL

/* All CPUs run with the MMU off, so nothing is cached, and there are no atomic accesses. */
static volatile struct cpu {
    u64 entries;                /* 0: how often it was started */
    u64 context;                /* 1: x0 of the last start */
    u64 mpidr;                  /* 2 */
    u64 laps;                   /* 3: grows as long as it runs and has nothing to do */
    u64 order;                  /* 4: nonzero as long as it does what it was told */
    u64 result;                 /* 5: of the last order */
    u64 args[8];
} cpus[CPUS];

extern u64 bss[], bss_end[];
extern char second[], bounced[];

/* These have a syndrome, which KVM needs: no pairs, and no write-back of the address. */
static u64 load(u64 address, u64 width)
{
    u64 value = 0;

    switch (width) {
    case 1:
        asm volatile("ldrb %w0, [%1]" : "+r"(value) : "r"(address) : "memory");
        break;
    case 2:
        asm volatile("ldrh %w0, [%1]" : "+r"(value) : "r"(address) : "memory");
        break;
    case 4:
        asm volatile("ldr %w0, [%1]" : "+r"(value) : "r"(address) : "memory");
        break;
    case 8:
        asm volatile("ldr %0, [%1]" : "+r"(value) : "r"(address) : "memory");
        break;
    }
    return value;
}

static void store(u64 address, u64 width, u64 value)
{
    switch (width) {
    case 1:
        asm volatile("strb %w0, [%1]" : : "r"(value), "r"(address) : "memory");
        break;
    case 2:
        asm volatile("strh %w0, [%1]" : : "r"(value), "r"(address) : "memory");
        break;
    case 4:
        asm volatile("str %w0, [%1]" : : "r"(value), "r"(address) : "memory");
        break;
    case 8:
        asm volatile("str %0, [%1]" : : "r"(value), "r"(address) : "memory");
        break;
    }
}

static u64 faults(void)
{
    u64 count;

    asm volatile("dsb sy; isb; mrs %0, tpidr_el1" : "=r"(count) : : "memory");
    return count;
}

static u64 hypercall(u64 function, u64 a, u64 b, u64 c)
{
    register u64 x0 asm("x0") = function;
    register u64 x1 asm("x1") = a;
    register u64 x2 asm("x2") = b;
    register u64 x3 asm("x3") = c;

    asm volatile("dsb sy; hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : :
                 "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                 "x16", "x17", "memory");
    return (int)x0;
}

static u64 random(u64 *seed)
{
    *seed = *seed * 6364136223846793005UL + 1442695040888963407UL;
    return *seed >> 33;
}

/* Mostly what the registers know, in all widths and places, and now and then anything. */
static u64 storm(u64 seed, u64 count)
{
    static const u64 selectors[] = { 0, 1, 2, 3, 4, 0x7fffffff, 0x80000000, ~0UL };

    while (count--) {
        u64 width = 1UL << random(&seed) % 4;
        u64 value = random(&seed) << 32 | random(&seed);

        switch (random(&seed) % 8) {
        case 0:
        case 1:
            store(HOTPLUG, 4, selectors[random(&seed) % 8]);
            break;
        case 2:
            store(HOTPLUG + 4, 1, value);
            break;
        case 3:
            store(HOTPLUG + 5, 1, value % 5);
            break;
        case 4:
            store(HOTPLUG + 8, 4, value % 4);
            break;
        case 5:
            store(HOTPLUG + value % 16, width, value >> 8);
            break;
        case 6:
            store((HOTPLUG + value % 16) & -width, width, random(&seed) % 2 ? 8 : ~0UL);
            break;
        case 7:
            load(HOTPLUG + value % 16, width);
            break;
        }
    }
    return faults();
}

static u64 bounce(u64 number, u64 count)
{
    volatile struct cpu *cpu = &cpus[number % CPUS];
    u64 tries = 0;

    cpu->entries = cpu->laps = 0;
    for (u64 done = 0; done < count; tries++) {
        done += hypercall(CPU_ON, number, (u64)bounced, (u64)cpu) == 0;
    }
    return tries;
}

static u64 tlbi(u64 number)
{
    u64 count = 0;

    while (cpus[number % CPUS].order) {
        asm volatile("tlbi vmalle1is; dsb sy; isb" : : : "memory");
        count++;
    }
    return count;
}

/* At addresses that nobody executes or accesses; all kinds of CPUs have two of each. */
static u64 debug(u64 count)
{
    const u64 unused = 0x7ffff000UL;

    while (count--) {
        asm volatile("msr dbgbvr0_el1, %0; msr dbgwvr0_el1, %0; msr dbgbvr1_el1, %0;"
                     "msr dbgbcr0_el1, %1; msr dbgwcr0_el1, %2; msr dbgbcr1_el1, %1; isb;"
                     "msr dbgbcr1_el1, xzr; msr dbgwcr0_el1, xzr; msr dbgbcr0_el1, xzr; isb" : :
                     "r"(unused),
                     "r"(0x1e7UL),          /* on, at EL0 and EL1 */
                     "r"(0x1fffUL));        /* the same, for loads and stores of 8 bytes */
    }
    return 0;
}

/* Semihosting for AArch64, SYS_READC */
static u64 key(void)
{
    register u64 number asm("x0") = 7;
    register u64 none asm("x1") = 0;

    asm volatile("hlt #0xf000" : "+r"(number) : "r"(none) : "memory");
    return number;
}

static u64 obey(u64 order, const volatile u64 *args)
{
    u64 result;

    switch (order) {
    case 'c':
        return hypercall(args[0], args[1], args[2], args[3]);
    case 'w' + 'h':
        do {
            result = hypercall(args[0], args[1], args[2], args[3]);
        } while (result == (u64)(int)args[4]);
        return result;
    case 'r':
        return load(args[0], args[1]);
    case 'w' + 'r':
        store(args[0], args[1], args[2]);
        return faults();
    case 'i':
        asm volatile("msr S3_0_C4_C6_0, %0; msr S3_0_C12_C12_7, %1; isb" : :
                     "r"(0xffUL),           /* ICC_PMR_EL1 */
                     "r"(1UL));             /* ICC_IGRPEN1_EL1 */
        return 0;
    case 'a':
        asm volatile("dsb sy; mrs %0, S3_0_C12_C12_0; dsb sy" : "=r"(result));  /* ICC_IAR1_EL1 */
        return result;
    case 'd':
        return debug(args[0]);
    case 's':
        return storm(args[0], args[1]);
    case 'b':
        return bounce(args[0], args[1]);
    case 't':
        return tlbi(args[0]);
    case 'k':
        return key();
    default:
        return ~0UL;
    }
}

static void put(char c)
{
    while (load(UART + 0x18, 4) & 0x20) {
    }
    store(UART, 4, c);
}

static void text(const char *s)
{
    while (*s) {
        put(*s++);
    }
}

static void decimal(long number)
{
    char digits[24];
    u64 rest = number < 0 ? -(u64)number : (u64)number;
    int n = 0;

    if (number < 0) {
        put('-');
    }
    do {
        digits[n++] = '0' + rest % 10;
        rest /= 10;
    } while (rest);
    while (n) {
        put(digits[--n]);
    }
}

static char get(void)
{
    while (load(UART + 0x18, 4) & 0x10) {
    }
    return load(UART, 4);
}

static const char *word(const char *s)
{
    while (*s && *s != ' ') {
        s++;
    }
    while (*s == ' ') {
        s++;
    }
    return s;
}

/* What the first one or two letters stand for; "while" and "write" begin alike. */
static u64 order_of(const char *s)
{
    return s[0] == 'w' ? s[0] + s[1] : s[0];
}

static void numbers(const char *s, volatile u64 *args)
{
    for (int i = 0; i < 8; i++, s = word(s)) {
        u64 value = 0;

        for (const char *p = s; *p && *p != ' '; p++) {
            value = value << 4 | (*p >= 'a' ? *p - 'a' + 10 : *p - '0');
        }
        args[i] = value;
    }
}

static u64 line(const char *s)
{
    u64 args[8];

    numbers(word(s), args);
    if (s[0] == 'o') {
        volatile struct cpu *cpu = &cpus[args[0] % CPUS];

        if (cpu->order) {
            return 1;
        }
        s = word(word(s));
        numbers(word(s), cpu->args);
        asm volatile("dsb sy" : : : "memory");
        cpu->order = order_of(s);
        return 0;
    }
    if (s[0] == 'f') {
        return ((volatile u64 *)&cpus[args[0] % CPUS])[args[1] % 6];
    }
    return obey(order_of(s), args);
}

void first_cpu(void)
{
    /* A reset does not clear memory. */
    for (volatile u64 *p = bss; p < bss_end; p++) {
        *p = 0;
    }
    asm volatile("msr tpidr_el1, xzr");
    store(UART + 0x2c, 4, 0x70);        /* eight bits, FIFOs */
    store(UART + 0x30, 4, 0x301);       /* on */
    text("\nguest-ready ");
    decimal((u64)second);
    text("\n");
    for (;;) {
        char buffer[128];
        u64 n = 0;

        while ((buffer[n] = get()) != '\n') {
            n += n < sizeof(buffer) - 1;
        }
        buffer[n] = 0;
        n = line(buffer);
        text("= ");
        decimal(n);
        text("\n");
    }
}

void other_cpu(u64 number, u64 context)
{
    volatile struct cpu *cpu = &cpus[number];

    asm volatile("msr tpidr_el1, xzr");
    asm volatile("mrs %0, mpidr_el1" : "=r"(number));
    cpu->context = context;
    cpu->mpidr = number;
    cpu->order = 0;
    cpu->result = 0;
    asm volatile("dsb sy" : : : "memory");
    cpu->entries++;
    for (;;) {
        asm volatile("yield; dsb sy" : : : "memory");
        if (cpu->order) {
            u64 result = obey(cpu->order, cpu->args);

            cpu->result = result;
            asm volatile("dsb sy" : : : "memory");
            cpu->order = 0;
        } else {
            cpu->laps++;
        }
    }
}
