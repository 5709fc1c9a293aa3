# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules of the guests' kernels, ready for busybox's modprobe."""

import lzma
import re
import shutil
from dataclasses import replace

from ..system import aptroot, atomic, debfiles, paths
from ..ui.report import WorkbenchError, step
from . import assets, initramfs

# With what they depend on; the rest is built in.
NAMES = ("virtio_net", "net_failover", "failover", "virtio_blk",
         "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci",
         "igb", "i2c-algo-bit", "igbvf", "e1000e",
         "nvme", "nvme-core", "nvme-auth", "nvme-keyring",
         "xhci-pci", "xhci-pci-renesas", "xhci-hcd", "usbcore", "usb-common",
         "usb-storage", "sd_mod", "scsi_mod", "scsi_common",
         "virtio_scsi", "sr_mod", "cdrom", "usbhid", "hid-generic", "hid",
         "9p", "9pnet", "9pnet_virtio", "netfs")
KERNELS = ("6.12", "7")         # those of assets.kernel_names() that have all of them
# All that is needed of others: a network, and VFIO, which came in more parts before 6.3.
_FEW = NAMES[:3] + ("virtio_pci", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
                    "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci")


def files(kernel=assets.DEFAULT_KERNEL):
    """{name in a guest's initial RAM disk: path} of the modules of assets.kernel(KERNEL).

    These are NAMES, but of kernels that are not in KERNELS only those of a virtio network and of
    VFIO. Raises WorkbenchError when their package cannot be had.
    """
    return of_folder(_folder(kernel))


def of_folder(folder):
    """{name in a guest's initial RAM disk: path} of the modules in FOLDER. Needs prepare()."""
    release = (folder / "release").read_text(encoding="utf-8")
    return {f"lib/modules/{release}/{path.name}": path for path in folder.iterdir()
            if path.suffix in (".ko", ".dep")}


def initrd(*names):
    """Path of the test guests' initial RAM disk with the modules NAMES and what these need.

    For the default kernel; not with all modules, because that would take guests long to unpack.
    """
    found = files()
    listed = next(path for path in found.values() if path.suffix == ".dep")
    wanted = {listed.name}
    for line in listed.read_text(encoding="utf-8").splitlines():
        module, _, needs = line.partition(":")
        if module.removesuffix(".ko") in names:
            wanted |= {module, *needs.split()}
    return atomic.write_if_changed(
        paths.GUEST / f"initrd-{'-'.join(names)}.cpio",
        initramfs.extended(assets.initrd().read_bytes(), {
            name: path for name, path in found.items() if path.name in wanted}))


def _folder(kernel):
    package = assets.kernel_package(kernel)
    folder = paths.GUEST / f"modules-{kernel}"
    stamp = folder / "package"
    names = NAMES if kernel in KERNELS else _FEW
    wanted = f"{package} {' '.join(names)}\n"
    if atomic.holds(stamp, wanted):
        return folder
    step(f"Fetching modules of the Linux {kernel} kernel into {folder.relative_to(paths.TOP)}")
    try:
        deb = _fetch(package)
    except WorkbenchError:
        # The archive has moved on since the kernel was fetched; both must be of one version.
        shutil.rmtree(paths.GUEST / f"kernel-{kernel}")
        package = assets.kernel_package(kernel)
        wanted = f"{package} {' '.join(names)}\n"
        deb = _fetch(package)
    with atomic.new_folder(folder) as new:
        debfiles.extract(deb, {f"{name}.ko": rf".*/{re.escape(name)}\.ko(\.xz)?"
                               for name in names}, new)
        prepare(new, deb)
        (new / stamp.name).write_text(wanted, encoding="utf-8")
    return folder


def _fetch(package):
    # From 7.x on the modules have a package of their own.
    name = package.name.replace("linux-binary-", "linux-modules-")
    deb, = aptroot.fetch([replace(package, name=name)])
    return deb


def prepare(folder, source):
    """Decompress the modules in FOLDER, and write what depends on what, and their release.

    SOURCE is what they are from, for messages. Raises WorkbenchError when one is missing.
    """
    needs, releases = {}, set()
    for path in folder.glob("*.ko"):
        data = path.read_bytes()
        if data.startswith(b"\xfd7zXZ"):
            data = lzma.decompress(data)
            path.write_bytes(data)
        needs[path.stem] = information(data, "depends").replace("_", "-").split(",")
        releases.add(information(data, "vermagic").split(" ")[0])
    by_name = {name.replace("_", "-"): name for name in needs}

    def closure(name):
        result = {}
        for need in filter(None, needs[name]):
            if need not in by_name:
                raise WorkbenchError(f"The module {name} of {source} needs {need}, which is not "
                                     "among those that modules.py names.")
            for found in (by_name[need], *closure(by_name[need])):
                # To the end: busybox loads the last one first.
                result.pop(found, None)
                result[found] = None
        return result

    (folder / "modules.dep").write_text("".join(
        f"{name}.ko:{''.join(f' {need}.ko' for need in closure(name))}\n"
        for name in sorted(needs)), encoding="utf-8")
    release, = releases
    (folder / "release").write_text(release, encoding="utf-8")


def information(data, key):
    """The value of KEY in the description that the module with the bytes DATA carries."""
    match = re.search(rb"\0" + key.encode() + rb"=([^\0]*)\0", data)
    return match.group(1).decode() if match else ""
