# SPDX-License-Identifier: GPL-2.0-or-later
"""Private Debian roots below build/roots: another release, or packages that this machine must not
have. They are made once by mmdebstrap from the mirror of aptroot.py and then kept.

Programs are run in them by room.py.
"""

import dataclasses
import hashlib
import json
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..ui.report import WorkbenchError, step
from . import aptroot, atomic, host, lock, namespaces, paths
from .programs import need_space, run

HOOKS = Path("/usr/share/mmdebstrap/hooks")
MERGED = HOOKS / "maybe-merged-usr"
RECIPE = "etc/workbench-recipe"     # what a root was made from, in the root
# Nobody reads them there, and they are a quarter of a small root.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
# Packages that start a service when they are installed find that nothing may be started.
NO_SERVICES = ("printf '#!/bin/sh\\nexit 101\\n' > usr/sbin/policy-rc.d; "
               "chmod 755 usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class Recipe:
    """What a root is made from.

    NAME, of letters, digits, dots and hyphens, begins the name of its folder. The first of SUITES
    is Debian's release. Of others that give way to it, such as backports, comes what PINNED says,
    pairs (source package, suite), and what PACKAGES ask for with NAME/SUITE, which has all that it
    needs from there as well. apt takes the packages PROVIDED for installed, because what they have
    comes from outside. VARIANT is one of mmdebstrap's. ARCH None is that of this machine.
    """

    name: str
    suites: tuple
    packages: tuple = ()
    pinned: tuple = ()
    provided: tuple = ()
    variant: str = "minbase"
    arch: str | None = None

    def key(self):
        """What the root depends on, as text. Its packages stay as new as they were then."""
        fields = dataclasses.asdict(self)
        fields["arch"] = self.arch or aptroot.native()
        return json.dumps(fields, sort_keys=True)

    def folder(self):
        """Where the root is, or will be."""
        digest = hashlib.sha256(self.key().encode()).hexdigest()[:8]
        return paths.ROOTS / f"{self.name}-{digest}"


def have(recipe):
    """Have the root of RECIPE; returns its folder.

    Needs root, or user namespaces with more than one user (namespaces.py). Raises WorkbenchError
    when these are missing, or the packages cannot be had.
    """
    folder = recipe.folder()
    if folder.exists():
        return folder
    # First, because it needs no package to be installed.
    namespaces.prefix()
    host.require("roots")
    paths.ROOTS.mkdir(parents=True, exist_ok=True)
    with lock.held(paths.ROOTS / "lock", "waiting for another run to make its root"):
        if not folder.exists():
            need_space(paths.ROOTS, 2, f"The root {recipe.name}")
            step(f"Making a root of {' and '.join(recipe.suites)} in "
                 f"{folder.relative_to(paths.TOP)}")
            _make(recipe, folder)
            _remove_older(recipe, folder)
    return folder


def version(folder, package):
    """The version of PACKAGE in the root FOLDER, as Debian writes it; None if it is not there."""
    done = subprocess.run(["dpkg-query", f"--admindir={folder}/var/lib/dpkg", "-W", "-f",
                           "${db:Status-Status} ${Version}", package],
                          capture_output=True, text=True, check=False)
    status, _, found = done.stdout.partition(" ")
    return found if status == "installed" else None


def remove(folder):
    """Remove a root, or what there is of one."""
    if folder.exists():
        # Its files may belong to users that only the namespace knows.
        subprocess.run([*namespaces.prefix(), "rm", "-rf", "--one-file-system", folder],
                       check=True)


def _make(recipe, folder):
    log = paths.LOGS / f"mmdebstrap-{recipe.name}.log"
    with atomic.new_folder(folder) as new:
        new.with_name("provided").write_text(
            "".join(map(aptroot.stanza, recipe.provided)), encoding="utf-8")
        new.with_name("pins").write_text("".join(
            f"Package: src:{source}\nPin: release n={suite}\nPin-Priority: 990\n\n"
            for source, suite in recipe.pinned), encoding="utf-8")
        try:
            run([*namespaces.prefix("--mount"), *_command(recipe, new)],
                what=f"Making {folder.name}", log=log, remedy="Is there a network? Are all of "
                f"these packages in {', '.join(recipe.suites)}: {', '.join(recipe.packages)}?")
        except BaseException:
            remove(new)
            raise


def _command(recipe, folder):
    """The call of mmdebstrap that makes FOLDER, beside which are its stanzas and pins."""
    arch = recipe.arch or aptroot.native()
    words = ["mmdebstrap", "--mode=root", f"--variant={recipe.variant}", f"--architectures={arch}"]
    words += [f'--aptopt={name} "{value}"' for name, value in aptroot.acquire().items()]
    words += ["--dpkgopt=force-unsafe-io"]
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    if recipe.packages:
        words.append(f"--include={','.join(recipe.packages)}")
    if MERGED.exists():
        words.append(f"--hook-dir={MERGED}")
    if recipe.pinned:
        words.append(f"--setup-hook=cp {shlex.quote(str(folder.with_name('pins')))} "
                     '"$1/etc/apt/preferences.d/workbench"')
    # Files of nobody: dpkg would ask for the list of each.
    lists = " ".join(f"var/lib/dpkg/info/{name}.list" for name in recipe.provided)
    if lists:
        stanzas = shlex.quote(str(folder.with_name("provided")))
        words.append(f'--essential-hook=cd "$1"; cat {stanzas} >> var/lib/dpkg/status; '
                     f"touch {lists}")
    words.append(f'--essential-hook=cd "$1"; {NO_SERVICES}')
    words.append(f'--customize-hook=printf "%s\\n" {shlex.quote(recipe.key())} > "$1/{RECIPE}"')
    return [*words, recipe.suites[0], str(folder),
            *(aptroot.source_line(suite, arch) for suite in recipe.suites)]


def _remove_older(recipe, folder):
    """Remove roots of the same name that were made from another recipe."""
    for other in paths.ROOTS.glob(f"{recipe.name}-????????"):
        if other != folder and (other / RECIPE).exists():
            made = json.loads((other / RECIPE).read_text(encoding="utf-8"))
            if made["name"] == recipe.name:
                remove(other)


def unsupported():
    """Why no root can be made or used here, as a text; None if nothing speaks against it."""
    try:
        namespaces.prefix()
        if not shutil.which("mmdebstrap"):
            host.require("roots")
        aptroot.mirror()
    except WorkbenchError as error:
        return str(error)
    return None
