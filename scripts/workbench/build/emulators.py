# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuring and building QEMU: the patched tree, the pristine one, and any other."""

import json
import os
import re
import shlex
import shutil
import subprocess

from ..series import tree
from ..system import host, lock, paths, programs, tools
from ..system.programs import run
from ..ui.report import WorkbenchError, step
from . import datafiles

# hw/acpi/cpu.c, TCG and PCI are shared: the tests look at the other machines with CPU hot-plug too.
TARGETS = ("aarch64", "x86_64", "loongarch64")
OPTIONS = (
    f"--python={tools.PYTHON}",
    "--cc=ccache gcc", "--cxx=ccache g++", "--host-cc=ccache gcc",
    "--target-list=" + ",".join(f"{name}-softmmu" for name in TARGETS),
    "--disable-docs", "--disable-download", "--disable-install-blobs",
    "--without-default-features", "--enable-system", "--enable-tcg", "--enable-kvm",
    "--enable-fdt", "--enable-pixman", "--enable-tools", "--enable-plugins",
    "--enable-vhost-user", "--enable-vhost-net", "--enable-slirp", "--enable-vnc",
    "--enable-trace-backends=log", "--disable-rust",
)
SPACE = 6.0             # GiB for everything: one tree with its tests takes 1.5
BINARY = "qemu-system-aarch64"
# Beside the emulators, a TCG plugin that tests load.
PLUGIN = "contrib/plugins/libhowvec.so"
STAMP = "workbench-configured.json"
SHOWN = 10              # names of targets that a message may have


def environment(more=None):
    """Environment of configure and ninja: the tools, and ccache told to ignore the folder.

    more: dictionary of further variables.
    """
    env = tools.environment()
    # Wherever the repository is, the same sources give the same cache entries.
    env.update(CCACHE_BASEDIR=str(paths.BUILD), CCACHE_NOHASHDIR="1",
               NINJA_STATUS="[%f/%t] ", LC_ALL="C.UTF-8")
    # A user's flags would make two builds differ that are to be compared.
    for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS"):
        env.pop(name, None)
    env.update(more or {})
    return env


def build(which="patched", targets=None):
    """Build one tree; returns the path of its qemu-system-aarch64.

    which: "patched" (build/qemu as it stands, edits included) or "pristine" (the base).
    targets: names of ninja targets, e.g. ["qemu-system-aarch64"]; None is all, with the tests.
    Sets up build/qemu, or takes up changed patches. Raises WorkbenchError with the end of the log.
    """
    host.require("series", "build")
    tools.ensure()
    tree.ensure()
    if which == "patched":
        source, folder = paths.QEMU_SRC, paths.PATCHED
    elif which == "pristine":
        source, folder = paths.BASE_SRC, paths.PRISTINE
        tree.have_base()
    else:
        raise ValueError(f"no such tree: {which}")
    configure_and_make(source, folder, targets, name=which)
    datafiles.provide(folder)
    if which == "pristine":
        _link(paths.BUILD / "pristine", paths.PRISTINE)
    else:
        _link(paths.QEMU_BINARY, folder / BINARY)
    return folder / BINARY


def known_targets(source):
    """Names of all targets that the tree SOURCE can be built for: x86_64, aarch64-linux-user, …"""
    found = sorted(file.stem for file in (source / "configs/targets").glob("*.mak"))
    return [name.removesuffix("-softmmu") for name in found
            if name.endswith(("-softmmu", "-linux-user"))]


def select(source, wanted):
    """The targets WANTED, each once; ["all"] is all that the tree SOURCE can be built for.

    Raises WorkbenchError for an unknown name.
    """
    known = known_targets(source)
    unknown = [name for name in wanted if name not in known and name != "all"]
    if unknown:
        raise WorkbenchError(f"There is no target {', '.join(unknown)}. There are: all, "
                             + ", ".join(known))
    return known if "all" in wanted else list(dict.fromkeys(wanted))


def target_list(names):
    """The option of configure for the targets NAMES, as in known_targets()."""
    return "--target-list=" + ",".join(
        name if name.endswith("-linux-user") else f"{name}-softmmu" for name in names)


def program(target):
    """The emulator of TARGET, which is also what ninja calls it."""
    user = target.removesuffix("-linux-user")
    return f"qemu-{user}" if user != target else f"qemu-system-{target}"


def build_targets(which, wanted):
    """Build the emulators of the targets WANTED; returns their paths.

    which: "patched" or "pristine". wanted: names as in known_targets(); ["all"] is all of them.
    TARGETS are built where build() builds them. Others are in one further folder, configured for
    all targets; of it only what is wanted is compiled.
    Raises WorkbenchError for an unknown name, and with the end of the log.
    """
    host.require("series", "build")
    tools.ensure()
    tree.ensure()
    source, folder, other = ((paths.QEMU_SRC, paths.PATCHED, paths.TARGETS)
                             if which == "patched" else
                             (paths.BASE_SRC, paths.PRISTINE, paths.PRISTINE_TARGETS))
    if which == "pristine":
        tree.have_base()
    names = select(source, wanted)
    first = [program(name) for name in names if name in TARGETS]
    rest = [program(name) for name in names if name not in TARGETS]
    if first:
        build(which, first)
    if rest:
        options = [o for o in OPTIONS if not o.startswith("--target-list=")]
        options += ["--enable-linux-user", target_list(known_targets(source))]
        configure_and_make(source, other, rest, f"{which}-targets", tuple(options))
    return [folder / name for name in first] + [other / name for name in rest]


