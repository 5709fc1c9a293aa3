/*
 * Why VFIO cannot use a host device
 *
 * VFIO answers with an errno; what it means is in sysfs, where users otherwise
 * have to look for it themselves. The table in
 * docs/system/devices/vfio-pci.rst says where Linux gives which errno.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include "qemu/bitops.h"
#include "qemu/units.h"
#include "vfio-host-device.h"

/* How many devices of a group are named before a message gets too long */
#define MAX_CULPRITS 8

#define TYPE1 "vfio_iommu_type1"
#ifdef _ARCH_PPC64
#define IOMMU_DRIVER "vfio_iommu_spapr_tce"
#else
#define IOMMU_DRIVER TYPE1
#endif

const char *vfio_host_root = "";

static char *vfio_host_read_file(const char *path)
{
    char *contents;

    if (!g_file_get_contents(path, &contents, NULL, NULL)) {
        return NULL;
    }
    return g_strchomp(contents);
}

/* Returns: what the host has in the file @path, or NULL */
static char *vfio_host_read(const char *path)
{
    g_autofree char *full = g_strconcat(vfio_host_root, path, NULL);

    return vfio_host_read_file(full);
}

static bool vfio_host_has(const char *path)
{
    g_autofree char *full = g_strconcat(vfio_host_root, path, NULL);

    return g_file_test(full, G_FILE_TEST_EXISTS);
}

/* Returns: what is in the file @name of a device, or NULL */
static char *vfio_host_device_read(const char *sysfsdev, const char *name)
{
    g_autofree char *path = g_build_filename(sysfsdev, name, NULL);

    return vfio_host_read_file(path);
}

