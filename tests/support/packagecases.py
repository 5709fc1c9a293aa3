# SPDX-License-Identifier: GPL-2.0-or-later
"""What the package for each release of Debian must be and do, in a root of that release in which
the distribution's QEMU and libvirt are installed. For a LibvirtCase.
"""

import fnmatch
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import guestcase
import libvirtcase
from libvirtcase import PLUG_SECONDS
from workbench.build import datafiles
from workbench.guest import assets
from workbench.packages import deb, layout
from workbench.packages.texts import NAME
from workbench.system import aptroot, debroot
from workbench.testing import libvirtroots

EMULATOR = f"/usr/bin/{NAME}-system-aarch64"
THEIRS = "/usr/bin/qemu-system-aarch64"
# The distribution's, which the package must not touch.
DISTRIBUTION = ("qemu-system-arm", "qemu-utils", "qemu-block-extra", "qemu-system-gui", "ipxe-qemu",
                "seabios", "qemu-efi-aarch64")
PROVIDED = tuple(name for name in libvirtroots.PROVIDED if name != "qemu-kvm")
# Options that list something, and how names look there.
HELP = {"-device": r'name "([^"]+)"', "-object": r"^  (\S+)$", "-netdev": r"^([a-z]\S*)$",
        "-chardev": r"^  (\S+)$", "-display": r"^([a-z]\S*)$", "-audiodev": r"^([a-z]\S*)$",
        "-accel": r"^([a-z]\S*)$"}
# What QEMU of Debian 12 or 13 has, and 11.1 has not, {option: regular expression}.
GONE = {
    "-device": "|".join((
        # Removed with their machines (9.2), with the RDMA subsystem (9.1), and in 10.2.
        "ads7846", "corgi-ssp", "lm8323", "max1110", "max1111", "max7310", "nand",
        "pxa2xx-i2c-slave", "spitz-lcdtg", "tosa-ssp", "tosa_dac", "twl92230",
        "pvrdma",
        "vfio-amd-xgbe", "vfio-calxeda-xgmac", "vfio-platform",
        # Parts of a SoC, which no longer offer themselves to users.
        "bcm2835-cprman-.*", "npcm7xx-clock-.*", "xlnx,efuse",
        # Made for PCs and MIPS machines alone.
        "vmware-svga")),
    # Debian 13 has no longer built it.
    "-audiodev": "sndio",
}
# Removed in 11.1, with all its protocols.
GONE_FORMATS = "gluster.*"
SOON = 120          # seconds for a program that ends by itself
UUID = "3c7a1f2e-0000-4000-8000-000000000001"


def names(field):
    """The first package of each dependency in FIELD, as control files have it."""
    return [re.match(r"[\w.+-]+", part.strip())[0] for part in field.split(",") if part.strip()]


def field(package, name):
    """A field of the file PACKAGE."""
    return subprocess.run(["dpkg-deb", "-f", package, name], capture_output=True, text=True,
                          check=True).stdout.strip()


def contents(package):
    """Paths of the files and links in the file PACKAGE, without a slash in front."""
    out = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True,
                         check=True).stdout
    paths = [line.split(None, 5)[5].split(" -> ")[0] for line in out.splitlines()]
    return [path.removeprefix("./") for path in paths if not path.endswith("/")]


def left_out(line):
    """True for a LINE of dpkg --verify about a file that roots are made without."""
    path = line[line.find("/"):]
    return line.startswith("missing ") and any(fnmatch.fnmatchcase(path, pattern)
                                               for pattern in debroot.LEFT_OUT)


