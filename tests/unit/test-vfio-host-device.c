/*
 * What VFIO says of a host device that cannot be had, from a made-up sysfs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/resource.h>
#include "../../hw/vfio/vfio-host-device.h"

#define GROUP "group"

/* A device in the made-up sysfs; all are in one IOMMU group. */
typedef struct FakeDevice {
    const char *name;
    const char *driver;
    const char *class;
    bool vfio_dev;          /* Linux 6.1 and newer shows it so */
    const char *physfn;
} FakeDevice;

static char *root;

static char *in_root(const char *first, const char *second)
{
    return g_build_filename(root, first, second, NULL);
}

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

static void add_link(const char *device, const char *link, const char *folder,
                     const char *name)
{
    g_autofree char *path = in_root(device, link);
    g_autofree char *target = g_build_filename("..", folder, name, NULL);

    g_assert_cmpint(symlink(target, path), ==, 0);
}

static void add_device(const FakeDevice *device)
{
    g_autofree char *folder = in_root(device->name, NULL);
    g_autofree char *class = in_root(device->name, "class");
    g_autofree char *vfio_dev = in_root(device->name, "vfio-dev");
    g_autofree char *member = g_build_filename(root, GROUP, "devices",
                                               device->name, NULL);
    g_autofree char *target = g_build_filename("..", "..", device->name, NULL);

    g_assert_cmpint(g_mkdir(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(class, device->class ?: "0x020000\n", -1,
                                      NULL));
    if (device->vfio_dev) {
        g_assert_cmpint(g_mkdir(vfio_dev, 0755), ==, 0);
    }
    if (device->driver) {
        add_link(device->name, "driver", "drivers", device->driver);
    }
    if (device->physfn) {
        add_link(device->name, "physfn", "", device->physfn);
    }
    add_link(device->name, "iommu_group", "", GROUP);
    g_assert_cmpint(symlink(target, member), ==, 0);
}

/* Returns: the folder of the first of the devices */
static char *make_sysfs(const FakeDevice *devices)
{
    g_autofree char *members = NULL;

    root = g_dir_make_tmp("test-vfio-host-device-XXXXXX", NULL);
    g_assert_nonnull(root);
    members = in_root(GROUP, "devices");
    g_assert_cmpint(g_mkdir_with_parents(members, 0755), ==, 0);
    for (const FakeDevice *d = devices; d->name; d++) {
        add_device(d);
    }
    return in_root(devices[0].name, NULL);
}

static void remove_sysfs(void)
{
    remove_tree(root);
    g_clear_pointer(&root, g_free);
}

#define REMEDY "; bind all devices of the group to vfio-pci, or to no driver"

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
        "0000:02:00.1 (tg3) still uses a host driver" REMEDY
    }, {
        "sorted", {
            { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
            { "0000:02:00.2", "igb" },
            { "0000:02:00.1", "tg3" },
        },
        "0000:02:00.1 (tg3), 0000:02:00.2 (igb) still use host drivers" REMEDY
    }, {
        "itself", {
            { "0000:02:00.0", "tg3" },
        },
        "0000:02:00.0 (tg3) still uses a host driver" REMEDY
    }, {
        "harmless", {
            { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
            { "0000:00:01.0", "pcieport", .class = "0x060400\n" },
            { "0000:02:00.1", "pci-stub" },
            { "0000:02:00.2" },
            { "0000:02:00.3", "mlx5_core", .vfio_dev = true },
        },
        NULL
    }, {
        "old kernel", {
            { "0000:02:00.0", "vfio-pci" },
            { "0000:02:00.1", "mlx5_vfio_pci" },
            { "0000:02:00.2", "tg3" },
        },
        "0000:02:00.2 (tg3) still uses a host driver" REMEDY
    }, {
        "eight", {
            { "d1", "x" }, { "d2", "x" }, { "d3", "x" }, { "d4", "x" },
            { "d5", "x" }, { "d6", "x" }, { "d7", "x" }, { "d8", "x" },
        },
        "d1 (x), d2 (x), d3 (x), d4 (x), d5 (x), d6 (x), d7 (x), d8 (x) "
        "still use host drivers" REMEDY
    }, {
        "more than eight", {
            { "d1", "x" }, { "d2", "x" }, { "d3", "x" }, { "d4", "x" },
            { "d5", "x" }, { "d6", "x" }, { "d7", "x" }, { "d8", "x" },
            { "d9", "x" }, { "da", "x" },
        },
        "d1 (x), d2 (x), d3 (x), d4 (x), d5 (x), d6 (x), d7 (x), d8 (x) "
        "and 2 more still use host drivers" REMEDY
    },
};

static void test_not_viable(void)
{
    for (int i = 0; i < ARRAY_SIZE(viable_cases); i++) {
        const ViableCase *c = &viable_cases[i];
        g_autofree char *sysfsdev = make_sysfs(c->devices);
        g_autofree char *text = vfio_host_explain_not_viable(sysfsdev);

        g_test_message("%s", c->name);
        g_assert_cmpstr(text, ==, c->text);
        remove_sysfs();
    }
}

/* A file descriptor without a name, and a sysfs that shows nothing */
static void test_nothing_to_see(void)
{
    static const char *const folders[] = { NULL, "/nonexistent" };

    for (int i = 0; i < ARRAY_SIZE(folders); i++) {
        const char *sysfsdev = folders[i];
        g_autofree char *open_text = vfio_host_explain_open(sysfsdev, EIO);
        g_autofree char *get = vfio_host_explain_get(sysfsdev, false, ENODEV);
        g_autofree char *other = vfio_host_explain_get(sysfsdev, false, EIO);
        g_autofree char *group = vfio_host_explain_no_group(sysfsdev, EACCES);

        g_assert_null(vfio_host_explain_not_viable(sysfsdev));
        g_assert_cmpstr(open_text, ==, "");
        g_assert_cmpstr(get, ==, "");
        g_assert_cmpstr(other, ==, "");
        g_assert_cmpstr(group, ==, "");
    }
}

static const FakeDevice on_host_driver[] = { { "0000:02:00.0", "tg3" }, { } };
static const FakeDevice without_driver[] = { { "0000:02:00.0" }, { } };
static const FakeDevice on_vfio[] = {
    { "0000:02:00.0", "vfio-pci", .vfio_dev = true }, { }
};
static const FakeDevice group_shared[] = {
    { "0000:02:00.0", "vfio-pci", .vfio_dev = true },
    { "0000:02:00.1", "tg3" }, { }
};
static const FakeDevice virtual_function[] = {
    { "0000:02:10.0", "vfio-pci", .vfio_dev = true, .physfn = "0000:02:00.0" },
    { }
};

#define HOST_DRIVER "; the device uses the host driver 'tg3': bind it to " \
                    "vfio-pci"
#define NO_DRIVER "; the device has no driver: bind it to vfio-pci"

typedef struct ErrnoCase {
    const FakeDevice *devices;
    int err;
    const char *text;
    bool vf_token;
} ErrnoCase;

static const ErrnoCase open_cases[] = {
    { on_host_driver, ENOENT, HOST_DRIVER },
    { without_driver, ENOENT, NO_DRIVER },
    { on_vfio, ENOENT, "; the host's /dev/vfio is not visible to QEMU, as in "
                       "a container that was not given it" },
    { on_vfio, EBUSY, "; another process has it" },
    { on_vfio, EACCES, "; QEMU's user may not read and write it" },
    { on_vfio, EPERM, "; QEMU's user may not read and write it" },
};

static void test_open(void)
{
    for (int i = 0; i < ARRAY_SIZE(open_cases); i++) {
        const ErrnoCase *c = &open_cases[i];
        g_autofree char *sysfsdev = make_sysfs(c->devices);
        g_autofree char *text = vfio_host_explain_open(sysfsdev, c->err);

        g_assert_cmpstr(text, ==, c->text);
        remove_sysfs();
    }
}

static const ErrnoCase get_cases[] = {
    { on_host_driver, ENODEV, HOST_DRIVER },
    { without_driver, ENODEV, NO_DRIVER },
    { on_vfio, ENODEV, "" },
    { on_vfio, EINVAL, "" },
    { on_vfio, EBUSY, "; another process has the device, or one of its IOMMU "
                      "group" },
    { group_shared, EBUSY, "; its IOMMU group is not viable: 0000:02:00.1 "
                           "(tg3) still uses a host driver" REMEDY },
    { on_vfio, EACCES, "; this may be for want of a 'vf-token', which a "
                       "physical function needs while its virtual functions "
                       "are in use" },
    { virtual_function, EACCES,
      "; the physical function 0000:02:00.0 is on vfio-pci, so the 'vf-token' "
      "that it was given is needed, and none was given" },
    { virtual_function, EACCES,
      "; the physical function 0000:02:00.0 is on vfio-pci, so the 'vf-token' "
      "that it was given is needed, and this is not it", true },
    { virtual_function, EINVAL,
      "; the device takes no 'vf-token', because its physical function is not "
      "on vfio-pci, or, with iommufd, because the host's kernel is older than "
      "Linux 6.17", true },
};

static void test_get(void)
{
    for (int i = 0; i < ARRAY_SIZE(get_cases); i++) {
        const ErrnoCase *c = &get_cases[i];
        g_autofree char *sysfsdev = make_sysfs(c->devices);
        g_autofree char *text = vfio_host_explain_get(sysfsdev, c->vf_token,
                                                      c->err);

        g_assert_cmpstr(text, ==, c->text);
        remove_sysfs();
    }
}

static const ErrnoCase no_cdev_cases[] = {
    { on_host_driver, 0, HOST_DRIVER },
    { without_driver, 0, NO_DRIVER },
    { on_vfio, 0, "; the host's kernel has no VFIO device nodes "
                  "(CONFIG_VFIO_DEVICE_CDEV): do without iommufd" },
};

static void test_no_cdev(void)
{
    for (int i = 0; i < ARRAY_SIZE(no_cdev_cases); i++) {
        const ErrnoCase *c = &no_cdev_cases[i];
        g_autofree char *sysfsdev = make_sysfs(c->devices);
        g_autofree char *text = vfio_host_explain_no_cdev(sysfsdev);

        g_assert_cmpstr(text, ==, c->text);
        remove_sysfs();
    }
}

#define NO_IOMMU "no IOMMU of the host serves the device: there is none (on " \
                 "Arm, an SMMU), or it is off in firmware or kernel"

static const ErrnoCase no_group_cases[] = {
    { on_vfio, ENOENT, "; " NO_IOMMU },
    { on_host_driver, ENOENT, "; " NO_IOMMU },
    { without_driver, ENOENT, "; the device has no driver: bind it to "
                              "vfio-pci; if it has no group then either, "
                              NO_IOMMU },
    { without_driver, EACCES, "" },
};

static void test_no_group(void)
{
    for (int i = 0; i < ARRAY_SIZE(no_group_cases); i++) {
        const ErrnoCase *c = &no_group_cases[i];
        g_autofree char *sysfsdev = make_sysfs(c->devices);
        g_autofree char *text = vfio_host_explain_no_group(sysfsdev, c->err);

        g_assert_cmpstr(text, ==, c->text);
        remove_sysfs();
    }
}

static void test_memory_limit(void)
{
    g_autofree char *unlimited = NULL;
    g_autofree char *limited = NULL;
    g_autofree char *other = vfio_host_explain_dma_map(4096, EFAULT);
    struct rlimit limit;

    g_assert_cmpstr(other, ==, "");

    g_assert_cmpint(getrlimit(RLIMIT_MEMLOCK, &limit), ==, 0);
    if (limit.rlim_cur == RLIM_INFINITY) {
        unlimited = vfio_host_explain_dma_map(1024 * 1024, ENOMEM);
        g_assert_cmpstr(unlimited, ==, "");
    }

    limit.rlim_cur = 64 * 1024;
    g_assert_cmpint(setrlimit(RLIMIT_MEMLOCK, &limit), ==, 0);
    limited = vfio_host_explain_dma_map(1024 * 1024, ENOMEM);
    g_assert_cmpstr(limited, ==, "; VFIO locks the guest's memory, 1024 KiB in "
                    "this step, and the limit of locked memory "
                    "(RLIMIT_MEMLOCK) is 64 KiB in all: raise it to the memory "
                    "of the guest and some more");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vfio-host-device/not-viable", test_not_viable);
    g_test_add_func("/vfio-host-device/nothing-to-see", test_nothing_to_see);
    g_test_add_func("/vfio-host-device/open", test_open);
    g_test_add_func("/vfio-host-device/get", test_get);
    g_test_add_func("/vfio-host-device/no-cdev", test_no_cdev);
    g_test_add_func("/vfio-host-device/no-group", test_no_group);
    g_test_add_func("/vfio-host-device/memory-limit", test_memory_limit);
    return g_test_run();
}
