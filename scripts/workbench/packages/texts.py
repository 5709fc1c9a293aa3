# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts that the packages of all distributions have."""

import datetime
import os
import subprocess
import textwrap

from ..series import source
from ..system import paths

NAME = "qemu-virt-hotplug"
SUMMARY = "QEMU for Arm guests with vCPU hot-plug, beside the distribution's"
HOMEPAGE = "https://www.qemu.org/"
# As in the stored patches.
MAINTAINER = "qemu-virt-hotplug <noreply@qemu-virt-hotplug.invalid>"
# What a package is made from, in the repository.
SOURCES = ("patches", "scripts", "upstream.json")
ABOUT = (
    "This is QEMU's emulator of AArch64 machines with patches by which vCPUs, PCIe devices and "
    "devices of the host are plugged into and out of running guests of the machine virt.",
    f"Its programs are called {NAME}-system-aarch64, {NAME}-img and so on. No file is one of the "
    "distribution's packages of QEMU, and both can be installed.",
)


def wrapped(text, start=""):
    """TEXT as lines of at most 79 columns that begin with START."""
    return textwrap.fill(text, 79, initial_indent=start, subsequent_indent=start,
                         break_long_words=False, break_on_hyphens=False)


def released():
    """When something of SOURCES was last changed, as datetime with a time zone.

    SOURCE_DATE_EPOCH, else the last commit, else now, for a copy without history.
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or subprocess.run(
        ["git", "-C", paths.TOP, "log", "-1", "--format=%ct", "--", *SOURCES],
        capture_output=True, text=True, check=False).stdout.strip()
    if seconds:
        return datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)
    return datetime.datetime.now(datetime.timezone.utc)


def version(moment):
    """Version of a package: QEMU's and the MOMENT of released(). A later one is higher."""
    return f"{source.upstream()['version']}+hotplug{moment:%Y%m%d.%H%M}"


def apparmor(data):
    """Rules for AppArmor; DATA is QEMU's data folder."""
    return f"""# What a guest's QEMU of {NAME} needs beyond that of the distribution.
  /usr/bin/{NAME}-system-* rmix,
  {data}/** rk,
  /usr/lib/@{{multiarch}}/{NAME}/*.so mr,
  /usr/lib64/{NAME}/*.so mr,
"""


def sources(origins):
    """What says where the option ROMs and the firmware come from; ORIGINS as in datafiles.py."""
    text = wrapped("The option ROMs and the firmware come from packages of Debian. Their licences "
                   "are beside this file. Their sources are Debian's source packages of these "
                   "versions:") + "\n\n"
    for origin in origins:
        package = (origin.place() / "package").read_text(encoding="utf-8").strip()
        text += f"  {package}\n" + "".join(f"      {name}\n" for name in sorted(origin.files))
    return text


def readme(links, rules):
    """What a user has to know.

    LINKS is the folder with the usual names of the programs, RULES the file with rules for AppArmor
    if there is one.
    """
    parts = [
        *ABOUT,
        f"libvirt: name the emulator in the domain, <emulator>/usr/bin/{NAME}-system-aarch64"
        "</emulator>, and the machine, for instance virt-11.1-hotplug. 'virsh domcapabilities "
        f"--emulatorbin /usr/bin/{NAME}-system-aarch64' shows what it can do."]
    if rules:
        parts += [
            f"AppArmor: the file {rules} allows guests what this package needs. libvirt of Debian "
            "13 reads it. That of Debian 12 does not: add this line to "
            "/etc/apparmor.d/local/abstractions/libvirt-qemu, and restart libvirtd:",
            "    include if exists <abstractions/libvirt-qemu.d>"]
    parts += [
        f"Others find the programs under their usual names if {links} comes first in PATH.",
        "The documents of QEMU are in the folder html: begin with system/arm/virt.html. They are "
        f"also the manual page {NAME}(1)."]
    return "\n\n".join(part if part.startswith(" ") else wrapped(part) for part in parts) + "\n"
