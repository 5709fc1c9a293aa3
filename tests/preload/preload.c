/*
 * Loaded into QEMU before all else, has calls of the C library fail or wait.
 *
 * What it does is asked for while QEMU runs, by files in the folder that the
 * environment variable PRELOAD_FOLDER names:
 *
 *   fail  "CALL N ID": the Nth call of CALL fails from now on; another ID
 *         starts counting anew. Then there is the file "failed". For
 *         KVM_CHECK_EXTENSION, CALL is the capability.
 *   kick  A thread that has unmapped memory, and is not the first one of the
 *         process, gets the signal by which QEMU kicks the threads of vCPUs.
 *         Then there is the file "kicked".
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

/* Whether this call is the one that is to fail. */
static bool is_to_fail(const char *call)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char counted[64];
    static int count;
    char buffer[256], wanted[64] = "", name[32];
    int fd, number;
    bool result = false;

    fd = open(path(buffer, sizeof(buffer), "fail"), O_RDONLY);
    if (fd < 0) {
        return false;
    }
    if (read(fd, wanted, sizeof(wanted) - 1) > 0 &&
        sscanf(wanted, "%31s %d", name, &number) == 2 && !strcmp(name, call)) {
        pthread_mutex_lock(&lock);
        if (strcmp(wanted, counted)) {
            strcpy(counted, wanted);
            count = 0;
        }
        result = ++count == number;
        pthread_mutex_unlock(&lock);
    }
    close(fd);
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

static const char *ioctl_name(unsigned long request, unsigned long arg)
{
    if (_IOC_TYPE(request) != KVMIO) {
        return NULL;
    }
    switch (_IOC_NR(request)) {
    case _IOC_NR(KVM_CHECK_EXTENSION):
        return arg == KVM_CAP_STEAL_TIME ? "KVM_CAP_STEAL_TIME" : NULL;
    case _IOC_NR(KVM_CREATE_VCPU):
        return "KVM_CREATE_VCPU";
    case _IOC_NR(KVM_GET_VCPU_MMAP_SIZE):
        return "KVM_GET_VCPU_MMAP_SIZE";
    case ARM_VCPU_INIT_NR:
        return "KVM_ARM_VCPU_INIT";
    default:
        return NULL;
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    const char *name;
    va_list list;
    void *arg;

    va_start(list, request);
    arg = va_arg(list, void *);
    va_end(list);
    name = ioctl_name(request, (unsigned long)arg);
    if (name && is_to_fail(name)) {
        errno = ENOMEM;
        return -1;
    }
    return real(fd, request, arg);
}
