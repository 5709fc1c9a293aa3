/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into QEMU, this is a VFIO that hands out devices, or refuses them at one step with one
 * errno: what a kernel says that has no such device, or none of that version, at hand.
 *
 * FAKE_VFIO is that step and the number of the errno, as in "SET_IOMMU=1" or "/dev/vfio/7=13". Of
 * those that bind a device to iommufd, TOKEN is a request with a token; one without is granted then.
 * FAKE_DEVICE is what the device's number in /sys/dev/char leads to. Nodes are those of /dev/null.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/vfio.h>

/* The errno with which the step fails, or 0 */
static int refused(const char *step)
{
    const char *text = getenv("FAKE_VFIO");
    size_t length = strlen(step);

    return text && !strncmp(text, step, length) && text[length] == '=' ?
           atoi(text + length + 1) : 0;
}

static int done(const char *step, int result)
{
    int error = refused(step);

    if (error) {
        errno = error;
        return -1;
    }
    return result;
}

static int fake_open(const char *path, int flags, mode_t mode, const char *name)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);

    if (strncmp(path, "/dev/vfio/", 10) && strncmp(path, "/dev/char/", 10)) {
        return real(path, flags, mode);
    }
    /* By its number, no node is found at all. */
    if (!strncmp(path, "/dev/char/", 10)) {
        errno = ENOENT;
        return -1;
    }
    return done(path, 0) ? -1 : real("/dev/null", flags, mode);
}

#define OPEN(function)                                          \
    int function(const char *path, int flags, ...)              \
    {                                                           \
        va_list arguments;                                      \
        mode_t mode;                                            \
                                                                \
        va_start(arguments, flags);                             \
        mode = va_arg(arguments, int);                          \
        va_end(arguments);                                      \
        return fake_open(path, flags, mode, #function);         \
    }

OPEN(open)
OPEN(open64)

char *realpath(const char *path, char *resolved)
{
    char *(*real)(const char *, char *) = dlsym(RTLD_NEXT, "realpath");
    const char *device = getenv("FAKE_DEVICE");

    if (device && !strcmp(path, "/sys/dev/char/1:3/device")) {
        path = device;
    }
    return real(path, resolved);
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    va_list arguments;
    void *data;

    va_start(arguments, request);
    data = va_arg(arguments, void *);
    va_end(arguments);
    switch (request) {
    case VFIO_GET_API_VERSION:
        return VFIO_API_VERSION;
    case VFIO_CHECK_EXTENSION:
        return !refused("CHECK_EXTENSION") && data == (void *)VFIO_TYPE1v2_IOMMU;
    case VFIO_GROUP_GET_STATUS:
        ((struct vfio_group_status *)data)->flags =
            refused("VIABLE") ? 0 : VFIO_GROUP_FLAGS_VIABLE;
        return 0;
    case VFIO_GROUP_SET_CONTAINER:
        return done("SET_CONTAINER", 0);
    case VFIO_SET_IOMMU:
        return done("SET_IOMMU", 0);
    case VFIO_IOMMU_GET_INFO:
        ((struct vfio_iommu_type1_info *)data)->flags = VFIO_IOMMU_INFO_PGSIZES;
        ((struct vfio_iommu_type1_info *)data)->iova_pgsizes = 4096;
        return 0;
    case VFIO_IOMMU_MAP_DMA:
        return done("MAP_DMA", 0);
    case VFIO_IOMMU_UNMAP_DMA:
    case VFIO_GROUP_UNSET_CONTAINER:
        return 0;
    case VFIO_GROUP_GET_DEVICE_FD:
        return done("GET_DEVICE", -1);
    case VFIO_DEVICE_BIND_IOMMUFD:
        if (refused("TOKEN")) {
            struct vfio_device_bind_iommufd *bind = data;

            return bind->flags & VFIO_DEVICE_BIND_FLAG_TOKEN ? done("TOKEN", 0) : 0;
        }
        return done("BIND", -1);
    default:
        return real(fd, request, data);
    }
}
