#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""scripts/build --full and scripts/package, as far as nothing is compiled."""

import contextlib
import datetime
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.build import datafiles, emulators, features, full  # noqa: E402
from workbench.packages import deb, layout, rooms, rpm, texts  # noqa: E402
from workbench.system import host, paths  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

MOMENT = datetime.datetime(2026, 11, 29, 20, 30, tzinfo=datetime.timezone.utc)
SETTINGS = Path("/nowhere/settings.json")


class Command(unittest.TestCase):
    """What scripts/build and scripts/package refuse, before they do anything."""

    def refused(self, *words, command="build"):
        done = subprocess.run([fake.TOP / "scripts" / command, *words], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        return done.stderr

    def test_only_with_full(self):
        """What other builds cannot do is refused with the option that can."""
        for words in (("--list",), ("--install", "/x"), ("--", "--disable-tcg")):
            self.assertIn("needs --full", self.refused(*words), words)

    def test_exclude(self):
        """Two options that ask for different things."""
        for words in (("--full", "--all"), ("--full", "--pristine"), ("--target", "arm", "x"),
                      ("--full", "--install", "/x", "qemu-img")):
            self.assertIn("exclude", self.refused(*words), words)

    def test_release(self):
        """A release for which no package is built; the others are named."""
        said = self.refused("deb", "--release", "11", command="package")
        self.assertRegex(said, "'11'.*'12'.*'13'")
        with self.assertRaisesRegex(WorkbenchError, "Debian 12 and 13, not for 11"):
            deb.place("11")

    def test_options_of_configure(self):
        """What the command sets itself is refused with its own option, and so is no option."""
        for word, answer in (("--prefix=/x", "--install"), ("--target-list=a", "--target"),
                             ("qemu-img", "before the '--'"),
                             ("--help", "build/qemu/configure --help")):
            with self.assertRaisesRegex(WorkbenchError, answer):
                full.refuse([word])
        full.refuse(["--disable-gtk", "-Dwerror=true"])

    def test_where(self):
        """A place that cannot be written to is named, with DESTDIR before it if that is set."""
        with mock.patch.dict(os.environ, DESTDIR="/proc"):
            with self.assertRaisesRegex(WorkbenchError, "written to /proc .*in /proc/usr"):
                full.check_writable("/usr")
        for place in ("usr", ""):
            with self.assertRaisesRegex(WorkbenchError, f'absolute path, not "{place}"'):
                full.check_writable(place)
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, DESTDIR=folder):
            full.check_writable("/usr")
            self.assertEqual(os.listdir(folder), [])


