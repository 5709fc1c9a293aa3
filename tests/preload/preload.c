/*
 * Loaded into QEMU before all else, has calls of the C library fail or wait.
 *
 * What it does is asked for while QEMU runs, by files in the folder that the
 * environment variable PRELOAD_FOLDER names:
 *
 *   fail  "CALL N ID": the Nth call of CALL fails from now on; another ID
 *         starts counting anew. Then there is the file "failed".
 *   kick  A thread that has unmapped memory, and is not the first one of the
 *         process, gets the signal by which QEMU kicks the threads of vCPUs.
 *         Then there is the file "kicked".
 *   hold-N  "CALL LOCKS ID": the thread of vCPU N stops where it holds LOCKS
 *         mutexes and CALL is "unlock", having let one go, or "lock", before
 *         it takes one. Then there is the file "held-N". It goes on when
 *         "hold-N" is gone, or has other words or another ID in it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* linux/kvm.h has it for Arm only. */
#define ARM_VCPU_INIT_NR 0xae

static const char *path(char *buffer, size_t size, const char *name)
{
    const char *folder = getenv("PRELOAD_FOLDER");

    snprintf(buffer, size, "%s/%s", folder ? folder : "/nonexistent", name);
    return buffer;
}

static bool there_is(const char *name)
{
    char buffer[256];

    return access(path(buffer, sizeof(buffer), name), F_OK) == 0;
}

static void leave(const char *name)
{
    char buffer[256];
    int fd = open(path(buffer, sizeof(buffer), name), O_CREAT | O_WRONLY, 0600);

    if (fd >= 0) {
        close(fd);
    }
}

#define ORDER_SIZE 64

/* What the file NAME asks for, its text in ORDER and the first two words. */
static bool read_order(const char *name, char *order, char *word, int *number)
{
    char buffer[256];
    ssize_t size;
    int fd = open(path(buffer, sizeof(buffer), name), O_RDONLY);

    if (fd < 0) {
        return false;
    }
    size = read(fd, order, ORDER_SIZE - 1);
    close(fd);
    if (size <= 0) {
        return false;
    }
    order[size] = 0;
    return sscanf(order, "%31s %d", word, number) == 2;
}

/* Whether this call is the one that is to fail. */
static bool is_to_fail(const char *call)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char counted[ORDER_SIZE];
    static int count;
    char wanted[ORDER_SIZE], name[32];
    int number;
    bool result;

    if (!read_order("fail", wanted, name, &number) || strcmp(name, call)) {
        return false;
    }
    pthread_mutex_lock(&lock);
    if (strcmp(wanted, counted)) {
        strcpy(counted, wanted);
        count = 0;
    }
    result = ++count == number;
    pthread_mutex_unlock(&lock);
    if (result) {
        leave("failed");
    }
    return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*start)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)
        = dlsym(RTLD_NEXT, "pthread_create");

    return is_to_fail("pthread_create") ? EAGAIN
                                        : real(thread, attr, start, arg);
}

static void *do_mmap(const char *symbol, void *start, size_t size, int prot,
                     int flags, int fd, off_t offset)
{
    void *(*real)(void *, size_t, int, int, int, off_t) =
        dlsym(RTLD_NEXT, symbol);

    if (is_to_fail("mmap")) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return real(start, size, prot, flags, fd, offset);
}

void *mmap(void *start, size_t size, int prot, int flags, int fd, off_t offset)
{
    return do_mmap("mmap", start, size, prot, flags, fd, offset);
}

void *mmap64(void *start, size_t size, int prot, int flags, int fd,
             off64_t offset)
{
    return do_mmap("mmap64", start, size, prot, flags, fd, offset);
}

int munmap(void *start, size_t size)
{
    int (*real)(void *, size_t) = dlsym(RTLD_NEXT, "munmap");
    int result = real(start, size);

    if (there_is("kick") && gettid() != getpid()) {
        pthread_kill(pthread_self(), SIGUSR1);
        leave("kicked");
    }
    return result;
}

static const char *ioctl_name(unsigned long request)
{
    if (_IOC_TYPE(request) != KVMIO) {
        return NULL;
    }
    switch (_IOC_NR(request)) {
    case _IOC_NR(KVM_CREATE_VCPU):
        return "KVM_CREATE_VCPU";
    case _IOC_NR(KVM_GET_VCPU_MMAP_SIZE):
        return "KVM_GET_VCPU_MMAP_SIZE";
    case ARM_VCPU_INIT_NR:
        return "KVM_ARM_VCPU_INIT";
    case _IOC_NR(KVM_GET_ONE_REG):
        return "KVM_GET_ONE_REG";
    case _IOC_NR(KVM_SET_ONE_REG):
        return "KVM_SET_ONE_REG";
    default:
        return NULL;
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    const char *name = ioctl_name(request);
    va_list list;
    void *arg;

    va_start(list, request);
    arg = va_arg(list, void *);
    va_end(list);
    if (name && is_to_fail(name)) {
        errno = ENOMEM;
        return -1;
    }
    return real(fd, request, arg);
}

/* How many mutexes this thread holds; a condition that it waits for has one. */
static __thread int locks;

/* The number of the vCPU whose thread this is, or -1 */
static int vcpu_number(void)
{
    static __thread int number;         /* and 2 more; 0: not known yet */
    char name[16];

    if (!number) {
        /* QEMU names its threads before they do anything else. */
        if (pthread_getname_np(pthread_self(), name, sizeof(name)) ||
            sscanf(name, "CPU %d/", &number) != 1) {
            number = -1;
        }
        number += 2;
    }
    return number - 2;
}

static void hold(const char *call)
{
    char name[16], held[16], order[ORDER_SIZE], now[ORDER_SIZE], word[32];
    int number = vcpu_number(), wanted;

    if (number < 0) {
        return;
    }
    snprintf(name, sizeof(name), "hold-%d", number);
    if (!read_order(name, order, word, &wanted) || strcmp(word, call) ||
        wanted != locks) {
        return;
    }
    snprintf(held, sizeof(held), "held-%d", number);
    leave(held);
    do {
        usleep(1000);
    } while (read_order(name, now, word, &wanted) && !strcmp(now, order));
}

typedef int MutexCall(pthread_mutex_t *mutex);

/* The C library's own; looked up once, as these are called all the time. */
static MutexCall *real_call(_Atomic(MutexCall *) *real, const char *symbol)
{
    MutexCall *call = *real;

    if (!call) {
        call = *real = (MutexCall *)dlsym(RTLD_NEXT, symbol);
    }
    return call;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static _Atomic(MutexCall *) real;
    int result;

    hold("lock");
    result = real_call(&real, "pthread_mutex_lock")(mutex);
    locks += !result;
    return result;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    static _Atomic(MutexCall *) real;
    int result = real_call(&real, "pthread_mutex_trylock")(mutex);

    locks += !result;
    return result;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    static _Atomic(MutexCall *) real;
    int result = real_call(&real, "pthread_mutex_unlock")(mutex);

    locks -= !result;
    hold("unlock");
    return result;
}
