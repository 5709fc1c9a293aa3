/*
 * Unit tests of the work that is queued for CPUs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/thread.h"
#include "exec/cpu-common.h"
#include "hw/core/cpu.h"
#include "system/cpus.h"

/*
 * The main thread plays the thread of the CPU. Another one, the caller, has
 * work for it. The mutex takes the place of the BQL.
 */
static QemuMutex mutex;
static __thread bool is_cpu_thread;

typedef struct Caller {
    CPUState *cpu;
    QemuThread thread;
    bool called;
    bool returned;
} Caller;

void cpu_exit(CPUState *cpu)
{
}

void qemu_cpu_kick(CPUState *cpu)
{
}

bool qemu_cpu_is_self(CPUState *cpu)
{
    return is_cpu_thread;
}

static CPUState *new_cpu(void)
{
    CPUState *cpu = g_new0(CPUState, 1);

    qemu_mutex_init(&cpu->work_mutex);
    QSIMPLEQ_INIT(&cpu->work_list);
    cpu->created = true;
    return cpu;
}

static void free_cpu(CPUState *cpu)
{
    g_assert(QSIMPLEQ_EMPTY(&cpu->work_list));
    qemu_mutex_destroy(&cpu->work_mutex);
    g_free(cpu);
}

static void work(CPUState *cpu, run_on_cpu_data data)
{
    Caller *caller = data.host_ptr;

    g_assert(is_cpu_thread);
    g_assert(cpu == caller->cpu);
    caller->called = true;
}

static void *caller_thread(void *opaque)
{
    Caller *caller = opaque;

    qemu_mutex_lock(&mutex);
    do_run_on_cpu(caller->cpu, work, RUN_ON_CPU_HOST_PTR(caller), &mutex);
    caller->returned = true;
    qemu_mutex_unlock(&mutex);
    return NULL;
}

static void start_caller(Caller *caller)
{
    qemu_thread_create(&caller->thread, "caller", caller_thread, caller,
                       QEMU_THREAD_JOINABLE);
}

/* Have a caller wait for its work to be done. The mutex is held. */
static void start_waiter(Caller *caller)
{
    start_caller(caller);
    while (QSIMPLEQ_EMPTY_ATOMIC(&caller->cpu->work_list)) {
        qemu_mutex_unlock(&mutex);
        g_usleep(1000);
        qemu_mutex_lock(&mutex);
    }
    g_assert(!caller->returned);
}

static void test_done(void)
{
    Caller caller = { .cpu = new_cpu() };

    qemu_mutex_lock(&mutex);
    start_waiter(&caller);
    process_queued_cpu_work(caller.cpu);
    g_assert(caller.called);
    qemu_mutex_unlock(&mutex);
    qemu_thread_join(&caller.thread);
    g_assert(caller.returned);
    free_cpu(caller.cpu);
}

/* A caller that walks the list must not be left with a CPU that is gone. */
static void test_done_before_removal(void)
{
    Caller caller = { .cpu = new_cpu() };

    qemu_mutex_lock(&mutex);
    start_waiter(&caller);
    caller.cpu->unplug = true;
    process_queued_cpu_work(caller.cpu);
    end_queued_cpu_work(caller.cpu);
    g_assert(caller.called && !caller.returned);
    do_wait_for_work_waiters(caller.cpu, &mutex);
    g_assert(caller.returned);
    qemu_mutex_unlock(&mutex);
    qemu_thread_join(&caller.thread);
    free_cpu(caller.cpu);
}

static void test_not_done(void)
{
    Caller caller = { .cpu = new_cpu() };
    Caller later = { .cpu = caller.cpu };

    qemu_mutex_lock(&mutex);
    start_waiter(&caller);
    async_run_on_cpu(caller.cpu, work, RUN_ON_CPU_HOST_PTR(&later));
    caller.cpu->unplug = true;
    end_queued_cpu_work(caller.cpu);
    do_wait_for_work_waiters(caller.cpu, &mutex);
    g_assert(caller.returned && !caller.called && !later.called);
    qemu_mutex_unlock(&mutex);
    qemu_thread_join(&caller.thread);
    free_cpu(caller.cpu);
}

static void test_too_late(void)
{
    Caller caller = { .cpu = new_cpu() };

    caller.cpu->unplug = true;
    end_queued_cpu_work(caller.cpu);
    async_run_on_cpu(caller.cpu, work, RUN_ON_CPU_HOST_PTR(&caller));
    async_safe_run_on_cpu(caller.cpu, work, RUN_ON_CPU_HOST_PTR(&caller));
    start_caller(&caller);
    qemu_thread_join(&caller.thread);
    g_assert(caller.returned && !caller.called);
    free_cpu(caller.cpu);
}

/* Work may be queued before the thread of the CPU is there. */
static void test_early(void)
{
    Caller caller = { .cpu = new_cpu() };

    caller.cpu->created = false;
    async_run_on_cpu(caller.cpu, work, RUN_ON_CPU_HOST_PTR(&caller));
    caller.cpu->created = true;
    process_queued_cpu_work(caller.cpu);
    g_assert(caller.called);
    free_cpu(caller.cpu);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_cpu_list();
    qemu_mutex_init(&mutex);
    is_cpu_thread = true;

    g_test_add_func("/cpu-work/done", test_done);
    g_test_add_func("/cpu-work/done-before-removal", test_done_before_removal);
    g_test_add_func("/cpu-work/not-done", test_not_done);
    g_test_add_func("/cpu-work/too-late", test_too_late);
    g_test_add_func("/cpu-work/early", test_early);
    return g_test_run();
}
