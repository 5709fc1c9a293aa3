/*
 * What stands in the way of a host device
 *
 * VFIO answers with an errno; what it means is in sysfs, where users otherwise
 * have to look for it themselves.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include "qemu/units.h"
#include "vfio-host-device.h"

/* How many devices of a group are named before a message gets too long */
#define MAX_CULPRITS 8

#define TYPE1_MODULE "/sys/module/vfio_iommu_type1"
#define DMA_ENTRY_LIMIT TYPE1_MODULE "/parameters/dma_entry_limit"

/* Returns: the name of what the link @name of a device points to, or NULL */
static char *vfio_host_device_link(const char *sysfsdev, const char *name)
{
    g_autofree char *path = NULL;
    g_autofree char *target = NULL;

    if (!sysfsdev) {
        return NULL;
    }
    path = g_build_filename(sysfsdev, name, NULL);
    target = g_file_read_link(path, NULL);
    return target ? g_path_get_basename(target) : NULL;
}

static char *vfio_host_device_driver(const char *sysfsdev)
{
    return vfio_host_device_link(sysfsdev, "driver");
}

/*
 * Whether the device's driver hands it to user space. Linux 6.1 and newer show
 * that as a folder; before that, there is only the name of the driver.
 */
static bool vfio_host_device_is_vfio(const char *sysfsdev, const char *driver)
{
    g_autofree char *vfio_dev = g_build_filename(sysfsdev, "vfio-dev", NULL);

    return g_file_test(vfio_dev, G_FILE_TEST_IS_DIR) || strstr(driver, "vfio");
}

static bool vfio_host_device_is_pci_bridge(const char *sysfsdev)
{
    g_autofree char *path = g_build_filename(sysfsdev, "class", NULL);
    g_autofree char *class = NULL;

    return g_file_get_contents(path, &class, NULL, NULL) &&
           g_str_has_prefix(class, "0x0604");
}

/*
 * Returns: the driver because of which the kernel does not give away the group
 * of this device, or NULL. It lets bridges and pci-stub keep theirs.
 */
static char *vfio_host_device_host_driver(const char *sysfsdev)
{
    g_autofree char *driver = vfio_host_device_driver(sysfsdev);

    if (!driver || g_str_equal(driver, "pci-stub") ||
        vfio_host_device_is_vfio(sysfsdev, driver) ||
        vfio_host_device_is_pci_bridge(sysfsdev)) {
        return NULL;
    }
    return g_steal_pointer(&driver);
}

static gint vfio_host_compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Returns: sorted texts "DEVICE (DRIVER)"; empty if sysfs does not tell */
static GPtrArray *vfio_host_group_culprits(const char *sysfsdev)
{
    GPtrArray *culprits = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *path = NULL;
    const char *name;
    GDir *dir;

    if (!sysfsdev) {
        return culprits;
    }
    path = g_build_filename(sysfsdev, "iommu_group", "devices", NULL);
    dir = g_dir_open(path, 0, NULL);
    if (!dir) {
        return culprits;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *device = g_build_filename(path, name, NULL);
        g_autofree char *driver = vfio_host_device_host_driver(device);

        if (driver) {
            g_ptr_array_add(culprits,
                            g_strdup_printf("%s (%s)", name, driver));
        }
    }
    g_dir_close(dir);
    g_ptr_array_sort(culprits, vfio_host_compare_names);
    return culprits;
}

char *vfio_host_explain_not_viable(const char *sysfsdev)
{
    g_autoptr(GPtrArray) culprits = vfio_host_group_culprits(sysfsdev);
    GString *text;

    if (!culprits->len) {
        return NULL;
    }
    text = g_string_new(NULL);
    for (unsigned i = 0; i < MIN(culprits->len, MAX_CULPRITS); i++) {
        g_string_append_printf(text, "%s%s", i ? ", " : "",
                               (char *)culprits->pdata[i]);
    }
    if (culprits->len > MAX_CULPRITS) {
        g_string_append_printf(text, " and %u more",
                               culprits->len - MAX_CULPRITS);
    }
    g_string_append_printf(text, " still use%s host driver%s; bind all devices "
                           "of the group to vfio-pci, or to no driver",
                           culprits->len > 1 ? "" : "s a",
                           culprits->len > 1 ? "s" : "");
    return g_string_free(text, false);
}

