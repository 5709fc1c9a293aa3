/*
 * What VFIO says of a host device that cannot be had, from a made-up host. That
 * the errno is the one that Linux gives was looked up in its source, see
 * docs/system/devices/vfio-pci.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/resource.h>
#include "../../hw/vfio/vfio-host-device.h"

#define GROUP "group"
#define DEV_NULL "/sys/dev/char/1:3"

/* A device in the made-up sysfs; all with a group are in the same one. */
typedef struct FakeDevice {
    const char *name;
    const char *driver;
    const char *class;      /* if not that of a network card */
    const char *bus;        /* if not PCI */
    bool vfio_dev;          /* Linux 6.1 and newer shows it so */
    bool sriov;             /* can have virtual functions */
    bool no_class;          /* cannot be read */
    bool no_group;          /* no IOMMU serves it */
    const char *physfn;
} FakeDevice;

static char *root;

static void remove_tree(const char *path)
{
    if (g_file_test(path, G_FILE_TEST_IS_DIR) &&
        !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
        GDir *dir = g_dir_open(path, 0, NULL);
        const char *name;

        while ((name = g_dir_read_name(dir))) {
            g_autofree char *entry = g_build_filename(path, name, NULL);

            remove_tree(entry);
        }
        g_dir_close(dir);
    }
    g_remove(path);
}

/* Make a folder below root, and what is above it. */
static void add_folder(const char *name)
{
    g_autofree char *path = g_build_filename(root, name, NULL);

    g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
}

static void add_file(const char *name, const char *contents)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *folder = g_path_get_dirname(name);

    add_folder(folder);
    g_assert_true(g_file_set_contents(path, contents, -1, NULL));
}

static void add_link(const char *name, const char *target)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *folder = g_path_get_dirname(name);

    add_folder(folder);
    g_assert_cmpint(symlink(target, path), ==, 0);
}

/* Add to the device a link to @target, or a file, or a folder. */
static void add_entry(const FakeDevice *device, const char *name,
                      const char *target, const char *contents)
{
    g_autofree char *path = g_build_filename(device->name, name, NULL);

    if (target) {
        g_autofree char *relative = g_build_filename("..", target, NULL);

        add_link(path, relative);
    } else if (contents) {
        add_file(path, contents);
    } else {
        add_folder(path);
    }
}

static void add_device(const FakeDevice *device)
{
    g_autofree char *member = g_build_filename(GROUP, "devices", device->name,
                                               NULL);
    g_autofree char *back = g_build_filename("..", "..", device->name, NULL);
    g_autofree char *bus = g_build_filename("bus", device->bus ?: "pci", NULL);

    add_entry(device, "subsystem", bus, NULL);
    if (!device->no_group) {
        add_entry(device, "iommu_group", GROUP, NULL);
        add_link(member, back);
    }
    if (!device->no_class) {
        add_entry(device, "class", NULL, device->class ?: "0x020000\n");
    }
    if (device->vfio_dev) {
        add_entry(device, "vfio-dev", NULL, NULL);
    }
    if (device->sriov) {
        add_entry(device, "sriov_totalvfs", NULL, "8\n");
    }
    if (device->driver) {
        g_autofree char *driver = g_build_filename("drivers", device->driver,
                                                   NULL);

        add_entry(device, "driver", driver, NULL);
    }
    if (device->physfn) {
        add_entry(device, "physfn", device->physfn, NULL);
    }
}

/*
 * Make a host with these devices, and nothing else. The folders of the devices
 * are in its root, with names as in /sys/bus/pci/devices.
 *
 * Returns: the folder of the first device
 */
static char *make_host(const FakeDevice *devices)
{
    g_autofree char *tmp = g_dir_make_tmp("test-vfio-host-device-XXXXXX", NULL);

    g_assert_nonnull(tmp);
    root = realpath(tmp, NULL);
    vfio_host_root = root;
    for (const FakeDevice *d = devices; d->name; d++) {
        add_device(d);
    }
    return g_build_filename(root, devices[0].name, NULL);
}