def built(which="patched"):
    """Path of the binary if it is there, else None. Says nothing about its age."""
    folder = paths.PATCHED if which == "patched" else paths.PRISTINE
    return folder / BINARY if (folder / BINARY).exists() else None


def configure_and_make(source, folder, targets=None, name=None, options=OPTIONS, more=None):
    """Configure `folder` for the tree `source` if that is needed, then run ninja in it.

    Both go on where an interrupted run stopped. targets: names of ninja targets, None for all, or a
    function that finds the names in the folder once it is configured. name is for messages and the
    name of the logs, more is added to the environment of both.
    """
    name = name or folder.name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "build.ninja").exists():
        programs.need_space(folder, SPACE, "Building QEMU")
    # Two ninjas in one folder would undo each other's work.
    with lock.held(folder / ".workbench.lock", f"waiting for another build in {folder}"):
        _configure(source, folder, name, options, environment(more))
        _make(folder, targets(folder) if callable(targets) else targets, name, environment(more))


def _configure(source, folder, name, options, env):
    # The folder is part of it: a build folder that was moved has stale absolute paths.
    wanted = {"options": list(options), "source": str(source), "folder": str(folder)}
    stamp = folder / STAMP
    if (folder / "build.ninja").exists() and _configured(folder) == wanted:
        return
    step(f"Configuring QEMU ({name})")
    # Configuring over another configuration keeps parts of it.
    for left in ("build.ninja", "config.log", "config.status", STAMP):
        (folder / left).unlink(missing_ok=True)
    for left in ("meson-private", "meson-info", "pyvenv"):
        shutil.rmtree(folder / left, ignore_errors=True)
    relative = os.path.relpath(source, folder)
    run([f"{relative}/configure", *options], cwd=folder, env=env,
        what="Configuring QEMU", log=paths.LOGS / f"configure-{name}.log",
        remedy=f"More is in {folder}/config.log and {folder}/meson-logs/meson-log.txt.")
    stamp.write_text(json.dumps(wanted, indent=1), encoding="utf-8")


def _configured(folder):
    """What the folder was configured with, or None."""
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass
    # Configured by hand: the same options in the same place will do.
    try:
        last = (folder / "config.status").read_text(encoding="utf-8").splitlines()[-1]
        words = shlex.split(last)
        source = (folder / words[1]).resolve().parent
        ninja = (folder / "build.ninja").read_text(encoding="utf-8", errors="replace")
    except (OSError, IndexError, ValueError):
        return None
    if str(folder) not in ninja:
        return None
    return {"options": words[2:-1], "source": str(source), "folder": str(folder)}


def _make(folder, targets, name, env):
    targets = targets or ()
    few = " ".join(targets) if len(targets) <= SHOWN else f"{len(targets)} targets"
    step(f"Building QEMU ({name}): {few or 'everything'}")

    def progress(line):
        match = re.match(r"\[(\d+)/(\d+)\]", line)
        return match.group(0) if match else None

    log = paths.LOGS / f"build-{name}.log"
    command = ["ninja", *targets]
    status = run(command, cwd=folder, env=env, what="Building QEMU", log=log,
                 parse=progress, check=False)
    if status:
        raise WorkbenchError(
            f"Building QEMU ({name}) failed. {_first_error(log)}The whole output: {log}\n"
            + programs.full_disk_hint(log)
            + "The next run goes on where this one stopped.")


def _first_error(log):
    """The part of ninja's output that says what failed."""
    text = log.read_text(encoding="utf-8", errors="replace")
    at = text.find("\nFAILED: ")
    if at < 0:
        return "The last lines:\n\n" + programs.tail(log) + "\n\n"
    lines = text[at + 1:].splitlines()
    # The second line is the compiler's command, longer than any screen.
    return "What failed:\n\n" + "\n".join(line[:300] for line in lines[:30]) + "\n\n"


def _link(link, target):
    """Make or renew a relative symbolic link; a real file or folder in its place stays."""
    relative = os.path.relpath(target, link.parent)
    if link.is_symlink() and os.readlink(link) != relative:
        link.unlink()
    if not link.exists() and not link.is_symlink():
        link.symlink_to(relative)


def version(binary):
    """First line of the binary's --version. Raises WorkbenchError if it does not run."""
    # One with AddressSanitizer would say what it has not freed, and fail.
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True,
                              env=env)
    except (OSError, subprocess.CalledProcessError) as e:
        raise WorkbenchError(f"{binary} does not run: {e}") from e
    return done.stdout.splitlines()[0]