/* Returns: "; " and what to do about the device's driver, or nothing */
static char *vfio_host_explain_driver(const char *sysfsdev)
{
    g_autofree char *driver = NULL;

    /* Not to be taken for a device without driver */
    if (!sysfsdev || !g_file_test(sysfsdev, G_FILE_TEST_IS_DIR)) {
        return g_strdup("");
    }
    driver = vfio_host_device_driver(sysfsdev);
    if (!driver) {
        return g_strdup("; the device has no driver: bind it to vfio-pci");
    }
    if (!vfio_host_device_is_vfio(sysfsdev, driver)) {
        return g_strdup_printf("; the device uses the host driver '%s': bind "
                               "it to vfio-pci", driver);
    }
    return g_strdup("");
}

char *vfio_host_explain_no_group(const char *sysfsdev, int err)
{
    g_autofree char *driver = vfio_host_device_driver(sysfsdev);

    if (err != ENOENT) {
        return g_strdup("");
    }
    /* Linux on Arm looks for the IOMMU when a device gets its first driver. */
    return g_strdup_printf("; %sno IOMMU of the host serves the device: there "
                           "is none (on Arm, an SMMU), or it is off in "
                           "firmware or kernel", driver ? "" :
                           "the device has no driver: bind it to vfio-pci; if "
                           "it has no group then either, ");
}

char *vfio_host_explain_open(const char *sysfsdev, int err)
{
    char *text;

    switch (err) {
    case ENOENT:
        text = vfio_host_explain_driver(sysfsdev);
        if (!*text) {
            g_free(text);
            text = g_strdup("; the host's /dev/vfio is not visible to QEMU, as "
                            "in a container that was not given it");
        }
        return text;
    case EBUSY:
        return g_strdup("; another process has it");
    case EACCES:
    case EPERM:
        return g_strdup("; QEMU's user may not read and write it");
    default:
        return g_strdup("");
    }
}

char *vfio_host_explain_no_cdev(const char *sysfsdev)
{
    char *text = vfio_host_explain_driver(sysfsdev);

    if (!*text && sysfsdev) {
        g_free(text);
        text = g_strdup("; the host's kernel has no VFIO device nodes "
                        "(CONFIG_VFIO_DEVICE_CDEV): do without iommufd");
    }
    return text;
}

char *vfio_host_explain_get(const char *sysfsdev, bool vf_token, int err)
{
    g_autofree char *pf = vfio_host_device_link(sysfsdev, "physfn");
    g_autofree char *culprits = NULL;

    switch (err) {
    case EACCES:
        if (!pf) {
            return g_strdup("; this may be for want of a 'vf-token', which a "
                            "physical function needs while its virtual "
                            "functions are in use");
        }
        return g_strdup_printf("; the physical function %s is on vfio-pci, so "
                               "the 'vf-token' that it was given is needed, %s",
                               pf, vf_token ? "and this is not it"
                                            : "and none was given");
    case EINVAL:
        return g_strdup(!vf_token ? "" :
                        "; the device takes no 'vf-token', because its "
                        "physical function is not on vfio-pci, or, with "
                        "iommufd, because the host's kernel is older than "
                        "Linux 6.17");
    case EBUSY:
        culprits = vfio_host_explain_not_viable(sysfsdev);
        if (culprits) {
            return g_strdup_printf("; its IOMMU group is not viable: %s",
                                   culprits);
        }
        return g_strdup("; another process has the device, or one of its "
                        "IOMMU group");
    case ENODEV:
        return vfio_host_explain_driver(sysfsdev);
    default:
        return g_strdup("");
    }
}

char *vfio_host_explain_no_iommu_type(void)
{
    return g_strdup(g_file_test(TYPE1_MODULE, G_FILE_TEST_IS_DIR) ? "" :
                    "; the host's kernel module vfio_iommu_type1 is not "
                    "loaded");
}

char *vfio_host_explain_dma_map(uint64_t size, int err)
{
    g_autofree char *entries = NULL;
    struct rlimit limit;

    switch (err) {
    case ENOMEM:
        if (getrlimit(RLIMIT_MEMLOCK, &limit) ||
            limit.rlim_cur == RLIM_INFINITY) {
            return g_strdup("");
        }
        return g_strdup_printf("; VFIO locks the guest's memory, %" PRIu64
                               " KiB in this step, and the limit of locked "
                               "memory (RLIMIT_MEMLOCK) is %" PRIu64 " KiB in "
                               "all: raise it to the memory of the guest and "
                               "some more", size / KiB,
                               (uint64_t)limit.rlim_cur / KiB);
    case ENOSPC:
        if (!g_file_get_contents(DMA_ENTRY_LIMIT, &entries, NULL, NULL)) {
            return g_strdup("");
        }
        return g_strdup_printf("; the host's kernel allows %s mappings: raise "
                               "the parameter dma_entry_limit of its module "
                               "vfio_iommu_type1", g_strstrip(entries));
    default:
        return g_strdup("");
    }
}