static void remove_host(void)
{
    vfio_host_root = "";
    remove_tree(root);
    g_clear_pointer(&root, g_free);
}

#define REMEDY "; bind all devices of the group to vfio-pci, or to no driver"
#define HOST_DRIVER "; the device uses the host driver 'tg3': bind it to " \
                    "vfio-pci"
#define NO_DRIVER "; the device has no driver: bind it to vfio-pci"
#define NO_IOMMU "no IOMMU of the host serves the device: there is none (on " \
                 "Arm, an SMMU), or it is off in firmware or kernel"
#define NOIOMMU_MODE "; the host has no IOMMU for the device and offers it " \
                     "nevertheless (enable_unsafe_noiommu_mode), which " \
                     "is not for guests: turn on the IOMMU (on Arm, an SMMU) " \
                     "in firmware and kernel"
#define NOT_VISIBLE "; the host's /dev/vfio is not visible to QEMU, as in a " \
                    "container that was not given it"
#define NO_ACCESS "; QEMU's user may not read and write it, because of its " \
                  "owner and mode or a rule of SELinux or AppArmor"
#define CGROUP "; the device cgroup that QEMU is in does not allow it: add " \
               "it there (DeviceAllow= of systemd, cgroup_device_acl of " \
               "libvirt, --device of a container)"
#define OTHER_NODE "; that node is not of this device, as in a container " \
                   "with an old copy of /dev"
#define GROUP_SHARED "; the IOMMU group is not viable: 0000:02:00.1 (tg3) " \
                     "still uses a host driver" REMEDY
#define DIRECT "; the firmware wants memory to stay mapped for a device of " \
               "the IOMMU group ('direct' in its reserved_regions; an RMRR " \
               "of Intel, an RMR of Arm), and such a device cannot be given " \
               "away: look for a setting of the firmware"
#define NO_MSI(module) "the host does not isolate the interrupts (MSI) of " \
                       "its devices: turn on interrupt remapping in " \
                       "firmware and kernel (on Arm, that takes a GIC with " \
                       "ITS), or set allow_unsafe_interrupts of the module " \
                       module " if you trust the guest"
#define OTHER_HAS_GROUP "; a device of the IOMMU group is in use, by another " \
                        "process or by this one"
#define OTHER_HAS_DEVICE "; the device is in use, by another process or by " \
                         "this one"
#define VF_NEEDS "; the physical function 0000:02:00.0 is on vfio-pci, so " \
                 "its 'vf-token' is needed, "
#define PF_NEEDS "; virtual functions of the device are in use, so their " \
                 "'vf-token' is needed, "
#define NONE_GIVEN "but none was given"
#define NOT_IT "and this is not it"
#define NO_SRIOV "; the device takes no 'vf-token', because it neither is a " \
                 "virtual function nor can have any"
#define PF_OF_HOST "; the device takes no 'vf-token', because its physical " \
                   "function 0000:02:00.0 is not on vfio-pci"