class DebCases:
    """Tests of the package for the release NUMBER of Debian."""

    number = None
    # What an administrator must add for AppArmor.
    apparmor_line = ""
    # The package with libvirt's files for AppArmor, if it is one that the root cannot have.
    apparmor_package = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        reason = debroot.unsupported()
        if reason:
            raise unittest.SkipTest(reason)
        cls.package = deb.built(cls.number) or deb.build(cls.number)
        wanted = names(field(cls.package, "Depends") + "," + field(cls.package, "Recommends"))
        suite = deb.RELEASES[cls.number]
        recipe = debroot.Recipe(
            f"package-test-{suite}", (suite,),
            (*libvirtroots.DAEMON, *DISTRIBUTION, "apparmor", *dict.fromkeys(wanted)),
            provided=PROVIDED)
        cls.release = f"Debian {cls.number}"
        libvirtcase.RELEASES[cls.release] = libvirtroots.Release(cls.release, "", recipe)

    def setUp(self):
        super().setUp()
        self.room = self.daemon.room
        if self.room.run(["test", "-e", EMULATOR])[0]:
            self.room.check(["dpkg", "-i", self.package], 600)

    def test_beside(self):
        """It is installed whole, and the distribution's QEMU is as it was before."""
        # By name: what comes from outside of the root has no sums.
        packages = (NAME, *DISTRIBUTION)
        self.assertEqual(self.room.check(["dpkg", "--audit", *packages]), "")
        found = self.room.check(["dpkg", "--verify", *packages], SOON).splitlines()
        self.assertEqual([line for line in found if not left_out(line)], [])
        here = self.room.check([EMULATOR, "--version"])
        there = self.room.check([THEIRS, "--version"])
        self.assertIn(f"({NAME} {field(self.package, 'Version')})", here)
        self.assertIn("(Debian 1:", there)

    def test_files(self):
        """No file is one of another package, by its name and by what dpkg knows."""
        mine = contents(self.package)
        self.assertEqual(layout.foreign(mine), [])
        self.assertGreater(len(mine), 100)
        known = self.room.check(["sh", "-c", "ls /var/lib/dpkg/info/*.list | grep -v "
                                 f"/{NAME}.list | xargs cat"], SOON).splitlines()
        self.assertGreater(len(known), 1000)
        self.assertEqual({f"/{path}" for path in mine} & set(known), set())

    def test_documents(self):
        """Manual page, pages of the series, licences."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["dpkg-deb", "-x", self.package, folder], check=True)
            top = Path(folder)
            page = subprocess.run(["zcat", top / f"usr/share/man/man1/{NAME}.1.gz"],
                                  capture_output=True, text=True, check=True).stdout
            self.assertIn("-machine", page)
            link = top / f"usr/share/man/man1/{NAME}-system-aarch64.1.gz"
            self.assertEqual(link.resolve().name, f"{NAME}.1.gz")
            documents = top / layout.DOCUMENTS
            text = (documents / "html/system/arm/virt.html").read_text(encoding="utf-8")
            for word in ("cpu-hotplug", "pcie-hotplug-ports"):
                self.assertIn(word, text)
            # Debian's policy wants licences as plain files.
            self.assertIn("GPL-2", (documents / "copyright").read_text(encoding="utf-8"))
            for origin in datafiles.ORIGINS:
                text = (documents / f"firmware/{origin.package}.{datafiles.LICENCE}").read_text(
                    encoding="utf-8")
                self.assertRegex(text, "(?i)license", origin.package)

    def test_default_devices(self):
        """A machine with devices that have option ROMs starts without another word."""
        status, output = self.room.run(
            [EMULATOR, "-M", "virt", "-cpu", "max", "-m", "256M", "-nic", "user", "-device", "VGA",
             "-bios", "QEMU_EFI.fd", "-display", "none", "-serial", "none", "-S", "-monitor",
             "stdio"], SOON, text="info status\nquit\n")
        self.assertEqual(status, 0, output)
        lines = [line for line in output.splitlines() if not line.startswith(("QEMU ", "(qemu)"))]
        self.assertEqual([line for line in lines if "paused" not in line], [], output)

    def test_modules(self):
        """Each module loads: no library or symbol is missing."""
        out = self.room.check(["sh", "-c", f"ldd -r /usr/lib/*/{NAME}/*.so 2>&1 | "
                               "grep -E 'not found' || true"], SOON)
        self.assertEqual(out, "")

    def test_links(self):
        """The usual names are those of the package's programs in a folder of their own."""
        path = {"PATH": f"/{layout.OWN}/bin:/usr/bin:/bin"}
        for program in ("qemu-system-aarch64", "qemu-img"):
            out = self.room.check(["sh", "-c", f"{program} --version"], environment=path)
            self.assertIn(NAME, out)

    def test_features(self):
        """What the distribution's QEMU can do this one can, too."""
        for option, pattern in HELP.items():
            lists = []
            for program in (EMULATOR, THEIRS):
                _, output = self.room.run([program, "-M", "none", option, "help"], SOON)
                lists.append(set(re.findall(pattern, output, re.MULTILINE)))
            here, there = lists
            with self.subTest(option):
                # Of accelerators, there may be one.
                self.assertGreater(len(there), 0 if option == "-accel" else 1)
                self.assertEqual({name for name in there - here
                                  if not re.fullmatch(GONE.get(option, ""), name)}, set())

    def test_formats(self):
        """The same for the formats and protocols of disks."""
        lists = []
        for program in (f"/usr/bin/{NAME}-img", "/usr/bin/qemu-img"):
            output = self.room.check([program, "--help"], SOON)
            # Newer ones have an empty line before the list, all have one after it.
            text = re.split(r"Supported (?:image )?formats:\s*", output)[1].partition("\n\n")[0]
            lists.append(set(text.split()))
        here, there = lists
        self.assertGreater(len(there), 20)
        self.assertEqual({name for name in there - here
                          if not re.fullmatch(GONE_FORMATS, name)}, set())

    def have_apparmor(self):
        """Have what libvirt installs for AppArmor, and what its README tells an administrator."""
        if self.apparmor_package:
            suite = deb.RELEASES[self.number]
            package, = aptroot.fetch([aptroot.Package(self.apparmor_package, suites=(suite,))])
            self.room.check(["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | '
                             "tar -x -C / ./etc/apparmor.d", "sh", package], SOON)
        local = self.room.path("/etc/apparmor.d/local/abstractions/libvirt-qemu")
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_text(self.apparmor_line, encoding="utf-8")

    def test_apparmor(self):
        """A profile of libvirt for a guest has the package's rules, as its README says."""
        self.have_apparmor()
        template = self.room.path("/etc/apparmor.d/libvirt/TEMPLATE.qemu")
        profile = template.read_text(encoding="utf-8")
        found = self.room.check(["apparmor_parser", "-Q", "-K", "-p"], SOON, text=profile)
        self.assertIn(f"/usr/bin/{NAME}-system-* rmix", found)
        self.room.check(["apparmor_parser", "-Q", "-K"], SOON, text=profile)

    def test_apparmor_helper(self):
        """libvirt's helper makes a profile for a guest with the package's firmware."""
        self.have_apparmor()
        domain = ElementTree.fromstring(self.domain())
        ElementTree.SubElement(domain, "uuid").text = UUID
        said = self.room.check(
            ["/usr/lib/libvirt/virt-aa-helper", "--create", "--dryrun", "--uuid",
             f"libvirt-{UUID}"], SOON, text=ElementTree.tostring(domain, encoding="unicode"))
        self.assertIn(f'"/{layout.FIRMWARE["edk2-aarch64-code.fd"]}" rk,', said)

    def test_domcapabilities(self):
        """libvirt probes it, and knows its machines and the firmware of both packages."""
        text = self.daemon("domcapabilities", "--emulatorbin", EMULATOR, "--arch", "aarch64",
                           "--machine", "virt-11.1-hotplug", "--virttype", "qemu")
        found = ElementTree.fromstring(text)
        self.assertEqual(found.findtext("path"), EMULATOR)
        self.assertEqual(found.findtext("machine"), "virt-11.1-hotplug")
        loaders = [value.text for value in found.findall("os/loader/value")]
        self.assertIn(f"/{layout.FIRMWARE['edk2-aarch64-code.fd']}", loaders)
        self.assertIn("AAVMF_CODE", " ".join(loaders))

    def test_domain(self):
        """libvirt starts a guest with it and its firmware, and adds a vCPU."""
        guest = self.booted(self.domain(), self)
        self.assertEqual(guest.check("cat /sys/devices/system/cpu/enabled"), "0-1")
        guest.patient("setvcpus", "--live", "3")
        guest.wait_for(lambda: guest.check("cat /sys/devices/system/cpu/enabled") == "0-2",
                       "the third vCPU in the guest", PLUG_SECONDS)
        self.assertEqual(guest.count(), 3)

    def domain(self):
        """A domain with the package's emulator and firmware."""
        found = ElementTree.fromstring(libvirtcase.describe(
            "packaged", "<vcpu current='2'>4</vcpu>", machine="virt-11.1-hotplug"))
        found.find("devices/emulator").text = EMULATOR
        code, variables = (f"/{path}" for path in layout.FIRMWARE.values())
        found.find("os/loader").text = code
        found.find("os/nvram").set("template", variables)
        self.assertNotIn(str(guestcase.QEMU), ElementTree.tostring(found, encoding="unicode"))
        self.assertNotIn(str(assets.firmware().code),
                         ElementTree.tostring(found, encoding="unicode"))
        return ElementTree.tostring(found, encoding="unicode")

    def test_removed(self):
        """dpkg removes all of it."""
        self.room.check(["dpkg", "--purge", NAME], SOON)
        left = self.room.check(["find", "/usr", "/etc", "/var/lib", "-xdev", "-name", f"*{NAME}*"],
                               SOON).splitlines()
        self.assertEqual(left, [])