static bool vfio_host_device_has(const char *sysfsdev, const char *name)
{
    g_autofree char *path = g_build_filename(sysfsdev, name, NULL);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* Returns: the name of what the link @name of a device points to, or NULL */
static char *vfio_host_device_link(const char *sysfsdev, const char *name)
{
    g_autofree char *path = g_build_filename(sysfsdev, name, NULL);
    g_autofree char *target = g_file_read_link(path, NULL);

    return target ? g_path_get_basename(target) : NULL;
}

/* Whether there is something to be seen of the device */
static bool vfio_host_device_is_visible(const char *sysfsdev)
{
    return sysfsdev && g_file_test(sysfsdev, G_FILE_TEST_IS_DIR);
}

/* Whether the device is of a kind that is not behind an IOMMU */
static bool vfio_host_device_is_mdev(const char *sysfsdev)
{
    g_autofree char *bus = vfio_host_device_link(sysfsdev, "subsystem");

    return bus && g_str_equal(bus, "mdev");
}

static bool vfio_host_device_is_pci(const char *sysfsdev)
{
    g_autofree char *bus = vfio_host_device_link(sysfsdev, "subsystem");

    return bus && g_str_equal(bus, "pci");
}

/* Returns: what to call the driver that the device should have */
static const char *vfio_host_vfio_driver(const char *sysfsdev)
{
    return vfio_host_device_is_pci(sysfsdev) ? "vfio-pci" : "a VFIO driver";
}

/*
 * Whether the device's driver hands it to user space. Linux 6.1 and newer show
 * that as a folder; before that, there is only the name of the driver.
 */
static bool vfio_host_device_is_vfio(const char *sysfsdev, const char *driver)
{
    return vfio_host_device_has(sysfsdev, "vfio-dev") ||
           strstr(driver, "vfio");
}

/*
 * Returns: the driver because of which the kernel does not give away the group
 * of this device, or NULL. It lets bridges and pci-stub keep theirs.
 */
static char *vfio_host_device_host_driver(const char *sysfsdev)
{
    g_autofree char *driver = vfio_host_device_link(sysfsdev, "driver");
    g_autofree char *class = vfio_host_device_read(sysfsdev, "class");

    if (!driver || g_str_equal(driver, "pci-stub") ||
        vfio_host_device_is_vfio(sysfsdev, driver)) {
        return NULL;
    }
    if (class ? g_str_has_prefix(class, "0x0604") :
                vfio_host_device_is_pci(sysfsdev)) {
        /* A bridge; or perhaps one, and not to be blamed for that. */
        return NULL;
    }
    return g_steal_pointer(&driver);
}

static gint vfio_host_compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/*
 * Look at the devices of the group.
 * @culprits: gets the sorted texts "DEVICE (DRIVER)" of those that keep the
 *            group from being given away; none if sysfs does not tell
 *
 * Returns: how many devices of the group user space can have
 */
static unsigned vfio_host_group_scan(const char *sysfsdev, GPtrArray *culprits)
{
    g_autofree char *path = NULL;
    const char *name;
    unsigned available = 0;
    GDir *dir;

    if (!sysfsdev) {
        return 0;
    }
    path = g_build_filename(sysfsdev, "iommu_group", "devices", NULL);
    dir = g_dir_open(path, 0, NULL);
    if (!dir) {
        return 0;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *device = g_build_filename(path, name, NULL);
        g_autofree char *driver = vfio_host_device_link(device, "driver");
        g_autofree char *culprit = vfio_host_device_host_driver(device);

        if (culprit) {
            g_ptr_array_add(culprits,
                            g_strdup_printf("%s (%s)", name, culprit));
        } else if (driver && vfio_host_device_is_vfio(device, driver)) {
            available++;
        }
    }
    g_dir_close(dir);
    g_ptr_array_sort(culprits, vfio_host_compare_names);
    return available;
}

/*
 * @prefix: what to begin the text with, if there is one
 * @available: how many devices of the group user space can have, or NULL
 *
 * Returns: which devices keep the group from being given away, or nothing
 */
static char *vfio_host_explain_culprits(const char *sysfsdev,
                                        const char *prefix,
                                        unsigned *available)
{
    g_autoptr(GPtrArray) culprits = g_ptr_array_new_with_free_func(g_free);
    unsigned n = vfio_host_group_scan(sysfsdev, culprits);
    GString *text = g_string_new(NULL);

    if (available) {
        *available = n;
    }
    if (!culprits->len) {
        return g_string_free(text, false);
    }
    g_string_append(text, prefix);
    for (unsigned i = 0; i < MIN(culprits->len, MAX_CULPRITS); i++) {
        g_string_append_printf(text, "%s%s", i ? ", " : "",
                               (char *)culprits->pdata[i]);
    }
    if (culprits->len > MAX_CULPRITS) {
        g_string_append_printf(text, " and %u more",
                               culprits->len - MAX_CULPRITS);
    }
    g_string_append_printf(text, " still use%s host driver%s; bind all devices "
                           "of the group to %s, or to no driver",
                           culprits->len > 1 ? "" : "s a",
                           culprits->len > 1 ? "s" : "",
                           vfio_host_vfio_driver(sysfsdev));
    return g_string_free(text, false);
}

/* Returns: what to do about the device's driver, or nothing */
static char *vfio_host_explain_driver(const char *sysfsdev)
{
    g_autofree char *driver = NULL;

    /* Not to be taken for a device without driver */
    if (!vfio_host_device_is_visible(sysfsdev)) {
        return g_strdup("");
    }
    driver = vfio_host_device_link(sysfsdev, "driver");
    if (!driver) {
        return g_strdup_printf("; the device has no driver: bind it to %s",
                               vfio_host_vfio_driver(sysfsdev));
    }
    if (!vfio_host_device_is_vfio(sysfsdev, driver)) {
        return g_strdup_printf("; the device uses the host driver '%s': bind "
                               "it to %s", driver,
                               vfio_host_vfio_driver(sysfsdev));
    }
    return g_strdup("");
}

/* Returns: that the device is in a group without IOMMU, or nothing */
static char *vfio_host_explain_noiommu(const char *sysfsdev)
{
    g_autofree char *name = NULL;

    if (sysfsdev) {
        name = vfio_host_device_read(sysfsdev, "iommu_group/name");
    }
    /* The groups of mediated devices have the same name. */
    if (g_strcmp0(name, "vfio-noiommu") ||
        vfio_host_device_is_mdev(sysfsdev)) {
        return g_strdup("");
    }
    return g_strdup("; the host has no IOMMU for the device and offers it "
                    "nevertheless (enable_unsafe_noiommu_mode), which is not "
                    "for guests: turn on the IOMMU (on Arm, an SMMU) in "
                    "firmware and kernel");
}

/* Returns: that the firmware needs a device of the group, or nothing */
static char *vfio_host_explain_direct(const char *sysfsdev)
{
    g_autofree char *regions = NULL;
    g_auto(GStrv) lines = NULL;

    if (sysfsdev) {
        regions = vfio_host_device_read(sysfsdev,
                                        "iommu_group/reserved_regions");
    }
    lines = g_strsplit(regions ?: "", "\n", -1);
    for (char **line = lines; *line; line++) {
        /* The kernel gives away a device with regions "direct-relaxable". */
        if (g_str_has_suffix(*line, " direct")) {
            return g_strdup("; the firmware wants memory to stay mapped for a "
                            "device of the IOMMU group ('direct' in its "
                            "reserved_regions; an RMRR of Intel, an RMR of "
                            "Arm), and such a device cannot be given away: "
                            "look for a setting of the firmware");
        }
    }
    return g_strdup("");
}

/*
 * @module: whose parameter permits devices without isolation
 *
 * Returns: that interrupts are not isolated, or NULL if that does not matter
 */
static char *vfio_host_explain_msi(const char *module)
{
    g_autofree char *path = g_strdup_printf("/sys/module/%s/parameters/"
                                            "allow_unsafe_interrupts", module);
    g_autofree char *unsafe = vfio_host_read(path);

    if (!g_strcmp0(unsafe, "Y")) {
        return NULL;
    }
    return g_strdup_printf("the host does not isolate the interrupts (MSI) of "
                           "its devices: turn on interrupt remapping in "
                           "firmware and kernel (on Arm, that takes a GIC with "
                           "ITS), or set allow_unsafe_interrupts of the module "
                           "%s if you trust the guest", module);
}

/* Returns: why a node cannot be opened that should be there, or nothing */
static char *vfio_host_explain_node(int err)
{
    switch (err) {
    case ENOENT:
        return g_strdup("; the host's /dev/vfio is not visible to QEMU, as in "
                        "a container that was not given it");
    case EACCES:
        return g_strdup("; QEMU's user may not read and write it, because of "
                        "its owner and mode or a rule of SELinux or AppArmor");
    case EPERM:
        return g_strdup("; the device cgroup that QEMU is in does not allow "
                        "it: add it there (DeviceAllow= of systemd, "
                        "cgroup_device_acl of libvirt, --device of a "
                        "container)");
    case ENXIO:
        return g_strdup("; that node is not of this device, as in a container "
                        "with an old copy of /dev");
    default:
        return g_strdup("");
    }
}

/* Returns: which token the device needs, or nothing */
static char *vfio_host_explain_token_needed(const char *sysfsdev, bool vf_token)
{
    const char *given = vf_token ? "and this is not it" : "but none was given";
    g_autofree char *pf = NULL;

    if (!vfio_host_device_is_visible(sysfsdev)) {
        return g_strdup_printf("; the device may need a%s 'vf-token'",
                               vf_token ? "nother" : "");
    }
    pf = vfio_host_device_link(sysfsdev, "physfn");
    if (pf) {
        return g_strdup_printf("; the physical function %s is on vfio-pci, so "
                               "its 'vf-token' is needed, %s", pf, given);
    }
    if (vfio_host_device_has(sysfsdev, "sriov_totalvfs")) {
        return g_strdup_printf("; virtual functions of the device are in use, "
                               "so their 'vf-token' is needed, %s", given);
    }
    return g_strdup("");
}

/* Returns: why the device takes no token, or nothing if it does */
static char *vfio_host_explain_token_unwanted(const char *sysfsdev)
{
    g_autofree char *pf = NULL;
    g_autofree char *pf_driver = NULL;

    if (!vfio_host_device_is_visible(sysfsdev)) {
        return g_strdup("");
    }
    pf = vfio_host_device_link(sysfsdev, "physfn");
    if (!pf) {
        return g_strdup(vfio_host_device_has(sysfsdev, "sriov_totalvfs") ? "" :
                        "; the device takes no 'vf-token', because it neither "
                        "is a virtual function nor can have any");
    }
    pf_driver = vfio_host_device_link(sysfsdev, "physfn/driver");
    if (pf_driver && strstr(pf_driver, "vfio")) {
        return g_strdup("");
    }
    return g_strdup_printf("; the device takes no 'vf-token', because its "
                           "physical function %s is not on vfio-pci", pf);
}

char *vfio_host_device_path(const char *sysfsdev, int fd)
{
    g_autofree char *path = NULL;
    struct stat st;

    if (sysfsdev) {
        return g_strdup(sysfsdev);
    }
    if (fstat(fd, &st) || !S_ISCHR(st.st_mode)) {
        return NULL;
    }
    path = g_strdup_printf("%s/sys/dev/char/%u:%u/device", vfio_host_root,
                           major(st.st_rdev), minor(st.st_rdev));
    return realpath(path, NULL);
}

char *vfio_host_explain_no_group(const char *sysfsdev, int err)
{
    g_autofree char *perhaps = NULL;
    g_autofree char *driver = NULL;

    if (err != ENOENT || !vfio_host_device_is_visible(sysfsdev)) {
        return g_strdup("");
    }
    if (vfio_host_device_is_mdev(sysfsdev)) {
        return vfio_host_explain_driver(sysfsdev);
    }
    driver = vfio_host_device_link(sysfsdev, "driver");
    if (!driver) {
        /* Linux on Arm looks for the IOMMU when a device gets a driver. */
        perhaps = g_strdup_printf("the device has no driver: bind it to %s; if "
                                  "it has no group then either, ",
                                  vfio_host_vfio_driver(sysfsdev));
    }
    return g_strdup_printf("; %sno IOMMU of the host serves the device: there "
                           "is none (on Arm, an SMMU), or it is off in "
                           "firmware or kernel", perhaps ?: "");
}

char *vfio_host_explain_open_group(const char *sysfsdev, int err)
{
    char *text;

    if (err == EBUSY) {
        return g_strdup("; the IOMMU group is in use, by another process or "
                        "with iommufd");
    }
    if (err == ENOENT) {
        text = vfio_host_explain_driver(sysfsdev);
        if (!*text) {
            g_free(text);
            text = vfio_host_explain_noiommu(sysfsdev);
        }
        if (*text) {
            return text;
        }
        g_free(text);
        if (vfio_host_has("/sys/class/vfio-dev") &&
            !vfio_host_has("/sys/class/vfio")) {
            return g_strdup("; the host's kernel has no nodes for groups "
                            "(CONFIG_VFIO_GROUP): use iommufd");
        }
    }
    return vfio_host_explain_node(err);
}

char *vfio_host_explain_open_container(int err)
{
    if (err == ENOENT && vfio_host_has("/sys/class/misc") &&
        !vfio_host_has("/sys/class/misc/vfio")) {
        return g_strdup("; the host's kernel has no containers of VFIO "
                        "(CONFIG_VFIO_CONTAINER): use iommufd");
    }
    return vfio_host_explain_node(err);
}

char *vfio_host_explain_not_viable(const char *sysfsdev)
{
    return vfio_host_explain_culprits(sysfsdev, ": ", NULL);
}

char *vfio_host_explain_set_container(const char *sysfsdev, int err)
{
    switch (err) {
    case EPERM:
        return vfio_host_explain_culprits(sysfsdev, "; the IOMMU group is not "
                                          "viable: ", NULL);
    case EINVAL:
        return vfio_host_explain_direct(sysfsdev);
    default:
        return g_strdup("");
    }
}

char *vfio_host_explain_set_iommu(const char *sysfsdev, int err)
{
    g_autofree char *msi = NULL;
    char *text;

    /* That of POWER has reasons of its own. */
    if (err != EPERM || !g_str_equal(IOMMU_DRIVER, TYPE1)) {
        return g_strdup("");
    }
    /* Before Linux 6.6, it is here that they are in the way on Intel. */
    text = vfio_host_explain_direct(sysfsdev);
    if (*text) {
        return text;
    }
    g_free(text);
    msi = vfio_host_explain_msi(TYPE1);
    return msi ? g_strconcat("; ", msi, NULL) : g_strdup("");
}

/*
 * The IOMMU group is somebody else's, or cannot be had at all: what both a
 * device bound to iommufd and iommufd in the role of a container give EPERM for
 */
static char *vfio_host_explain_not_owner(const char *sysfsdev)
{
    g_autofree char *msi = NULL;
    unsigned available;
    char *text;

    if (!sysfsdev || !vfio_host_device_has(sysfsdev, "iommu_group/devices")) {
        /* The other devices of the group may be the cause, or not. */
        return g_strdup("");
    }
    text = vfio_host_explain_culprits(sysfsdev, "; the IOMMU group is not "
                                      "viable: ", &available);
    if (*text) {
        return text;
    }
    g_free(text);
    msi = vfio_host_explain_msi("iommufd");
    if (available > 1) {
        return g_strdup_printf("; a device of the IOMMU group is in use, by "
                               "another process or by this one%s%s",
                               msi ? ", or " : "", msi ?: "");
    }
    return msi ? g_strconcat("; ", msi, NULL) : g_strdup("");
}

char *vfio_host_explain_get_device(const char *sysfsdev, bool vf_token, int err)
{
    switch (err) {
    case EACCES:
        return vfio_host_explain_token_needed(sysfsdev, vf_token);
    case EINVAL:
        if (vf_token) {
            return vfio_host_explain_token_unwanted(sysfsdev);
        }
        return g_strdup("");
    case EPERM:
        return vfio_host_explain_not_owner(sysfsdev);
    case ENODEV:
        return vfio_host_explain_driver(sysfsdev);
    default:
        return g_strdup("");
    }
}

char *vfio_host_explain_open_iommufd(void)
{
    g_autofree char *path = g_strconcat(vfio_host_root, "/dev/iommu", NULL);

    if (!access(path, R_OK | W_OK)) {
        return g_strdup("");
    }
    if (errno == ENOENT) {
        return g_strdup("; the host's kernel has no iommufd (CONFIG_IOMMUFD), "
                        "or its module is not loaded, or the node is not "
                        "visible to QEMU");
    }
    return vfio_host_explain_node(errno);
}

char *vfio_host_explain_no_cdev(const char *sysfsdev, int err)
{
    char *text;

    if (vfio_host_device_is_visible(sysfsdev) &&
        !vfio_host_device_has(sysfsdev, "iommu_group")) {
        /* Then binding it to another driver alone does not help. */
        return vfio_host_explain_no_group(sysfsdev, err);
    }
    text = vfio_host_explain_driver(sysfsdev);
    if (!*text && err == ENOENT && vfio_host_device_is_visible(sysfsdev)) {
        g_free(text);
        text = g_strdup("; the host's kernel is older than Linux 6.1, and "
                        "iommufd needs Linux 6.6: leave 'iommufd' out");
    }
    return text;
}

char *vfio_host_explain_no_cdev_node(const char *sysfsdev)
{
    char *text = vfio_host_explain_noiommu(sysfsdev);

    if (!*text) {
        g_free(text);
        text = g_strdup("; the host's kernel has no nodes for devices "
                        "(CONFIG_VFIO_DEVICE_CDEV, since Linux 6.6): leave "
                        "'iommufd' out");
    }
    return text;
}

char *vfio_host_explain_open_cdev(int err)
{
    return vfio_host_explain_node(err);
}

char *vfio_host_explain_bind(const char *sysfsdev, bool vf_token, int err)
{
    char *text;

    switch (err) {
    case EACCES:
        return vfio_host_explain_token_needed(sysfsdev, vf_token);
    case EINVAL:
        text = vf_token ? vfio_host_explain_token_unwanted(sysfsdev) :
                          g_strdup("");
        if (!*text) {
            g_free(text);
            text = vfio_host_explain_direct(sysfsdev);
        }
        if (!*text) {
            g_free(text);
            text = g_strdup("; the device is in use, by another process or by "
                            "this one");
        }
        return text;
    case EPERM:
        return vfio_host_explain_not_owner(sysfsdev);
    case EBUSY:
        return g_strdup("; the IOMMU group is in use without iommufd, by "
                        "another process or by this one");
    case ENODEV:
        return vfio_host_explain_driver(sysfsdev);
    case E2BIG:
        /* Linux 6.17 forgets the size of the token's part of the request. */
        return g_strdup(vf_token ? "; the host's kernel cannot take a "
                        "'vf-token' with iommufd: use Linux 6.18.3 or newer, "
                        "or leave 'iommufd' out" : "");
    default:
        return g_strdup("");
    }
}

bool vfio_host_takes_token(const char *sysfsdev)
{
    g_autofree char *unwanted = vfio_host_explain_token_unwanted(sysfsdev);

    return !*unwanted;
}

char *vfio_host_explain_no_iommu_type(void)
{
    return g_strdup(vfio_host_has("/sys/module/" IOMMU_DRIVER) ? "" :
                    "; the host's kernel module " IOMMU_DRIVER " is not "
                    "loaded");
}

/* Whether no limit of locked memory counts for this process */
static bool vfio_host_may_lock_memory(void)
{
    g_autofree char *status = vfio_host_read("/proc/self/status");
    g_autofree char *uids = vfio_host_read("/proc/self/uid_map");
    const char *caps = status ? strstr(status, "\nCapEff:") : NULL;
    unsigned long long first, outside, n;

    if (!caps || !(g_ascii_strtoull(caps + strlen("\nCapEff:"), NULL, 16) &
                   BIT_ULL(CAP_IPC_LOCK))) {
        return false;
    }
    /* In a user namespace, the capability is worth nothing for this. */
    return !uids ||
           (sscanf(uids, "%llu %llu %llu", &first, &outside, &n) == 3 &&
            !outside && n == UINT32_MAX);
}

char *vfio_host_explain_dma_map(uint64_t size, int err)
{
    g_autofree char *entries = NULL;
    struct rlimit limit;

    switch (err) {
    case ENOMEM:
        if (vfio_host_may_lock_memory() ||
            getrlimit(RLIMIT_MEMLOCK, &limit) ||
            limit.rlim_cur == RLIM_INFINITY) {
            return g_strdup("");
        }
        return g_strdup_printf("; VFIO locks the guest's memory, %" PRIu64
                               " KiB in this step, and the limit of locked "
                               "memory (RLIMIT_MEMLOCK) is %" PRIu64 " KiB in "
                               "all: raise it to the memory of the guest, "
                               "for each device if the guest has an IOMMU, and "
                               "some more", size / KiB,
                               (uint64_t)limit.rlim_cur / KiB);
    case ENOSPC:
        entries = vfio_host_read("/sys/module/" TYPE1
                                 "/parameters/dma_entry_limit");
        if (!entries) {
            return g_strdup("");
        }
        return g_strdup_printf("; the host's kernel allows %s mappings: raise "
                               "the parameter dma_entry_limit of its module "
                               TYPE1, entries);
    default:
        return g_strdup("");
    }
}
