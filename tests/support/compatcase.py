# SPDX-License-Identifier: GPL-2.0-or-later
"""What the compatibility tests share: the two builds, one test case per machine type, TAP output.

The builds are build/base/pristine and build/patched; the environment variables COMPAT_PRISTINE and
COMPAT_PATCHED name other build folders.
"""

import re
import tempfile
import unittest
from pathlib import Path

from workbench.compare import builds
from workbench.guest.qemu import GuestError
from workbench.testing.tap import main  # noqa: F401

MACHINES = {"aarch64": ("virt",), "x86_64": ("pc-q35", "pc-i440fx")}


def binaries(target):
    """(pristine, patched) paths of qemu-system-TARGET; a test is skipped when x86 is not built.

    Raises GuestError when the Arm one is missing in a build folder.
    """
    both = tuple(builds.default_binary(build, target)
                 for build in (builds.PRISTINE, builds.PATCHED))
    for binary in both:
        if not binary.exists():
            if target != "aarch64":
                raise unittest.SkipTest(f"{binary} is not built")
            raise GuestError(f"{binary} does not exist. Build it first (scripts/build), or name "
                             "the build folders in COMPAT_PRISTINE and COMPAT_PATCHED.")
    return both


# What "virt" stands for in the patched binary, and in the pristine one.
NEW, NEWEST = "virt-11.1-hotplug", "virt-11.1"


def machines(target):
    """All versioned machine types of TARGET that the pristine binary has, and aliases of x86's.

    Empty when there is no binary: then setUpClass of the tests says so.
    """
    pristine = builds.default_binary(builds.PRISTINE, target)
    if not pristine.exists():
        return []
    names = [name for family in MACHINES[target]
             for name in builds.machine_types(pristine, family)]
    return names + {"aarch64": [], "x86_64": ["q35", "pc"]}[target]


def each(names):
    """Class decorator: a method check_X(self, name) becomes a test X for each of NAMES.

    pycotap does not count subtests, and one failing machine type must not hide the others.
    """
    def decorate(case):
        for attribute in [a for a in dir(case) if a.startswith("check_")]:
            method = getattr(case, attribute)
            for name in names:
                def test(self, method=method, name=name):
                    method(self, name)
                title = re.sub(r"\W", "_", name)
                test.__doc__ = f"{attribute[6:]} {name}"
                setattr(case, f"test_{attribute[6:]}_{title}", test)
        return case
    return decorate


def folder(case):
    """A temporary folder of the test CASE."""
    made = tempfile.TemporaryDirectory(prefix="compat-")
    case.addCleanup(made.cleanup)
    return Path(made.name)


class CompatCase(unittest.TestCase):
    """A test that needs both binaries of TARGET, found as self.pristine and self.patched."""

    target = "aarch64"
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.pristine, cls.patched = binaries(cls.target)

    def test_binaries(self):
        """Both binaries are there, and they are two."""
        if self.pristine.samefile(self.patched):
            self.fail(f"{self.pristine} and {self.patched} are one file: nothing would be compared")
