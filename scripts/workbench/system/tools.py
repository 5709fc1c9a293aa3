# SPDX-License-Identifier: GPL-2.0-or-later
"""Python packages that the workbench needs and that a stable Debian lacks or did not install.

They are Debian's own packages, unpacked into build/tools. Nothing is installed for them.
"""

import functools
import os
import subprocess
import sys
from dataclasses import dataclass

from ..ui.report import WorkbenchError, step
from . import aptroot, debfiles, paths

PYTHON = "/usr/bin/python3"     # Debian's own: another one may come first in PATH
SITE = paths.TOOLS / "usr/lib/python3/dist-packages"


@dataclass(frozen=True)
class Tool:
    """A module, the oldest version that will do ("" for any), and where it comes from."""

    module: str
    version: str
    debian: str
    suites: tuple
    fedora: str


TOOLS = (
    Tool("mesonbuild", "1.5", "meson", ("bookworm-backports", "trixie", "sid"), "meson"),
    Tool("pycotap", "", "python3-pycotap", ("bookworm-backports", "trixie", "sid"),
         "python3-pycotap"),
    Tool("qemu.qmp", "0.0.5", "python3-qemu-qmp", ("trixie-backports", "sid", "forky"),
         "python3-qemu-qmp"),
    Tool("pexpect", "", "python3-pexpect", ("bookworm", "trixie"), "python3-pexpect"),
    Tool("ptyprocess", "", "python3-ptyprocess", ("bookworm", "trixie"), "python3-ptyprocess"),
)

_PROBE = """
import importlib, importlib.metadata as m, sys
names = {"mesonbuild": "meson", "qemu.qmp": "qemu.qmp"}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        try:
            version = m.version(names.get(name, name))
        except m.PackageNotFoundError:
            version = getattr(module, "__version__", "0")
    except ImportError:
        version = ""
    print(name, version)
"""


def environment():
    """A copy of os.environ with PYTHONPATH and PATH set so that children find the tools."""
    env = dict(os.environ)
    for name, value in (("PYTHONPATH", SITE), ("PATH", paths.TOOLS / "usr/bin")):
        rest = [p for p in env.get(name, "").split(os.pathsep) if p and p != str(value)]
        env[name] = os.pathsep.join([str(value)] + rest)
    return env


def activate():
    """Make the tools importable in this process. Needs ensure() to have run once."""
    if str(SITE) not in sys.path:
        sys.path.insert(0, str(SITE))
    # A package "qemu" that was imported before would hide the one in SITE.
    for name in [n for n in sys.modules if n.split(".")[0] == "qemu"]:
        del sys.modules[name]


def meson():
    """The start of a meson command; run it with environment()."""
    script = paths.TOOLS / "usr/bin/meson"
    return [PYTHON, str(script)] if script.exists() else ["meson"]


def missing():
    """The tools that PYTHON cannot import in a version that will do, with what was found."""
    out = subprocess.run([PYTHON, "-c", _PROBE] + [t.module for t in TOOLS], env=environment(),
                         capture_output=True, text=True, check=True).stdout
    found = dict((line + " ").split(" ")[:2] for line in out.splitlines())
    return [(t, found.get(t.module, "")) for t in TOOLS
            if not found.get(t.module) or _numbers(found[t.module]) < _numbers(t.version)]


def _numbers(version):
    return [int(n) if n.isdigit() else 0 for n in version.split(".")] if version else []


@functools.lru_cache(maxsize=None)
def ensure():
    """Have all tools, downloading packages into build/tools if needed.

    Raises WorkbenchError when one is neither installed nor to be had.
    """
    lacking = missing()
    if not lacking:
        return
    if not aptroot.available():
        raise WorkbenchError(
            "These Python packages are missing or too old: " + ", ".join(
                f"{t.module}{' >= ' + t.version if t.version else ''}" for t, _ in lacking)
            + ". Install them: dnf install " + " ".join(t.fedora for t, _ in lacking))
    step("Unpacking tools into build/tools: " + ", ".join(t.debian for t, _ in lacking))
    debs = aptroot.fetch([aptroot.Package(t.debian, suites=t.suites) for t, _ in lacking])
    for deb in debs:
        debfiles.unpack(deb, paths.TOOLS)
    lacking = missing()
    if lacking:
        raise WorkbenchError(
            "These Python packages are still missing or too old in build/tools: " + ", ".join(
                f"{t.debian} (found {v or 'nothing'}, needed {t.version or 'any version'})"
                for t, v in lacking)
            + f". Delete {paths.TOOLS} and run again; if it stays, the mirror's packages are "
            f"too old for this workbench or do not fit {PYTHON}.")
