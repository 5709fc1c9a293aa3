#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The list of features against Debian's source package of QEMU."""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

from workbench.build import features  # noqa: E402
from workbench.system import aptroot, paths  # noqa: E402
from workbench.testing import tap  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402


def options(control, arch):
    """The options that comments of the text CONTROL give to configure on ARCH.

    A comment is "# --enable-x", or has a tab and the architectures for which it is.
    """
    found = []
    for line in re.findall(r"^# ?(--.*)$", control, re.MULTILINE):
        words, _, where = line.partition("\t")
        where = where.partition("#")[0].split()
        if not where or {arch, "linux-any", f"linux-{arch}", "any"} & set(where):
            found += words.split()
    return found


class Debian(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        try:
            offer = next((offer for offer in aptroot.sources("qemu", r"qemu_.*\.debian\.tar\.xz")
                          if offer.version == features.DEBIAN), None)
            if not offer:
                raise WorkbenchError(f"the mirror no longer lists qemu {features.DEBIAN}")
            path = paths.CACHE / offer.filename
            if not path.exists():
                aptroot.download(offer.uri, path, offer.sha256)
        except WorkbenchError as error:
            raise unittest.SkipTest(str(error)) from None
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["tar", "-xf", path, "-C", folder], check=True)
            cls.control = Path(folder, "debian/control").read_text(encoding="utf-8")

    def test_all(self):
        """Each of its options is in the list, or among what is not to be had."""
        for arch in ("amd64", "arm64"):
            wanted = options(self.control, arch)
            self.assertGreater(len(wanted), 40)
            known = {f"--enable-{f.name}" for f in features.FEATURES if not f.sound}
            known |= {f"--disable-{name}" for name in features.OFF}
            known |= {f"--enable-{name}" for name, _ in features.NOT_TO_BE_HAD}
            sound = "--audio-drv-list=" + ",".join(f.name for f in features.FEATURES if f.sound)
            self.assertEqual([word for word in wanted if word not in known | {sound}], [])

    def test_packages(self):
        """Each package that a feature needs is one that the source package needs to be built."""
        needs = re.search(r"^Build-Depends-Arch:((?:\n[ #].*)+)", self.control, re.MULTILINE)[1]
        names = set(re.findall(r"[\w.+-]+", needs)) | {
            # Names that another package provides, or that come with another one.
            "libgnutls28-dev", "libbz2-dev", "libselinux1-dev"}
        first = re.search(r"^Build-Depends:((?:.*\n)(?:[ #].*\n)+)", self.control, re.MULTILINE)[1]
        names |= set(re.findall(r"[\w.+-]+", first))
        self.assertEqual(set(features.packages()) - names, set())


if __name__ == "__main__":
    tap.main()
