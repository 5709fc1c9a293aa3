/*
 * Why VFIO cannot use a host device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_VFIO_HOST_DEVICE_H
#define HW_VFIO_VFIO_HOST_DEVICE_H

/*
 * These find out, from the host's sysfs and from the limits of this process,
 * why the kernel refused something and what would help. Each returns a text to
 * be freed that goes at the end of an error message: a semicolon (a colon with
 * vfio_host_explain_not_viable()) and the reason, or nothing if there is none
 * to be seen, as with a restricted sysfs.
 *
 * @sysfsdev is the device's folder in sysfs, or NULL if that is not known;
 * @err is the errno of what failed; @vf_token tells whether a VF token was
 * given.
 */

/* What the host's /sys and /proc are below; only the unit test changes it. */
extern const char *vfio_host_root;

/**
 * vfio_host_device_path: a device's folder in sysfs
 * @sysfsdev: as given by the user, or NULL
 * @fd: of the device; it is looked at if there is no @sysfsdev
 *
 * Returns: a path to be freed, or NULL if sysfs does not tell
 */
char *vfio_host_device_path(const char *sysfsdev, int fd);

/*
 * With groups and a container
 */

/**
 * vfio_host_explain_no_group: why a device has no IOMMU group
 */
char *vfio_host_explain_no_group(const char *sysfsdev, int err);

/**
 * vfio_host_explain_open_group: why /dev/vfio/N cannot be opened
 */
char *vfio_host_explain_open_group(const char *sysfsdev, int err);

/**
 * vfio_host_explain_not_viable: which devices keep the IOMMU group from being
 * handed to this process, and their drivers
 */
char *vfio_host_explain_not_viable(const char *sysfsdev);

/**
 * vfio_host_explain_open_container: why /dev/vfio/vfio cannot be opened, though
 * the group could be
 */
char *vfio_host_explain_open_container(int err);

/**
 * vfio_host_explain_no_iommu_type: why a container offers no kind of IOMMU
 */
char *vfio_host_explain_no_iommu_type(void);

/**
 * vfio_host_explain_set_container: why a group cannot go into a container
 */
char *vfio_host_explain_set_container(const char *sysfsdev, int err);

/**
 * vfio_host_explain_set_iommu: why a container with a group gets no IOMMU
 */
char *vfio_host_explain_set_iommu(const char *sysfsdev, int err);

/**
 * vfio_host_explain_get_device: why a device of a group cannot be had
 */
char *vfio_host_explain_get_device(const char *sysfsdev, bool vf_token,
                                   int err);

/*
 * With iommufd
 */

/**
 * vfio_host_explain_open_iommufd: why /dev/iommu cannot be opened
 */
char *vfio_host_explain_open_iommufd(void);

/**
 * vfio_host_explain_no_cdev: why a device has no folder vfio-dev
 */
char *vfio_host_explain_no_cdev(const char *sysfsdev, int err);

/**
 * vfio_host_explain_no_cdev_node: why a device that has a folder vfio-dev has
 * no node
 */
char *vfio_host_explain_no_cdev_node(const char *sysfsdev);

/**
 * vfio_host_explain_open_cdev: why /dev/vfio/devices/vfioN cannot be opened
 */
char *vfio_host_explain_open_cdev(int err);

/**
 * vfio_host_takes_token: Returns: whether a 'vf-token' makes sense for a device
 *
 * That is so for virtual functions if their physical function is on vfio-pci,
 * and for physical functions.
 */
bool vfio_host_takes_token(const char *sysfsdev);

/**
 * vfio_host_explain_bind: why a device cannot be bound to iommufd
 */
char *vfio_host_explain_bind(const char *sysfsdev, bool vf_token, int err);

/*
 * With both
 */

/**
 * vfio_host_explain_dma_map: which limit prevents mapping memory for DMA
 * @size: of the memory, in bytes
 */
char *vfio_host_explain_dma_map(uint64_t size, int err);

#endif
