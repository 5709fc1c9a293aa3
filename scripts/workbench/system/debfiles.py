# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of Debian packages, without installing them."""

import contextlib
import os
import re
import subprocess
import tarfile
from pathlib import Path

from ..ui.report import WorkbenchError, step
from . import aptroot, atomic, paths
from .programs import run


def unpack(deb, into):
    """Unpack all files of the package DEB below the folder INTO, which is made if needed."""
    into = Path(into)
    into.mkdir(parents=True, exist_ok=True)
    run(["dpkg-deb", "-x", deb, into], what=f"Unpacking {Path(deb).name}",
        log=paths.LOGS / "dpkg-deb.log")


@contextlib.contextmanager
def opened(deb):
    """The package DEB as a tarfile.TarFile, which is to be read from its begin on.

    Raises WorkbenchError when the package is broken.
    """
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as unpacker:
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
                yield archive
        except tarfile.TarError as error:
            raise WorkbenchError(f"The package {deb} cannot be unpacked ({error}). Delete it and "
                                 "run again.") from None
        finally:
            # It may not have been read to its end.
            unpacker.kill()


def extract(deb, wanted, folder):
    """Write regular files of the package DEB into FOLDER.

    WANTED maps the name in FOLDER to a regular expression for the whole path in the package. Stops
    reading when it has all: unpacking a kernel package whole would cost 500 MB. Raises
    WorkbenchError when the package is broken or lacks one.
    """
    missing = dict(wanted)
    with opened(deb) as archive:
        for member in archive:
            for name, pattern in list(missing.items()):
                if member.isfile() and re.fullmatch(pattern, member.name.lstrip("./")):
                    with archive.extractfile(member) as source:
                        _write_sparse(source, folder / name)
                    (folder / name).chmod(member.mode & 0o777)
                    del missing[name]
            if not missing:
                break
    if missing:
        raise WorkbenchError(f"The package {deb} holds no file like {', '.join(missing.values())}: "
                             "its layout must have changed, or it is broken.")


def _write_sparse(source, target):
    # A flash image is 64 MiB, of which a few are used.
    with open(target, "wb") as out:
        while data := source.read(1 << 16):
            if data.count(0) == len(data):
                out.seek(len(data), os.SEEK_CUR)
            else:
                out.write(data)
        out.truncate()


def have(folder, choice, arch, wanted, what):
    """Have FOLDER with the files WANTED of a package; returns it.

    CHOICE is a regular expression for the name of the package, of which the newest is taken, and a
    tuple of suites, of which the first that has one decides. WANTED is as for extract(). The file
    "package" in FOLDER says which it was. Raises WorkbenchError when there is none.
    """
    if all((folder / name).exists() for name in wanted):
        return folder
    regex, suites = choice
    step(f"Fetching {what} into {folder.relative_to(paths.TOP)}")
    name, suite = _newest(regex, arch, suites)
    deb, = aptroot.fetch([aptroot.Package(name, arch, (suite,))])
    with atomic.new_folder(folder) as new:
        extract(deb, wanted, new)
        (new / "package").write_text(deb.name + "\n")
    return folder


def _newest(regex, arch, suites):
    reasons = []
    for suite in suites:
        try:
            return aptroot.newest(regex, arch, (suite,)), suite
        except WorkbenchError as error:
            reasons.append(str(error))
    raise WorkbenchError("\n".join(reasons))
