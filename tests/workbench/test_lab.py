#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""The emulated Arm host, as far as it can be tested without one."""

import argparse
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path, PurePosixPath
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.build import cross, emulators  # noqa: E402
from workbench.guest import modules  # noqa: E402
from workbench.system import polling, tools  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

tools.ensure()
tools.activate()

from workbench.guest import place  # noqa: E402
from workbench.guest.guest import Config  # noqa: E402
from workbench.guest.qemu import GuestError  # noqa: E402
from workbench.lab import command, lab  # noqa: E402
from workbench.testing import libvirtlab  # noqa: E402


class FakeGuest:
    """The host's console: ANSWERS are what the commands give, in order."""

    name = "fake"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.commands = []
        self.process = self

    def run(self, command, _seconds=30):
        self.commands.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def status(self):
        return None

    def close(self, force=False):
        pass


class Lab(unittest.TestCase):

    def host(self, *answers, known=None):
        """A Lab whose console gives ANSWERS."""
        with mock.patch.object(lab.image, "known", return_value=known or {}):
            host = lab.Lab(guest=FakeGuest(*answers))
        self.addCleanup(host.close)
        return host

    def test_paths(self):
        """Known files have their place, others are copied once."""
        host = self.host((0, "/tmp/lab.1"), (0, ""), known={Path("/k/vmlinuz"): "/lab/vmlinuz"})
        self.assertEqual(host.file("/k/vmlinuz"), PurePosixPath("/lab/vmlinuz"))
        self.assertEqual(host.guest.commands, [])
        for _ in range(2):
            copy = host.file(__file__)
            self.assertEqual(copy, PurePosixPath("/tmp/lab.1", Path(__file__).name))
        self.assertEqual(len(host.guest.commands), 2)
        self.assertIn("wget", host.guest.commands[1])

    def test_command(self):
        """A guest's command has the paths of its place, and what a test gave as it is."""
        host = self.host(known={Path("/k/vmlinuz"): "/lab/vmlinuz", Path("/q"): "/bin/q"})
        config = Config(qemu=Path("/q"), kernel=Path("/k/vmlinuz"), accel="kvm", place=host,
                        extra=["-device", "x,file=/k/vmlinuz"])
        command = config.command()
        self.assertEqual(command[0], "/bin/q")
        self.assertEqual(command[command.index("-kernel") + 1], "/lab/vmlinuz")
        self.assertEqual(command[-1], "x,file=/k/vmlinuz")
        config.place = place.LOCAL
        self.assertIn("/k/vmlinuz", config.command())

    def test_changed_host(self):
        """Fields of the host's Config can be changed, and only those change."""
        with mock.patch.object(lab.image, "guest_files", return_value=("k", "i", "f")), \
                mock.patch.object(lab.kernels, "kernel", return_value="k"), \
                mock.patch.object(lab.image, "initrd", return_value="/initrd"), \
                mock.patch.object(lab.image, "disk", return_value="/disk"):
            usual, changed = (lab.config("qemu", **changes).command()
                              for changes in ({}, {"smp": "7"}))
        self.assertEqual(len(usual), len(changed))
        self.assertEqual([new for old, new in zip(usual, changed) if old != new], ["7"])

    def test_kernel(self):
        """The host's kernel and initial RAM disk belong together."""
        with mock.patch.object(lab.image, "guest_files", return_value=("k", "i", "f")), \
                mock.patch.object(lab.kernels, "kernel", side_effect="kernel-{}".format), \
                mock.patch.object(lab.image, "initrd", side_effect="initrd-{}".format), \
                mock.patch.object(lab.image, "disk", return_value="/disk"):
            config = lab.config("qemu", kernel="iommufd")
        self.assertEqual((config.kernel, config.initrd), ("kernel-iommufd", "initrd-iommufd"))

    def test_kernel_of_running_host(self):
        """A host that runs is not taken for one with another kernel."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(command, "STATE", Path(folder) / "state"):
            # The second is of a host that was booted when there was no choice.
            for state in ('{"kernel": "6.12"}', "{}"):
                command.STATE.write_text(state)
                for kernel in (None, "6.12"):
                    command.check_kernel(kernel)
            with self.assertRaisesRegex(WorkbenchError, "has the kernel 6.12, not iommufd: end it"):
                command.check_kernel("iommufd")

    def test_kernel_that_is_not_built(self):
        """With --no-build it is not built."""
        options = argparse.Namespace(build=False, kernel="iommufd", qemu=None)
        with mock.patch.object(command, "STATE", Path("/none")), \
                mock.patch.object(command.linux, "is_built", return_value=False), \
                self.assertRaisesRegex(WorkbenchError, "scripts/lab --kernel iommufd build first"):
            command.start(options)

    def test_process(self):
        """Exit statuses; one of a signal is negative."""
        for text, status in (("0", 0), ("1", 1), ("137", -9)):
            host = self.host((0, "77"), (0, ""), (0, text))
            process = lab.Process(host, ["qemu", "a b"], PurePosixPath("/tmp/lab.1"))
            self.assertEqual(process.pid, 77)
            self.assertIsNone(process.status())
            self.assertEqual(process.wait(1), status)
            self.assertEqual(process.status(), status)

    def test_lost(self):
        """A host that hangs is not asked again, and says why; its programs count as ended."""
        host = self.host((0, "77"), GuestError("no answer within 30 s"))
        process = lab.Process(host, ["qemu"], PurePosixPath("/tmp/lab.1"))
        with self.assertRaisesRegex(GuestError, "no answer"):
            host.check("true")
        self.assertFalse(host.alive())
        with self.assertRaisesRegex(GuestError, "given up after: no answer"):
            host.check("true")
        self.assertEqual(process.status(), -9)
        process.kill()

    def test_polling(self):
        found = iter([None, 0, "yes"])
        self.assertEqual(polling.until(lambda: next(found), 5, 0.001), "yes")
        self.assertFalse(polling.until(lambda: 0, 0.01, 0.001))


class Cross(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_relative_links(self):
        """Absolute links of a root lead to what they mean in it; others stay."""
        (self.folder / "usr/lib").mkdir(parents=True)
        (self.folder / "lib").mkdir()
        (self.folder / "lib/libz.so.1").write_text("z")
        os.symlink("/lib/libz.so.1", self.folder / "usr/lib/libz.so")
        os.symlink("libz.so", self.folder / "usr/lib/other")
        cross.relative_links(self.folder)
        self.assertEqual(os.readlink(self.folder / "usr/lib/libz.so"), "../../lib/libz.so.1")
        self.assertEqual((self.folder / "usr/lib/other").read_text(), "z")

    def test_configure(self):
        """QEMU's configure is run with a compiler for arm64, and without what is not there."""
        source, build = self.folder / "source", self.folder / "build"
        source.mkdir()
        (source / "configure").write_text('#!/bin/sh\nprintf "%s\\n" "$CCACHE_COMPILERCHECK" "$@" '
                                          '> seen\n')
        (source / "configure").chmod(0o755)
        with mock.patch.object(emulators, "_make"), mock.patch.object(cross, "toolchain"), \
                mock.patch.object(emulators.programs, "need_space"):
            cross.make(source, build, ["qemu"], "cross-test")
            seen = (build / "seen").read_text().splitlines()
            emulators.configure_and_make(source, self.folder / "native", name="native-test")
        native = (self.folder / "native/seen").read_text().splitlines()
        self.assertIn("--version", seen[0])
        prefix, = (word.partition("=")[2] for word in seen if word.startswith("--cross-prefix="))
        compiler, = (word.split()[-1] for word in seen if word.startswith("--cc="))
        self.assertEqual(compiler, f"{prefix}gcc")
        self.assertNotEqual([word for word in native if word.startswith("--cc=")],
                            [word for word in seen if word.startswith("--cc=")])
        # What is left out here is left out there.
        self.assertLessEqual({word for word in native if word.startswith(("--disable", "--without"))},
                             set(seen))

    def test_modules(self):
        """Modules are decompressed; modprobe learns what else each one needs."""
        def module(name, depends):
            text = f"\0name={name}\0depends={depends}\0vermagic=6.12.1-arm64 SMP\0"
            (self.folder / f"{name}.ko").write_bytes(lzma.compress(text.encode()))
        module("vfio-pci", "vfio-pci-core")
        module("vfio-pci-core", "vfio")
        module("vfio", "")
        modules.prepare(self.folder, "a.deb")
        self.assertEqual((self.folder / "modules.dep").read_text(), "vfio.ko:\n"
                         "vfio-pci.ko: vfio-pci-core.ko vfio.ko\nvfio-pci-core.ko: vfio.ko\n")
        self.assertEqual((self.folder / "release").read_text(), "6.12.1-arm64")
        module("igb", "i2c_algo_bit")
        with self.assertRaisesRegex(WorkbenchError, "igb of a.deb needs i2c-algo-bit"):
            modules.prepare(self.folder, "a.deb")


