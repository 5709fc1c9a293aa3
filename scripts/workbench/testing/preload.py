# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU with tests/preload/preload.c loaded, which has calls of the C library fail or wait."""

import itertools
import shlex
import subprocess
from dataclasses import dataclass

from ..build import cross
from ..guest.guest import Config
from ..guest.place import LOCAL
from ..system import atomic, paths

SOURCE = paths.TOP / "tests" / "preload" / "preload.c"
_serial = itertools.count()


def library(place):
    """Path on this machine of the library for programs at PLACE; compiled when it is old."""
    foreign = place is not LOCAL
    target = paths.TMP / ("preload-arm64.so" if foreign else "preload.so")
    if not target.exists() or target.stat().st_mtime < SOURCE.stat().st_mtime:
        with atomic.new_file(target) as new:
            subprocess.run([cross.program("gcc") if foreign else "cc", "-O2", "-Wall", "-shared",
                            "-fPIC", "-o", new, SOURCE, "-ldl"], check=True)
    return target


@dataclass
class Preloaded(Config):
    """A Config whose QEMU has the library loaded; FOLDER, of the place, is where it is told."""

    folder: object = None

    @classmethod
    def of(cls, config, folder):
        """CONFIG with the library, told in FOLDER."""
        return cls(**vars(config), folder=folder)

    def command(self):
        loaded = self.place.file(library(self.place))
        return ["env", f"LD_PRELOAD={loaded}", f"PRELOAD_FOLDER={self.folder}"] + super().command()

    def _shell(self, command):
        return self.place.run(["sh", "-c", command])

    def ask(self, name, text=""):
        """Have it do what the file NAME with TEXT in it asks for. Raises OSError if it cannot be
        asked."""
        folder = shlex.quote(str(self.folder))
        status, output = self._shell(f"cd {folder} && rm -f failed kicked && "
                                     f"echo {shlex.quote(text)} > new && mv new {name}")
        if status:
            raise OSError(output)

    def fail(self, call, number):
        """Have the call CALL fail when it comes for the NUMBERth time from now on."""
        self.ask("fail", f"{call} {number} {next(_serial)}")

    def stop(self, name):
        """Have it do so no more."""
        self._shell(f"rm {shlex.quote(str(self.folder))}/{name}")

    def done(self, name):
        """True when it says so: "failed" or "kicked"."""
        return self._shell(f"[ -e {shlex.quote(str(self.folder))}/{name} ]")[0] == 0