static const FakeDevice on_host_driver[] = { { "0000:02:00.0", "tg3" }, { } };
static const FakeDevice without_driver[] = { { "0000:02:00.0" }, { } };
static const FakeDevice without_iommu[] = {
    { "0000:02:00.0", .no_group = true }, { }
};
static const FakeDevice on_host_driver_without_iommu[] = {
    { "0000:02:00.0", "tg3", .no_group = true }, { }
};
static const FakeDevice on_vfio[] = {
    { "0000:02:00.0", "vfio-pci", .vfio_dev = true }, { }
};
static const FakeDevice old_vfio[] = { { "0000:02:00.0", "vfio-pci" }, { } };
static const FakeDevice shared_with_host[] = {
    { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
    { "0000:02:00.1", "tg3" }, { }
};
static const FakeDevice shared_by_vfio[] = {
    { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
    { "0000:02:00.1", "vfio-pci", .vfio_dev = true }, { }
};
static const FakeDevice vf_of_vfio[] = {
    { "0000:02:10.0", "vfio-pci", .vfio_dev = true, .physfn = "0000:02:00.0" },
    { "0000:02:00.0", "vfio-pci", .vfio_dev = true, .sriov = true }, { }
};
static const FakeDevice vf_of_host[] = {
    { "0000:02:10.0", "vfio-pci", .vfio_dev = true, .physfn = "0000:02:00.0" },
    { "0000:02:00.0", "igb", .sriov = true }, { }
};
static const FakeDevice pf_on_vfio[] = {
    { "0000:02:00.0", "vfio-pci", .vfio_dev = true, .sriov = true }, { }
};
static const FakeDevice mdev[] = {
    { "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "vfio_ap_mdev", .bus = "mdev",
      .vfio_dev = true, .no_class = true }, { }
};
static const FakeDevice mdev_without_driver[] = {
    { "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", .bus = "mdev", .no_class = true },
    { }
};
static const FakeDevice platform[] = {
    { "fff51000.ethernet", "xgmac", .bus = "platform", .no_class = true }, { }
};

/* What else the host has */
typedef struct FakeFile {
    const char *name;
    const char *contents;   /* NULL for a folder */
} FakeFile;

static const FakeFile noiommu[] = { { GROUP "/name", "vfio-noiommu\n" }, { } };
static const FakeFile classes[] = {
    { "sys/class/vfio" }, { "sys/class/vfio-dev" }, { "sys/class/misc/vfio" },
    { }
};
static const FakeFile only_cdevs[] = {
    { "sys/class/vfio-dev" }, { "sys/class/misc" }, { }
};
static const FakeFile harmless_regions[] = {
    { GROUP "/reserved_regions",
      "0x0000000008000000 0x00000000080fffff msi\n"
      "0x000000007d800000 0x000000007fffffff direct-relaxable\n"
      "0x000000fd00000000 0x000000ffffffffff reserved\n" }, { }
};
static const FakeFile direct_region[] = {
    { GROUP "/reserved_regions",
      "0x000000007d800000 0x000000007fffffff direct\n"
      "0x00000000fee00000 0x00000000feefffff msi\n" }, { }
};
static const FakeFile unsafe_allowed[] = {
    { "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n" },
    { "sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n" }, { }
};
static const FakeFile unsafe_denied[] = {
    { "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n" },
    { "sys/module/iommufd/parameters/allow_unsafe_interrupts", "N\n" }, { }
};

static void add_files(const FakeFile *files)
{
    for (const FakeFile *f = files; f && f->name; f++) {
        if (f->contents) {
            add_file(f->name, f->contents);
        } else {
            add_folder(f->name);
        }
    }
}

typedef struct Case {
    const FakeDevice *devices;
    int err;
    const char *text;
    bool vf_token;
    const FakeFile *files;
} Case;

typedef char *Explain(const char *sysfsdev, bool vf_token, int err);

static void check(const Case *cases, unsigned n, Explain *explain)
{
    for (unsigned i = 0; i < n; i++) {
        const Case *c = &cases[i];
        g_autofree char *sysfsdev = make_host(c->devices);
        g_autofree char *text = NULL;

        add_files(c->files);
        text = explain(sysfsdev, c->vf_token, c->err);
        g_test_message("case %u: errno %d", i, c->err);
        g_assert_cmpstr(text, ==, c->text);
        remove_host();
    }
}

#define CHECK(cases, explain) check(cases, ARRAY_SIZE(cases), explain)

static char *explain_no_group(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_no_group(sysfsdev, err);
}

static void test_no_group(void)
{
    static const Case cases[] = {
        { on_vfio, ENOENT, "; " NO_IOMMU },
        { on_host_driver, ENOENT, "; " NO_IOMMU },
        { without_driver, ENOENT, NO_DRIVER "; if it has no group then either, "
                                  NO_IOMMU },
        { without_driver, EACCES, "" },
        { platform, ENOENT, "; " NO_IOMMU },
        /* It gets its group from the driver, an IOMMU has no part in it. */
        { mdev_without_driver, ENOENT, "; the device has no driver: bind it to "
                                       "a VFIO driver" },
        { mdev, ENOENT, "" },
    };

    CHECK(cases, explain_no_group);
}

static char *explain_open_group(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_open_group(sysfsdev, err);
}

static void test_open_group(void)
{
    static const Case cases[] = {
        { on_host_driver, ENOENT, HOST_DRIVER },
        { without_driver, ENOENT, NO_DRIVER },
        { on_vfio, ENOENT, NOT_VISIBLE },
        { on_vfio, ENOENT, NOT_VISIBLE, .files = classes },
        { on_vfio, ENOENT, "; the host's kernel has no nodes for groups "
                           "(CONFIG_VFIO_GROUP): use iommufd",
          .files = only_cdevs },
        { on_vfio, ENOENT, NOIOMMU_MODE, .files = noiommu },
        { on_host_driver, ENOENT, HOST_DRIVER, .files = noiommu },
        { mdev, ENOENT, NOT_VISIBLE, .files = noiommu },
        { mdev_without_driver, ENOENT, "; the device has no driver: bind it to "
                                       "a VFIO driver" },
        { platform, ENOENT, "; the device uses the host driver 'xgmac': bind "
                            "it to a VFIO driver" },
        { on_vfio, EBUSY, "; the IOMMU group is in use, by another process or "
                          "with iommufd" },
        { on_vfio, EACCES, NO_ACCESS },
        { on_vfio, EPERM, CGROUP },
        { on_vfio, ENXIO, OTHER_NODE },
        { on_vfio, EIO, "" },
    };

    CHECK(cases, explain_open_group);
}

static char *explain_open_container(const char *sysfsdev, bool vf_token,
                                    int err)
{
    return vfio_host_explain_open_container(err);
}

static void test_open_container(void)
{
    static const Case cases[] = {
        { on_vfio, ENOENT, NOT_VISIBLE },
        { on_vfio, ENOENT, NOT_VISIBLE, .files = classes },
        { on_vfio, ENOENT, "; the host's kernel has no containers of VFIO "
                           "(CONFIG_VFIO_CONTAINER): use iommufd",
          .files = only_cdevs },
        { on_vfio, EACCES, NO_ACCESS },
        { on_vfio, EPERM, CGROUP },
    };

    CHECK(cases, explain_open_container);
}

typedef struct ViableCase {
    const char *name;
    FakeDevice devices[12];
    const char *text;
} ViableCase;

static const ViableCase viable_cases[] = {
    {
        "one", {
            { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
            { "0000:02:00.1", "tg3" },
        },
        ": 0000:02:00.1 (tg3) still uses a host driver" REMEDY
    }, {
        "sorted", {
            { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
            { "0000:02:00.2", "igb" },
            { "0000:02:00.1", "tg3" },
        },
        ": 0000:02:00.1 (tg3), 0000:02:00.2 (igb) still use host drivers" REMEDY
    }, {
        "itself", {
            { "0000:02:00.0", "tg3" },
        },
        ": 0000:02:00.0 (tg3) still uses a host driver" REMEDY
    }, {
        "harmless", {
            { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
            { "0000:00:01.0", "pcieport", .class = "0x060400\n" },
            { "0000:02:00.1", "pci-stub" },
            { "0000:02:00.2" },
            { "0000:02:00.3", "mlx5_core", .vfio_dev = true },
        },
        ""
    }, {
        "perhaps a bridge", {
            { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
            { "0000:00:01.0", "pcieport", .no_class = true },
        },
        ""
    }, {
        "perhaps a bridge, and more", {
            { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
            { "0000:00:01.0", "pcieport", .no_class = true },
            { "0000:02:00.1", "tg3" },
        },
        ": 0000:02:00.1 (tg3) still uses a host driver" REMEDY
    }, {
        "platform devices", {
            { "a.ethernet", "vfio-platform", .bus = "platform",
              .no_class = true, .vfio_dev = true },
            { "b.ethernet", "xgmac", .bus = "platform", .no_class = true },
        },
        ": b.ethernet (xgmac) still uses a host driver; bind all devices of "
        "the group to a VFIO driver, or to no driver"
    }, {
        "old kernel", {
            { "0000:02:00.0", "vfio-pci" },
            { "0000:02:00.1", "mlx5_vfio_pci" },
            { "0000:02:00.2", "tg3" },
        },
        ": 0000:02:00.2 (tg3) still uses a host driver" REMEDY
    }, {
        "eight", {
            { "d1", "x" }, { "d2", "x" }, { "d3", "x" }, { "d4", "x" },
            { "d5", "x" }, { "d6", "x" }, { "d7", "x" }, { "d8", "x" },
        },
        ": d1 (x), d2 (x), d3 (x), d4 (x), d5 (x), d6 (x), d7 (x), d8 (x) "
        "still use host drivers" REMEDY
    }, {
        "more than eight", {
            { "d1", "x" }, { "d2", "x" }, { "d3", "x" }, { "d4", "x" },
            { "d5", "x" }, { "d6", "x" }, { "d7", "x" }, { "d8", "x" },
            { "d9", "x" }, { "da", "x" },
        },
        ": d1 (x), d2 (x), d3 (x), d4 (x), d5 (x), d6 (x), d7 (x), d8 (x) "
        "and 2 more still use host drivers" REMEDY
    },
};

static void test_not_viable(void)
{
    for (int i = 0; i < ARRAY_SIZE(viable_cases); i++) {
        const ViableCase *c = &viable_cases[i];
        g_autofree char *sysfsdev = make_host(c->devices);
        g_autofree char *text = vfio_host_explain_not_viable(sysfsdev);

        g_test_message("%s", c->name);
        g_assert_cmpstr(text, ==, c->text);
        remove_host();
    }
}

static char *explain_set_container(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_set_container(sysfsdev, err);
}

static void test_set_container(void)
{
    static const Case cases[] = {
        { shared_with_host, EPERM, GROUP_SHARED },
        { on_vfio, EPERM, "" },
        { on_vfio, EINVAL, DIRECT, .files = direct_region },
        { on_vfio, EINVAL, "", .files = harmless_regions },
        { on_vfio, EINVAL, "" },
    };

    CHECK(cases, explain_set_container);
}

static char *explain_set_iommu(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_set_iommu(sysfsdev, err);
}

static void test_set_iommu(void)
{
    static const Case cases[] = {
#ifdef _ARCH_PPC64
        { on_vfio, EPERM, "", .files = unsafe_denied },
        { on_vfio, EPERM, "", .files = direct_region },
#else
        { on_vfio, EPERM, "; " NO_MSI("vfio_iommu_type1") },
        { on_vfio, EPERM, "; " NO_MSI("vfio_iommu_type1"),
          .files = unsafe_denied },
        { on_vfio, EPERM, "; " NO_MSI("vfio_iommu_type1"),
          .files = harmless_regions },
        { on_vfio, EPERM, "", .files = unsafe_allowed },
        { on_vfio, EPERM, DIRECT, .files = direct_region },
#endif
        { on_vfio, EINVAL, "" },
    };

    CHECK(cases, explain_set_iommu);
}

static void test_get_device(void)
{
    static const Case cases[] = {
        { on_host_driver, ENODEV, HOST_DRIVER },
        { without_driver, ENODEV, NO_DRIVER },
        { on_vfio, ENODEV, "" },
        { on_vfio, EBUSY, "" },
        { on_vfio, EINVAL, "" },
        { on_vfio, EINVAL, NO_SRIOV, true },
        { vf_of_host, EINVAL, PF_OF_HOST, true },
        { vf_of_vfio, EINVAL, "", true },
        { pf_on_vfio, EINVAL, "", true },
        { on_vfio, EACCES, "" },
        { vf_of_vfio, EACCES, VF_NEEDS NONE_GIVEN },
        { vf_of_vfio, EACCES, VF_NEEDS NOT_IT, true },
        { pf_on_vfio, EACCES, PF_NEEDS NONE_GIVEN },
        { pf_on_vfio, EACCES, PF_NEEDS NOT_IT, true },
        /* iommufd is the container. */
        { shared_with_host, EPERM, GROUP_SHARED },
        { on_vfio, EPERM, "; " NO_MSI("iommufd"), .files = unsafe_denied },
    };

    CHECK(cases, vfio_host_explain_get_device);
}

static char *explain_open_iommufd(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_open_iommufd();
}

static void test_open_iommufd(void)
{
    static const FakeFile iommu[] = { { "dev/iommu", "" }, { } };
    static const Case cases[] = {
        { on_vfio, 0, "; the host's kernel has no iommufd (CONFIG_IOMMUFD), or "
                      "its module is not loaded, or the node is not visible to "
                      "QEMU" },
        { on_vfio, 0, "", .files = iommu },
    };
    g_autofree char *sysfsdev = NULL;
    g_autofree char *node = NULL;
    g_autofree char *text = NULL;

    CHECK(cases, explain_open_iommufd);
    if (!geteuid()) {
        /* It may open all files. */
        return;
    }
    sysfsdev = make_host(on_vfio);
    add_files(iommu);
    node = g_build_filename(root, "dev/iommu", NULL);
    g_assert_cmpint(chmod(node, 0400), ==, 0);
    text = vfio_host_explain_open_iommufd();
    g_assert_cmpstr(text, ==, NO_ACCESS);
    remove_host();
}

static char *explain_no_cdev(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_no_cdev(sysfsdev, err);
}

static void test_no_cdev(void)
{
    static const Case cases[] = {
        { on_host_driver, ENOENT, HOST_DRIVER },
        { without_driver, ENOENT, NO_DRIVER },
        { without_iommu, ENOENT, NO_DRIVER "; if it has no group then either, "
                                 NO_IOMMU },
        { on_host_driver_without_iommu, ENOENT, "; " NO_IOMMU },
        { old_vfio, ENOENT, "; the host's kernel is older than Linux 6.1, and "
                            "iommufd needs Linux 6.6: leave 'iommufd' out" },
        { old_vfio, EACCES, "" },
    };

    CHECK(cases, explain_no_cdev);
}

static char *explain_no_cdev_node(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_no_cdev_node(sysfsdev);
}

static void test_no_cdev_node(void)
{
    static const Case cases[] = {
        { on_vfio, 0, "; the host's kernel has no nodes for devices "
                      "(CONFIG_VFIO_DEVICE_CDEV, since Linux 6.6): leave "
                      "'iommufd' out" },
        { on_vfio, 0, NOIOMMU_MODE, .files = noiommu },
    };

    CHECK(cases, explain_no_cdev_node);
}

static char *explain_open_cdev(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_open_cdev(err);
}

static void test_open_cdev(void)
{
    static const Case cases[] = {
        { on_vfio, ENOENT, NOT_VISIBLE },
        { on_vfio, EACCES, NO_ACCESS },
        { on_vfio, EPERM, CGROUP },
        { on_vfio, ENXIO, OTHER_NODE },
        { on_vfio, ENODEV, "" },
    };

    CHECK(cases, explain_open_cdev);
}

static void test_bind(void)
{
    static const Case cases[] = {
        { on_vfio, EBUSY, "; the IOMMU group is in use without iommufd, by "
                          "another process or by this one" },
        { shared_with_host, EPERM, GROUP_SHARED },
        { on_vfio, EPERM, "; " NO_MSI("iommufd"), .files = unsafe_denied },
        { on_vfio, EPERM, "", .files = unsafe_allowed },
        { shared_by_vfio, EPERM, OTHER_HAS_GROUP ", or " NO_MSI("iommufd"),
          .files = unsafe_denied },
        { shared_by_vfio, EPERM, OTHER_HAS_GROUP, .files = unsafe_allowed },
        { on_vfio, EINVAL, OTHER_HAS_DEVICE },
        { on_vfio, EINVAL, DIRECT, .files = direct_region },
        { on_vfio, EINVAL, NO_SRIOV, true },
        { vf_of_host, EINVAL, PF_OF_HOST, true },
        { vf_of_vfio, EINVAL, OTHER_HAS_DEVICE, true },
        { pf_on_vfio, EINVAL, OTHER_HAS_DEVICE, true },
        { pf_on_vfio, EINVAL, DIRECT, true, direct_region },
        { vf_of_vfio, EACCES, VF_NEEDS NONE_GIVEN },
        { pf_on_vfio, EACCES, PF_NEEDS NOT_IT, true },
        { on_host_driver, ENODEV, HOST_DRIVER },
        { vf_of_vfio, E2BIG, "; the host's kernel cannot take a 'vf-token' "
                             "with iommufd: use Linux 6.18.3 or newer, or "
                             "leave 'iommufd' out", true },
        { on_vfio, EIO, "" },
    };

    CHECK(cases, vfio_host_explain_bind);
}

/* A file descriptor without a name, and a sysfs that shows nothing */
static void test_nothing_to_see(void)
{
    static const char *const folders[] = { NULL, "/nonexistent" };
    static const struct {
        Explain *explain;
        int err;
        bool vf_token;
        const char *text;
    } cases[] = {
        { explain_no_group, ENOENT, false, "" },
        { explain_open_group, EIO, false, "" },
        { explain_open_group, ENOENT, false, NOT_VISIBLE },
        { explain_set_container, EPERM, false, "" },
        { explain_set_container, EINVAL, false, "" },
        { vfio_host_explain_get_device, ENODEV, false, "" },
        { vfio_host_explain_get_device, EINVAL, true, "" },
        { vfio_host_explain_get_device, EACCES, false,
          "; the device may need a 'vf-token'" },
        { vfio_host_explain_get_device, EACCES, true,
          "; the device may need another 'vf-token'" },
        { vfio_host_explain_get_device, EPERM, false, "" },
        { explain_no_cdev, ENOENT, false, "" },
        { vfio_host_explain_bind, ENODEV, false, "" },
        { vfio_host_explain_bind, EPERM, false, "" },
        { vfio_host_explain_bind, EINVAL, true, OTHER_HAS_DEVICE },
    };

    for (int i = 0; i < ARRAY_SIZE(folders); i++) {
        g_autofree char *viable = vfio_host_explain_not_viable(folders[i]);

        g_assert_cmpstr(viable, ==, "");
        for (int j = 0; j < ARRAY_SIZE(cases); j++) {
            g_autofree char *text =
                cases[j].explain(folders[i], cases[j].vf_token, cases[j].err);

            g_assert_cmpstr(text, ==, cases[j].text);
        }
    }
}

/* A device that QEMU was given as a file descriptor is found by its number. */
static void test_path(void)
{
    g_autofree char *sysfsdev = make_host(on_vfio);
    g_autofree char *named = vfio_host_device_path("/named", -1);
    g_autofree char *unknown = NULL;
    g_autofree char *found = NULL;
    int fd = open("/dev/null", O_RDWR);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpstr(named, ==, "/named");
    g_assert_null(vfio_host_device_path(NULL, -1));
    unknown = vfio_host_device_path(NULL, fd);
    g_assert_null(unknown);
    add_link(DEV_NULL "/device", "../../../../0000:02:00.0");
    found = vfio_host_device_path(NULL, fd);
    g_assert_cmpstr(found, ==, sysfsdev);
    close(fd);
    remove_host();
}

static void test_no_iommu_type(void)
{
#ifdef _ARCH_PPC64
    const char *module = "vfio_iommu_spapr_tce", *other = "vfio_iommu_type1";
#else
    const char *module = "vfio_iommu_type1", *other = "vfio_iommu_spapr_tce";
#endif
    g_autofree char *folder = g_build_filename("sys/module", module, NULL);
    g_autofree char *no_use = g_build_filename("sys/module", other, NULL);
    g_autofree char *wanted = g_strdup_printf("; the host's kernel module %s "
                                              "is not loaded", module);
    g_autofree char *sysfsdev = make_host(on_vfio);
    g_autofree char *missing = NULL;
    g_autofree char *loaded = NULL;

    add_folder(no_use);
    missing = vfio_host_explain_no_iommu_type();
    g_assert_cmpstr(missing, ==, wanted);
    add_folder(folder);
    loaded = vfio_host_explain_no_iommu_type();
    g_assert_cmpstr(loaded, ==, "");
    remove_host();
}

static char *explain_dma_map(const char *sysfsdev, bool vf_token, int err)
{
    return vfio_host_explain_dma_map(1024 * 1024, err);
}

#define MEMLOCK "; VFIO locks the guest's memory, 1024 KiB in this step, and " \
                "the limit of locked memory (RLIMIT_MEMLOCK) is 64 KiB in " \
                "all: raise it to the memory of the guest, for each device " \
                "if the guest has an IOMMU, and some more"

static void test_dma_map(void)
{
    static const FakeFile no_capability[] = {
        { "proc/self/status", "Name:\tq\nCapEff:\t0000000000000000\n" },
        { "proc/self/uid_map", "         0          0 4294967295\n" }, { }
    };
    static const FakeFile capability[] = {
        { "proc/self/status", "Name:\tq\nCapEff:\t0000000000004000\n" },
        { "proc/self/uid_map", "         0          0 4294967295\n" }, { }
    };
    static const FakeFile user_namespace[] = {
        { "proc/self/status", "Name:\tq\nCapEff:\t000001ffffffffff\n" },
        { "proc/self/uid_map", "         0     100000      65536\n" }, { }
    };
    static const FakeFile entry_limit[] = {
        { "sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n" },
        { }
    };
    static const Case unlimited[] = { { on_vfio, ENOMEM, "" } };
    static const Case other[] = {
        { on_vfio, EFAULT, "" },
        { on_vfio, ENOSPC, "" },
        { on_vfio, ENOSPC, "; the host's kernel allows 65535 mappings: raise "
                           "the parameter dma_entry_limit of its module "
                           "vfio_iommu_type1", .files = entry_limit },
    };
    static const Case limited[] = {
        { on_vfio, ENOMEM, MEMLOCK },
        { on_vfio, ENOMEM, MEMLOCK, .files = no_capability },
        { on_vfio, ENOMEM, "", .files = capability },
        { on_vfio, ENOMEM, MEMLOCK, .files = user_namespace },
    };
    struct rlimit limit;

    g_assert_cmpint(getrlimit(RLIMIT_MEMLOCK, &limit), ==, 0);
    if (limit.rlim_cur == RLIM_INFINITY) {
        CHECK(unlimited, explain_dma_map);
    }
    CHECK(other, explain_dma_map);
    limit.rlim_cur = 64 * 1024;
    g_assert_cmpint(setrlimit(RLIMIT_MEMLOCK, &limit), ==, 0);
    CHECK(limited, explain_dma_map);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-host-device/no-group", test_no_group);
    g_test_add_func("/vfio-host-device/open-group", test_open_group);
    g_test_add_func("/vfio-host-device/open-container", test_open_container);
    g_test_add_func("/vfio-host-device/not-viable", test_not_viable);
    g_test_add_func("/vfio-host-device/set-container", test_set_container);
    g_test_add_func("/vfio-host-device/set-iommu", test_set_iommu);
    g_test_add_func("/vfio-host-device/get-device", test_get_device);
    g_test_add_func("/vfio-host-device/open-iommufd", test_open_iommufd);
    g_test_add_func("/vfio-host-device/no-cdev", test_no_cdev);
    g_test_add_func("/vfio-host-device/no-cdev-node", test_no_cdev_node);
    g_test_add_func("/vfio-host-device/open-cdev", test_open_cdev);
    g_test_add_func("/vfio-host-device/bind", test_bind);
    g_test_add_func("/vfio-host-device/nothing-to-see", test_nothing_to_see);
    g_test_add_func("/vfio-host-device/path", test_path);
    g_test_add_func("/vfio-host-device/no-iommu-type", test_no_iommu_type);
    g_test_add_func("/vfio-host-device/dma-map", test_dma_map);
    return g_test_run();
}
