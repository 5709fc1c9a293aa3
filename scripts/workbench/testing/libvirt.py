# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's driver for QEMU, without the daemons and services that come with it.

A client of libvirt can load it into its own process (URI qemu:///embed). From Debian 13 on its
package needs QEMU's own packages and an init system, so it is only unpacked.
"""

import glob
import shutil
import subprocess

from ..system import aptroot, atomic, debfiles, paths
from ..system.programs import run, tail
from ..ui.report import WorkbenchError, step

NAME = "libvirt_driver_qemu.so"
INSTALLED = ("/usr/lib64", "/usr/lib/*", "/usr/lib")
PACKAGE = "libvirt-daemon-driver-qemu"


def driver():
    """The folder that has the driver, for LIBVIRT_DRIVER_DIR; it fits the installed libvirt.

    Raises WorkbenchError when libvirt is not installed or the driver cannot be had.
    """
    if not shutil.which("virsh"):
        raise WorkbenchError("virsh is missing: install libvirt-clients (Fedora: libvirt-client).")
    for folder in INSTALLED:
        found = glob.glob(f"{folder}/libvirt/connection-driver/{NAME}")
        if found:
            return found[0].removesuffix(f"/{NAME}")
    if not aptroot.available():
        raise WorkbenchError(f"{NAME} is missing: install {PACKAGE}.")
    # It loads into the library only of its own version.
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libvirt0"],
                             capture_output=True, text=True, check=False).stdout
    folder = paths.LIBVIRT / version
    if not folder.exists():
        step(f"Fetching libvirt's driver for QEMU into {folder.relative_to(paths.TOP)}")
        with atomic.new_folder(folder) as new:
            log = paths.LOGS / "apt-download.log"
            # From the machine's own suites, among which may be one of security updates.
            if run(["apt-get", "download", f"{PACKAGE}={version}"], cwd=new, log=log, check=False,
                   what=f"Downloading {PACKAGE}"):
                raise WorkbenchError(f"{PACKAGE} {version} cannot be had:\n{tail(log)}")
            deb, = new.glob("*.deb")
            debfiles.unpack(deb, new)
            deb.unlink()
    return str(next(folder.rglob(NAME)).parent)
