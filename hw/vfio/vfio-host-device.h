/*
 * What stands in the way of a host device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VFIO_VFIO_HOST_DEVICE_H
#define HW_VFIO_VFIO_HOST_DEVICE_H

/*
 * These find out, from the host's sysfs and from the limits of this process,
 * why the kernel refused something and what would help. Each returns a text to
 * be freed that goes at the end of an error message: "; " and the reason, or
 * nothing if there is none to be seen, as with a restricted sysfs.
 *
 * @sysfsdev is the device's folder in sysfs, or NULL if QEMU was given a file
 * descriptor; @err is the errno of what failed.
 */

/**
 * vfio_host_explain_no_group: why a device has no IOMMU group
 */
char *vfio_host_explain_no_group(const char *sysfsdev, int err);

/**
 * vfio_host_explain_open: why the node of a group, or of a device, cannot be
 * opened
 */
char *vfio_host_explain_open(const char *sysfsdev, int err);

/**
 * vfio_host_explain_no_cdev: why a device has no node of its own for iommufd
 */
char *vfio_host_explain_no_cdev(const char *sysfsdev);

/**
 * vfio_host_explain_not_viable: which devices keep the IOMMU group from being
 * handed to this process, and their drivers
 *
 * Returns: as above, but without the "; ", and NULL if there is nothing to say
 */
char *vfio_host_explain_not_viable(const char *sysfsdev);

/**
 * vfio_host_explain_get: why a device cannot be had, though its node could be
 * opened
 * @vf_token: whether a VF token was given
 */
char *vfio_host_explain_get(const char *sysfsdev, bool vf_token, int err);

/**
 * vfio_host_explain_no_iommu_type: why a container offers no kind of IOMMU
 */
char *vfio_host_explain_no_iommu_type(void);

/**
 * vfio_host_explain_dma_map: which limit does not allow to map memory for DMA
 * @size: of the memory, in bytes
 */
char *vfio_host_explain_dma_map(uint64_t size, int err);

#endif
