# SPDX-License-Identifier: GPL-2.0-or-later
"""What Linux the emulated Arm host can run: kernels of Debian, and those that are built here."""

from ..build import linux
from ..guest import assets, modules

DEFAULT = assets.DEFAULT_KERNEL


def names():
    """The kernels that the host can run, Debian's first."""
    return assets.kernel_names() + linux.names()


def kernel(name=DEFAULT):
    """The path of the kernel NAME, one of names(). One of linux.names() is built if needed.

    Raises WorkbenchError when it cannot be had.
    """
    if name in linux.names():
        return linux.build(name) / "vmlinuz"
    return assets.kernel(name)


def module_files(name=DEFAULT):
    """{name in the host's initial RAM disk: path} of the modules of kernel(NAME)."""
    if name not in linux.names():
        return modules.files(name)
    folder = linux.build(name)
    if not (folder / "release").exists():
        modules.prepare(folder, folder)
    return modules.of_folder(folder)