class Features(unittest.TestCase):

    def lacking(self, *names):
        """Have the machine lack these needs alone, however they are called without a condition."""
        needs = [need for need in host.NEEDS["full"] if need.name.partition(" ")[0] in names]
        self.assertEqual(len(needs), len(names))
        self.enterContext(mock.patch.object(host, "missing", lambda *_: needs))

    def test_needs_exist(self):
        """Each need of a feature is in the list of what is installed, and each of these is used."""
        used = {name for feature in features.FEATURES for name in feature.needs}
        self.assertEqual(used, {need.name.partition(" ")[0] for need in host.NEEDS["full"]})

    def test_all(self):
        """On a machine that has all, each feature is enabled, and nothing but OFF disabled."""
        self.lacking()
        words = features.options()
        self.assertEqual(sorted(word for word in words if word.startswith("--disable-")),
                         sorted(f"--disable-{name}" for name in features.OFF))
        for feature in features.FEATURES:
            if not feature.sound:
                self.assertIn(f"--enable-{feature.name}", words)

    def test_missing(self):
        """What is missing is disabled with what needs it, and named with its packages."""
        self.lacking("gtk+-3.0", "sdl2", "libpulse")
        words = features.options()
        for name in ("gtk", "vte", "sdl"):
            self.assertIn(f"--disable-{name}", words)
        self.assertIn("--audio-drv-list=pipewire,alsa,jack,oss", words)
        text = features.listing()
        self.assertRegex(text, r"\ngtk +\S.* no +no gtk\+-3.0 >= 3.22.0 \(Debian: libgtk-3-dev, ")
        self.assertRegex(text, r"\nvte .* no gtk\n")
        self.assertRegex(text, r"\nglusterfs .* never +QEMU 11.1 has removed it\n")

    def test_known_to_configure(self):
        """QEMU's configure of the series knows each option."""
        script = paths.QEMU_SRC / "scripts/meson-buildoptions.sh"
        if not script.exists():
            self.skipTest("build/qemu is not set up: scripts/series setup")
        text = script.read_text(encoding="utf-8")
        text += (paths.QEMU_SRC / "configure").read_text(encoding="utf-8")
        self.lacking()
        for word in features.options():
            self.assertIn(word.partition("=")[0] + ")", text.replace("=*)", ")"), word)

    def test_install_what_there_is(self):
        """A package that the release lacks does not keep the others from being installed."""
        needs = (host.Need("a", "has-a", "a"), host.Need("b", "no-b", "b"))
        done, calls = set(), []

        def run(command, **_):
            calls.append(command)
            wanted = [word for word in command if word in ("has-a", "no-b")]
            if "no-b" in wanted:
                return 100
            done.update(wanted)
            return 0

        with mock.patch.dict(host.NEEDS, full=needs), \
                mock.patch.object(host, "_become_root", return_value=[]), \
                mock.patch.object(host, "run", run), \
                mock.patch.object(host, "_offered", lambda name: name == "has-a"), \
                mock.patch.object(host, "_met", lambda need: need.debian in done), \
                mock.patch("shutil.which", return_value="/x"), \
                contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(host.obtain("full"), [needs[1]])
        self.assertEqual(calls[-1][-1], "has-a")

    def test_nobody_to_install(self):
        """Without root nothing is tried, and the command to run is known."""
        need = host.Need("no-such-command", "the-package", "fedora-package")
        with mock.patch.dict(host.NEEDS, full=(need,)), \
                mock.patch.object(host, "_become_root", return_value=None), \
                mock.patch.object(host, "run", side_effect=AssertionError("nothing may run")):
            self.assertEqual(host.obtain("full"), [need])
        with mock.patch("shutil.which", return_value=None):
            self.assertEqual(host.how_to_install([need]), "sudo dnf install fedora-package")


class Build(unittest.TestCase):

    def test_last_word(self):
        """The user's options come after all others; the places are between."""
        words = full.options(["aarch64"], ["--prefix=/x"], ["--disable-gtk"])
        self.assertEqual(words[-2:], ("--prefix=/x", "--disable-gtk"))
        self.assertIn("--target-list=aarch64-softmmu", words)

    def test_configured_again(self):
        """A folder that was configured with other options is configured again, otherwise not."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        calls = []

        def run(command, **_):
            calls.append(command)
            (folder / "build.ninja").write_text("")
            return 0

        self.enterContext(contextlib.redirect_stderr(io.StringIO()))
        with mock.patch.object(emulators, "run", run):
            for more in ((), (), ("--disable-gtk",), ()):
                emulators.configure_and_make(
                    folder, folder, lambda _: ["x"], "full",
                    full.options(["aarch64"], ["--prefix=/x"], more))
        configured = [command for command in calls if command[0] != "ninja"]
        self.assertEqual([command[-1] for command in configured],
                         ["--prefix=/x", "--disable-gtk", "--prefix=/x"])
        self.assertEqual(calls[-1], ["ninja", "x"])

    def test_installed(self):
        """Of the targets those that make something that is installed."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "meson-info").mkdir()
        (folder / "meson-info/intro-targets.json").write_text(json.dumps([
            {"filename": [f"{folder}/qemu-img"], "installed": True},
            {"filename": [f"{folder}/docs/a.1", f"{folder}/docs/b.1"], "installed": True},
            {"filename": [f"{folder}/tests/unit/x"], "installed": False}]))
        self.assertEqual(full.installed(folder), ["docs/a.1", "docs/b.1", "qemu-img"])


