# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt with its daemons, as several releases of Debian have it, each in a root of its own."""

from dataclasses import dataclass

from ..system import debroot
from ..ui.report import WorkbenchError, info

# QEMU is the one that is tested and comes from outside. The others are for a host with an init
# system, and pull one in.
PROVIDED = ("qemu-kvm", "systemd-container", "polkitd")
# What QEMU needs, with names that are the same in all releases.
LIBRARIES = ("libslirp0", "libfdt1", "libpixman-1-0", "zlib1g")
DAEMON = ("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients")


@dataclass(frozen=True)
class Release:
    """A libvirt of Debian.

    NAME is how tests and pages call it, VERSION a regular expression for that of its package.
    """

    name: str
    version: str
    recipe: debroot.Recipe

    def root(self):
        """Have the root with it; returns the folder. Raises WorkbenchError."""
        return debroot.have(self.recipe)

    def exact(self):
        """The version of the package in the root."""
        return debroot.version(self.root(), "libvirt-daemon")


def _release(name, version, release, backports=False, more=()):
    """A Release from that of Debian with the codename RELEASE."""
    suites, pinned = (release,), ()
    if backports:
        suites += (f"{release}-backports",)
        pinned = (("libvirt", suites[1]),)
    return Release(name, version, debroot.Recipe(f"libvirt-{name}", suites,
                                                 DAEMON + LIBRARIES + more, pinned, PROVIDED))


# Instead of systemd, for what 12.x needs of it.
_SYSUSERS = ("systemd-standalone-sysusers",)
RELEASES = {release.name: release for release in (
    _release("9.0", r"9\.0\.0-4\+deb12", "bookworm"),
    _release("11.3-bpo12", r"11\.3\.0-2~bpo12", "bookworm", backports=True),
    _release("11.3-deb13", r"11\.3\.0-3\+deb13", "trixie"),
    _release("12", r"1[2-9]\.", "trixie", backports=True, more=_SYSUSERS),
)}


def fetch():
    """Have all roots before the tests, which run against the clock.

    The tests say themselves what they lack.
    """
    for release in RELEASES.values():
        try:
            release.root()
        except WorkbenchError as error:
            info(f"libvirt {release.name} is not tested: {error}")
