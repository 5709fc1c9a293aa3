# SPDX-License-Identifier: GPL-2.0-or-later
"""GLib for a QEMU with ThreadSanitizer, checked like QEMU itself.

GLib has locks of its own. ThreadSanitizer only sees that such a lock orders something if the code
of the lock is checked, too; otherwise it reports what the lock protects. The source is that of the
Debian package of the same release as the GLib that QEMU is compiled with.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from ..system import aptroot, atomic, clang, lock, paths, tools
from ..system.programs import run
from ..ui.report import WorkbenchError, step
from . import emulators

SUITES = ("bookworm", "trixie", "forky", "sid")
LIBRARY = "libglib-2.0.so.0"
FLAG = "-fsanitize=thread"
# Not needed here, or not by QEMU. A release has not all of these options.
_OFF = {"tests": "false", "nls": "disabled", "selinux": "disabled", "libmount": "disabled",
        "libelf": "disabled", "introspection": "disabled"}


def ensure():
    """Have the library; returns its folder. Raises WorkbenchError if it cannot be had or built."""
    paths.TSAN_GLIB.mkdir(parents=True, exist_ok=True)
    with lock.held(paths.TSAN_GLIB / ".lock", "waiting for another build of GLib"):
        wanted = f"{_version()}\n{_compiler()}\n{paths.TSAN_GLIB}\n"
        stamp = paths.TSAN_GLIB / "built"
        if not atomic.holds(stamp, wanted) or not (folder() / LIBRARY).exists():
            stamp.unlink(missing_ok=True)
            _build(_source(_version()))
            stamp.write_text(wanted, encoding="utf-8")
    return folder()


def folder():
    """Where the library is, if it was built."""
    return paths.TSAN_GLIB / "build/glib"


def _version():
    """The release of GLib whose headers QEMU is compiled with."""
    done = subprocess.run(["pkg-config", "--modversion", "glib-2.0"], capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise WorkbenchError(f"pkg-config does not know glib-2.0: {done.stderr.strip()}")
    return done.stdout.strip()


def _compiler():
    return subprocess.run([clang.program("clang"), "--version"], capture_output=True, text=True,
                          check=True).stdout.splitlines()[0]


def _source(version):
    """The path of the tarball of GLib VERSION."""
    offers = aptroot.sources("glib2.0", rf"glib2\.0_{re.escape(version)}\.orig\.tar\.\w+", SUITES)
    if not offers:
        raise WorkbenchError(f"The package mirror has no source of GLib {version}, the release "
                             f"of this machine, in the suites {', '.join(SUITES)}.")
    path = paths.CACHE / offers[0].filename
    return path if path.exists() else aptroot.download(offers[0].uri, path, offers[0].sha256)


def options(source):
    """Options of meson setup for GLib's tree SOURCE."""
    texts = [Path(source, name) for name in ("meson_options.txt", "meson.options")]
    known = re.findall(r"^option\(\s*'([\w-]+)'", "".join(
        text.read_text(encoding="utf-8") for text in texts if text.exists()), re.M)
    return [f"-D{name}={value}" for name, value in _OFF.items() if name in known] + [
        "--buildtype=debugoptimized", "--wrap-mode=nodownload", f"-Dc_args={FLAG}",
        # The functions that the checks call are in the program, not in the library.
        f"-Dc_link_args={FLAG}", "-Db_lundef=false"]


def _build(tarball):
    step("Building GLib with ThreadSanitizer")
    source, build = paths.TSAN_GLIB / "source", paths.TSAN_GLIB / "build"
    for left in (source, build):
        shutil.rmtree(left, ignore_errors=True)
    source.mkdir()
    run(["tar", "-xf", tarball, "-C", source, "--strip-components=1"], what="Unpacking GLib",
        log=paths.LOGS / "tsan-glib-unpack.log")
    env = emulators.environment({"CC": f"ccache {clang.program('clang')}",
                                 "CXX": f"ccache {clang.program('clang++')}"})
    run([*tools.meson(), "setup", *options(source), build, source], what="Configuring GLib",
        env=env, log=paths.LOGS / "tsan-glib-setup.log")
    run(["ninja", "-C", build, _target(build)], what="Building GLib", env=env,
        log=paths.LOGS / "tsan-glib-build.log")


def _target(build):
    """The library, as ninja calls it: the file that LIBRARY is a link to."""
    targets = json.loads((build / "meson-info/intro-targets.json").read_text(encoding="utf-8"))
    for target in targets:
        for name in target["filename"]:
            if Path(name).name.startswith(LIBRARY):
                return os.path.relpath(name, build)
    raise WorkbenchError(f"GLib's build folder {build} has no target that makes {LIBRARY}.")
