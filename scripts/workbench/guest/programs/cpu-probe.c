/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's CPU does that no shell command shows. Started with taskset on the CPU that is
 * meant; cpuprobe.py puts it into guests.
 *
 *   cpu-probe counter FILE   reads the virtual counter until SIGTERM. FILE holds the latest reading
 *                            of all processes that share it; a line for each reading before that.
 *                            At the end the number of readings and of such steps back.
 *   cpu-probe cycles PERIOD  counts the cycles of a busy loop and prints their number; the PMU
 *                            interrupts after each PERIOD
 *   cpu-probe vectors        takes the longest SVE vectors that there are and prints the length
 *   cpu-probe pointers CPU   signs a pointer here and authenticates it on CPU, and the other way round
 *   cpu-probe tags CPU       tags memory here and uses it on CPU, and the other way round, with the
 *                            right tag and with a wrong one
 *   cpu-probe gap            reads the virtual counter until SIGTERM and prints the longest time
 *                            between two readings, in microseconds
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PROT_MTE
#define PROT_MTE        0x20
#endif

#define LOOP            20000000
#define LINES           3       /* about steps back, per process */

static volatile sig_atomic_t ended;

static void end(int signal)
{
    ended = signal;
}

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t counter(void)
{
    uint64_t value;

    /* Without the barrier it may be read early, before what the others wrote. */
    asm volatile("isb; mrs %0, cntvct_el0" : "=r"(value) : : "memory");
    return value;
}

static void watch_counter(const char *file)
{
    _Atomic uint64_t *latest;
    uint64_t readings = 0, back = 0;
    int fd = open(file, O_RDWR | O_CREAT, 0600);

    if (fd < 0 || ftruncate(fd, sizeof(*latest))) {
        fail(file);
    }
    latest = mmap(NULL, sizeof(*latest), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (latest == MAP_FAILED) {
        fail("mmap");
    }
    signal(SIGTERM, end);
    printf("counting\n");
    fflush(stdout);
    for (; !ended; readings++) {
        uint64_t before = atomic_load(latest), now = counter();

        if (now < before && ++back <= LINES) {
            printf("CPU %d: %lu is %lu less than a reading before\n", sched_getcpu(), now,
                   before - now);
            fflush(stdout);
        }
        /* After a step back, go on from there. */
        atomic_compare_exchange_strong(latest, &before, now);
    }
    printf("%lu readings, %lu steps back\n", readings, back);
}

static void count_cycles(uint64_t period)
{
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_HARDWARE, .size = sizeof(attributes),
        .config = PERF_COUNT_HW_CPU_CYCLES, .sample_period = period,
    };
    int fd = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
    uint64_t cycles;

    if (fd < 0) {
        fail("perf_event_open");
    }
    for (volatile int i = 0; i < LOOP; i++) {
    }
    if (read(fd, &cycles, sizeof(cycles)) != sizeof(cycles)) {
        fail("read");
    }
    printf("%lu cycles\n", cycles);
}

static void take_vectors(void)
{
    uint64_t length;

    if (prctl(PR_SVE_SET_VL, 8192) < 0) {
        fail("prctl");
    }
    asm volatile(".arch_extension sve\n\trdvl %0, #1" : "=r"(length));
    printf("%lu\n", length);
}

static void move_to(int number)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(number, &set);
    if (sched_setaffinity(0, sizeof(set), &set) || sched_getcpu() != number) {
        fail("sched_setaffinity");
    }
}

/*
 * Keys are the same on all CPUs for a process, so the algorithm has to be. A signature may have as
 * few as three bits, so there are many.
 */
static void sign_pointers(int here, int there)
{
    enum { COUNT = 64 };
    uint64_t plain = (uint64_t)&errno, pointers[COUNT];

    for (int lap = 0; lap < 2; lap++) {
        int changed = 0;

        move_to(lap ? there : here);
        for (uint64_t i = 0; i < COUNT; i++) {
            pointers[i] = plain;
            asm volatile(".arch_extension pauth\n\tpacda %0, %1" : "+r"(pointers[i]) : "r"(i));
            changed += pointers[i] != plain;
        }
        if (changed < COUNT / 2) {
            printf("CPU %d signs only %d of %d pointers\n", sched_getcpu(), changed, COUNT);
            exit(1);
        }
        move_to(lap ? here : there);
        for (uint64_t i = 0; i < COUNT; i++) {
            /* With a wrong signature this traps, or gives a pointer that cannot be used. */
            asm volatile("autda %0, %1" : "+r"(pointers[i]) : "r"(i));
            if (pointers[i] != plain) {
                printf("CPU %d does not accept signature %lu\n", sched_getcpu(), i);
                exit(1);
            }
        }
    }
    printf("accepted\n");
}

static sigjmp_buf after_fault;

static void fault(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    siglongjmp(after_fault, info->si_code);
}

static void tag_memory(int here, int there)
{
    struct sigaction action = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO };
    volatile char *page;

    /* Synchronous faults, and all tags but 0. */
    if (prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE | PR_MTE_TCF_SYNC |
              (0xfffeUL << PR_MTE_TAG_SHIFT), 0, 0, 0)) {
        fail("prctl");
    }
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        fail("mmap");
    }
    sigaction(SIGSEGV, &action, NULL);
    for (int lap = 0; lap < 2; lap++) {
        volatile char *tagged, *wrong;
        int code;

        move_to(lap ? there : here);
        asm volatile(".arch armv8.5-a+memtag\n\tirg %0, %1\n\tstg %0, [%0]"
                     : "=&r"(tagged) : "r"(page) : "memory");
        if (tagged == page) {
            printf("CPU %d gives no tag\n", sched_getcpu());
            exit(1);
        }
        *tagged = 1 + lap;
        move_to(lap ? here : there);
        if (*tagged != 1 + lap) {
            printf("CPU %d reads another value\n", sched_getcpu());
            exit(1);
        }
        wrong = (volatile char *)((uint64_t)tagged ^ 1UL << 56);
        code = sigsetjmp(after_fault, 1);
        if (!code) {
            *wrong = 9;
            printf("CPU %d takes a wrong tag\n", sched_getcpu());
            exit(1);
        }
        if (code != SEGV_MTESERR || *tagged != 1 + lap) {
            printf("CPU %d faults with code %d, and the value is %d\n", sched_getcpu(), code,
                   *tagged);
            exit(1);
        }
    }
    printf("checked\n");
}

static void watch_gap(void)
{
    uint64_t frequency, longest = 0, before;

    asm("mrs %0, cntfrq_el0" : "=r"(frequency));
    signal(SIGTERM, end);
    printf("watching\n");
    fflush(stdout);
    before = counter();
    while (!ended) {
        uint64_t now = counter();

        if (now - before > longest) {
            longest = now - before;
        }
        before = now;
    }
    printf("%lu\n", longest * 1000000 / frequency);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "counter")) {
        watch_counter(argv[2]);
    } else if (argc == 3 && !strcmp(argv[1], "cycles")) {
        count_cycles(strtoull(argv[2], NULL, 0));
    } else if (argc == 2 && !strcmp(argv[1], "vectors")) {
        take_vectors();
    } else if (argc == 3 && !strcmp(argv[1], "pointers")) {
        sign_pointers(sched_getcpu(), atoi(argv[2]));
    } else if (argc == 3 && !strcmp(argv[1], "tags")) {
        tag_memory(sched_getcpu(), atoi(argv[2]));
    } else if (argc == 2 && !strcmp(argv[1], "gap")) {
        watch_gap();
    } else {
        return 2;
    }
    return 0;
}