class Libvirt(unittest.TestCase):
    """libvirt for the host, without a host."""

    LONG = f"usr/lib/{'x' * 60}/{'y' * 60}"

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root = self.folder / "root"
        for name in (self.LONG, "usr/bin/virsh", "usr/share/doc/libvirt0/copyright",
                     "etc/libvirt/qemu.conf"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(name)
        (self.root / "usr/bin/virsh").chmod(0o755)

    def test_pack(self):
        """All belongs to root, documents are left out, and programs have their usual paths, too."""
        target = self.folder / "root.tar"
        libvirtlab.pack(self.root, target)
        with tarfile.open(target) as archive:
            members = {member.name: member for member in archive}
            self.assertEqual({member.uid for member in members.values()}, {0})
            self.assertEqual(archive.extractfile("usr/bin/virsh").read(), b"usr/bin/virsh")
        self.assertEqual(members["usr/bin/virsh"].mode & 0o777, 0o755)
        self.assertIn("etc/libvirt/qemu.conf", members)
        self.assertIn(b"././@LongLink", target.read_bytes())
        self.assertIn(self.LONG, members)
        self.assertNotIn("usr/share/doc/libvirt0/copyright", members)
        for name in ("bin", "lib", "sbin"):
            self.assertEqual((members[name].issym(), members[name].linkname),
                             (True, f"usr/{name}"))

    def test_other_layout(self):
        """A folder in place of such a link is noticed."""
        (self.root / "lib").mkdir()
        with self.assertRaisesRegex(WorkbenchError, "has the folder /lib, which is a link"):
            libvirtlab.pack(self.root, self.folder / "root.tar")

    def test_script(self):
        """The shell understands what makes the root on the host."""
        subprocess.run(["sh", "-n", libvirtlab.SCRIPT], check=True)


if __name__ == "__main__":
    fake.main()