class Layout(unittest.TestCase):

    def setUp(self):
        top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root = top / "root"
        self.enterContext(mock.patch.object(paths, "DATA", top / "data"))
        self.enterContext(mock.patch.object(paths, "QEMU_SRC", top / "qemu"))
        template = top / "qemu/pc-bios/descriptors/60-edk2-aarch64.json"
        template.parent.mkdir(parents=True)
        template.write_text(
            '{"x": ["@DATADIR@/edk2-aarch64-code.fd", "@DATADIR@/edk2-arm-vars.fd"]}')
        for origin in datafiles.ORIGINS:
            origin.place().mkdir(parents=True)
            (origin.place() / "copyright").write_text(f"licence of {origin.package}\n")
            (origin.place() / "package").write_text(f"{origin.package}_7_all.deb\n")
        data = f"usr/share/{texts.NAME}"
        for name in ("usr/bin/qemu-system-aarch64", "usr/bin/qemu-img", "usr/bin/elf2dmp",
                     "usr/share/man/man1/qemu.1", "usr/share/man/man1/qemu-img.1",
                     "usr/share/man/man7/qemu-qmp-ref.7", "usr/include/qemu-plugin.h",
                     f"usr/share/doc/{texts.NAME}/index.html", f"{data}/keymaps/de",
                     f"{data}/efi-virtio.rom", f"{data}/edk2-aarch64-code.fd",
                     f"{data}/edk2-arm-vars.fd", f"{data}/firmware/60-edk2-aarch64.json",
                     "usr/share/applications/qemu.desktop"):
            self.file(name)

    def file(self, name):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    def text(self, name):
        return (self.root / name).read_text()

    def test_arranged(self):
        """Programs and pages have new names, the usual ones are links; all is found."""
        layout.arrange(self.root, apparmor=True)
        new = f"usr/bin/{texts.NAME}-system-aarch64"
        self.assertEqual(self.text(new), "usr/bin/qemu-system-aarch64")
        link = self.root / f"usr/lib/{texts.NAME}/bin/qemu-system-aarch64"
        self.assertEqual(link.resolve(), (self.root / new).resolve())
        self.assertTrue((self.root / f"usr/bin/{texts.NAME}-elf2dmp").exists())
        for name in (f"{texts.NAME}.1", f"{texts.NAME}-img.1", f"{texts.NAME}-system-aarch64.1"):
            self.assertTrue((self.root / "usr/share/man/man1" / name).exists(), name)
        self.assertTrue((self.root / layout.DOCUMENTS / "html/index.html").exists())
        described = json.loads(self.text(layout.DESCRIPTOR))["x"]
        for name, where in zip(("edk2-aarch64-code.fd", "edk2-arm-vars.fd"), described):
            self.assertEqual(self.text(where.lstrip("/")), f"{layout.DATA}/{name}")
            # QEMU's documents use these names.
            self.assertEqual(self.text(f"{layout.DATA}/{name}"), f"{layout.DATA}/{name}")
        self.assertIn("ipxe-qemu_7_all.deb", self.text(f"{layout.DOCUMENTS}/firmware/README"))
        self.assertEqual(self.text(f"{layout.DOCUMENTS}/firmware/seabios.copyright"),
                         "licence of seabios\n")
        self.assertIn(layout.APPARMOR, self.text(f"{layout.DOCUMENTS}/README"))
        self.assertIn(f"/usr/bin/{texts.NAME}-system-* rmix", self.text(layout.APPARMOR))
        self.assertFalse((self.root / "usr/include").exists())

    def test_without_apparmor(self):
        """Where there is none, nothing speaks of it."""
        layout.arrange(self.root, apparmor=False)
        self.assertFalse((self.root / "etc").exists())
        self.assertNotIn("AppArmor", self.text(f"{layout.DOCUMENTS}/README"))

    def test_foreign(self):
        """A file that another package may have, too, is refused by its name."""
        self.file("usr/lib/udev/rules.d/99-qemu.rules")
        with self.assertRaisesRegex(WorkbenchError, "usr/lib/udev/rules.d/99-qemu.rules"):
            layout.arrange(self.root, apparmor=True)


