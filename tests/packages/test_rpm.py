#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=3600
"""The package for Fedora, judged without a Fedora: in the root that it is built in."""

import re
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from workbench.packages import layout, rpm  # noqa: E402
from workbench.packages.texts import NAME  # noqa: E402
from workbench.system import debroot, paths  # noqa: E402
from workbench.system.room import Room  # noqa: E402

SOON = 300          # seconds for a program that ends by itself
EMULATOR = f"/usr/bin/{NAME}-system-aarch64"
# Libraries of Debian 13 that Fedora 43 has under another soname, or not at all.
FOREIGN = ("libsasl2.so.2", "libaio.so.1t64", "libfuse3.so.4", "libvdeplug.so.2", "libpmem")


class Package(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        reason = debroot.unsupported()
        if reason:
            raise unittest.SkipTest(reason)
        cls.package = rpm.built() or rpm.build()
        cls.room = Room(rpm.place().root(), [paths.BUILD], name="package")
        cls.addClassCleanup(cls.room.close)

    def query(self, *words):
        """Lines of what rpm says of the package. It may warn that Debian has other packages."""
        return self.room.check(["sh", "-c", 'rpm -qp "$@" 2>/tmp/errors || '
                                "{ cat /tmp/errors; false; }", "sh", *words, self.package],
                               SOON).splitlines()

    def test_files(self):
        """Each has the package's name in its path, and all are below /usr."""
        files = self.query("-l")
        self.assertGreater(len(files), 100)
        self.assertEqual(layout.foreign(files), [])
        self.assertEqual([name for name in files if not name.startswith("/usr/")], [])
        for name in (EMULATOR, f"/{layout.DESCRIPTOR}", f"/{layout.DOCUMENTS}/LICENSE"):
            self.assertIn(name, files)

    def test_needs(self):
        """Sonames that Fedora has, and no packages by name; nothing of what modules need."""
        needs = self.query("--requires")
        libraries = [need for need in needs if ".so." in need]
        self.assertIn("libc.so.6(GLIBC_2.34)(64bit)", libraries)
        for name in ("libslirp.so.0()(64bit)", "libaio.so.1()(64bit)"):
            self.assertIn(name, libraries)
        for name in ("libgtk-3", "libspice-server", *FOREIGN):
            self.assertEqual([need for need in libraries if need.startswith(name)], [])
        # Fedora's has no versions of symbols.
        self.assertEqual({need for need in libraries if need.startswith("libcurl")},
                         {"libcurl.so.4()(64bit)"})
        others = [need for need in needs if need not in libraries
                  and not re.match(r"rpmlib\(|ld-linux-|rtld\(", need)]
        self.assertEqual(others, [])
        self.assertFalse([line for line in self.query("--provides") if ".so" in line])

    def test_runs(self):
        """Installed, it starts a machine with devices that have option ROMs."""
        if self.room.run(["test", "-e", EMULATOR])[0]:
            self.room.check(["rpm", "-i", "--nodeps", self.package], SOON)
            # What Fedora calls these libraries.
            for here, there in rpm.RENAMED.items():
                self.room.check(["sh", "-c", 'cd /usr/lib/*-linux-gnu && ln -s "$1" "$2"', "sh",
                                 here, there])
        said = self.room.check([EMULATOR, "--version"])
        self.assertIn(NAME, said)
        status, output = self.room.run(
            [EMULATOR, "-M", "virt", "-cpu", "max", "-m", "256M", "-nic", "user", "-device", "VGA",
             "-bios", "QEMU_EFI.fd", "-display", "none", "-serial", "none", "-S", "-monitor",
             "stdio"], SOON, text="quit\n")
        self.assertEqual(status, 0, output)
        self.assertNotIn("failed to find", output)
        self.assertIn("spice-app", self.room.check([EMULATOR, "-M", "none", "-display", "help"]))


if __name__ == "__main__":
    guestcase.main(clean_up=True)