class Debian(unittest.TestCase):

    def files(self, release="12", lacks=("libblkio-dev",)):
        place = deb.place(release)
        with mock.patch.object(rooms.Place, "offered", lambda self: tuple(
                name for name in self.wanted if name not in lacks)), \
                mock.patch.object(deb, "copyright_file", lambda: "x\n"):
            return deb.files(place, "11.1.1+hotplug1~deb12", MOMENT, SETTINGS)

    def test_control(self):
        """What the release lacks is not asked for; the rest is, each once."""
        control = self.files()["control"]
        line = next(line for line in control.splitlines() if line.startswith("Build-Depends: "))
        needs = line.removeprefix("Build-Depends: ").split(", ")
        self.assertEqual(len(needs), len(set(needs)))
        self.assertNotIn("libblkio-dev", needs)
        for name in ("debhelper-compat (= 13)", "libspice-server-dev", "python3-sphinx", "ccache"):
            self.assertIn(name, needs)
        self.assertIn("libblkio-dev", self.files("13", lacks=())["control"])
        for line in control.splitlines():
            if not line.startswith("Build-Depends"):
                self.assertLessEqual(len(line), 80, line)

    def test_changelog(self):
        """In the form that dpkg reads."""
        text = self.files()["changelog"]
        done = subprocess.run(["dpkg-parsechangelog", "-l", "-"], input=text, capture_output=True,
                              text=True, check=False) if _has("dpkg-parsechangelog") else None
        if done:
            self.assertEqual(done.stderr, "")
            self.assertIn("Version: 11.1.1+hotplug1~deb12", done.stdout)
        self.assertIn("Sun, 29 Nov 2026 20:30:00 +0000", text)

    def test_rules(self):
        """make reads them, and each step has the settings."""
        rules = self.files()["rules"]
        self.assertNotIn("@", rules.replace("$@", ""))
        with tempfile.NamedTemporaryFile("w", suffix=".mk") as file:
            file.write(rules)
            file.flush()
            done = subprocess.run(["make", "-n", "-f", file.name, "override_dh_auto_install"],
                                  capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        # The licences that the file copyright names are plain files.
        self.assertIn(f"-X{layout.DOCUMENTS}/firmware\n", rules)
        self.assertEqual(done.stdout.strip(), "/usr/bin/python3 -m workbench.packages.steps "
                         f"{SETTINGS} install debian/{texts.NAME}")

    def test_version(self):
        """A later series has a higher version, and each release its own."""
        with mock.patch.dict(os.environ, SOURCE_DATE_EPOCH="1795984200"):
            self.assertEqual(texts.released(), MOMENT)
        versions = [texts.version(MOMENT + datetime.timedelta(minutes=n)) for n in (0, 1, 60 * 24)]
        self.assertEqual(versions, sorted(versions))
        self.assertTrue(versions[0].endswith("+hotplug20261129.2030"))

    def test_built(self):
        """A package of an older series is not taken for that of this one."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(paths, "PACKAGES", folder))
        self.enterContext(mock.patch.object(texts.source, "upstream",
                                            lambda: {"version": "11.1.1"}))
        self.enterContext(mock.patch("workbench.system.aptroot.native", lambda: "amd64"))
        self.enterContext(mock.patch.dict(os.environ, SOURCE_DATE_EPOCH="1795984200"))
        found = {"12": f"{texts.NAME}_11.1.1+hotplug20261129.2030~deb12_amd64.deb",
                 "13": f"{texts.NAME}_11.1.1+hotplug20261129.2029~deb13_amd64.deb",
                 "rpm": f"{texts.NAME}-11.1.1-hotplug20261129.2030.x86_64.rpm"}
        for name in found.values():
            (folder / name).touch()
        self.assertEqual(deb.built("12"), folder / found["12"])
        self.assertIsNone(deb.built("13"))
        self.assertEqual(rpm.built(), folder / found["rpm"])


class Fedora(unittest.TestCase):

    def test_spec(self):
        """Each file has a line; modules are left out of what is needed and offered."""
        text = rpm.spec("11.1.1", "hotplug1", MOMENT, SETTINGS)
        self.assertIn("* Sun Nov 29 2026 ", text)
        self.assertIn(f"\n/{layout.DESCRIPTOR}\n", text)
        self.assertEqual(text.count("_exclude_from ^(/usr/lib64/qemu-virt-hotplug/.*\\\\.so|"), 2)
        for line in text.partition("%files")[2].partition("%changelog")[0].split():
            self.assertTrue(not line.startswith("/") or texts.NAME in line, line)

    def test_library(self):
        """Fedora's curl is the one with OpenSSL."""
        wanted = rpm.place().wanted
        self.assertIn("libcurl4-openssl-dev", wanted)
        self.assertNotIn("libcurl4-gnutls-dev", wanted)

    def test_renamed(self):
        """Libraries get the names that they have in Fedora, by patchelf in the root."""
        text = rpm.spec("11.1.1", "hotplug1", MOMENT, SETTINGS)
        self.assertIn("patchelf --replace-needed libaio.so.1t64 libaio.so.1 ", text)
        self.assertIn(r"'\[(libaio\.so\.1t64)\]'", text)
        self.assertIn("patchelf", rpm.TOOLS)


def _has(name):
    return subprocess.run(["which", name], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    fake.main()
