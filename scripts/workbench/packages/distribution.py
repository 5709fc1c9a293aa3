# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/series package --into: the series in Debian's own source package of QEMU.

The topics that fit are appended to the package's quilt series. dpkg-source, in a private root,
makes the new source package and unpacks it again, which proves that all patches apply.
"""

import email.utils
import os
import re
import shutil
from pathlib import Path

from ..series import dep3, git, into, package, source, topics, tree
from ..series.output import refuse_others
from ..system import aptroot, debroot, paths
from ..system.programs import need_space, run
from ..system.room import ENVIRONMENT, Room
from ..ui.report import WorkbenchError, info, step
from . import rooms, texts

# Where source packages are unpacked and built, whatever release they are of.
SUITE = "trixie"
FOLDER = paths.BUILD / "source-package"
PATCHES = package.FOLDER    # below debian/patches
MARK = "+hotplug"           # what the version has more than that of the package that was given
SPACE = 3.0             # GiB for a source package, unpacked twice
BUILD_SPACE = 25.0      # GiB for a build of all that it makes
# What build() makes, and what it needs for the time being.
BUILT = (".deb", ".buildinfo", ".changes")
ROOT, UNPACKED = ".root", "source"
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
CCACHE = "/usr/lib/ccache"      # Debian's links with the names of compilers
# Without tests, and without what needs a newer package than the root's release has.
PROFILES = "nocheck,pkg.qemu.use-upstream-vdso"
# What is shown of a build: Ninja's count, then the steps of debhelper.
_PROGRESS = re.compile(r"\[\d+/\d+\]|dh_\w+ -a\b|dpkg-deb: building package '[^']+'")


def main(wanted, names=None, output=None, rebuild=False):
    """Put the topics NAMES, default all that fit, into a source package and write the new one.

    wanted: a version, such as 10.2.2, of which the mirror has the source package, or the path of a
    .dsc beside its other files. output: the folder for the result, default
    build/source-package/VERSION; what an earlier run has left there is replaced. rebuild: build its
    binary packages, too. Raises WorkbenchError, among others when other files are there.
    """
    need_space(paths.BUILD, BUILD_SPACE if rebuild else SPACE, "A source package")
    tree.setup()
    dsc = _obtain(wanted)
    old = _field(dsc, "Version")
    output = Path(output or FOLDER / _plain(old)).absolute()
    _check_output(output, old)
    moment = texts.released()
    new = f"{old}{MARK}{moment:%Y%m%d.%H%M}"
    root = debroot.have(debroot.Recipe("package-source", (SUITE,), ("dpkg-dev",)))
    with git.temporary("source-package") as work:
        for name in _files(dsc):
            shutil.copyfile(dsc.with_name(name), work / name)
        with Room(root, [work], name="package") as room:
            # It checks the sums, and does not insist on a signature.
            _in(room, work, "dpkg-source", "-x", dsc.name, "old")
            fitted = _fit(work / "old", old, names)
            count = _add(work / "old", fitted, new, moment)
            _in(room, work, "dpkg-source", "-b", "old")
            made = next(path for path in work.glob("*.dsc") if _field(path, "Version") == new)
            step("Unpacking the new source package")
            _in(room, work, "dpkg-source", "--no-check", "-x", made.name, "new")
        _compare(work / "new", fitted)
        # Of a build that was killed, and perhaps of other users.
        debroot.remove(output / ROOT)
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        for name in _files(made):
            shutil.copyfile(work / name, output / name)
    print(f"{count} patches of the topics {', '.join(fitted.topics)} in {output / made.name}.")
    for name, why in fitted.unfit.items():
        info(f"not in it: {name}: {why}")
    if rebuild:
        build(output / made.name)


def build(dsc):
    """Build the binary packages of the source package DSC beside it, in a root with its build
    dependencies. Takes hours: QEMU is compiled for all its targets. What was compiled is kept by
    ccache for the next time. Raises WorkbenchError."""
    dsc = Path(dsc)
    root = debroot.have(debroot.Recipe("package-rebuild", (SUITE,),
                                       ("build-essential", "ca-certificates", "ccache")))
    writes = dsc.parent / ROOT
    debroot.remove(writes)
    writes.mkdir()
    common = rooms.environment()
    variables = {"DEB_BUILD_OPTIONS": common["DEB_BUILD_OPTIONS"],
                 "DEB_BUILD_PROFILES": PROFILES.replace(",", " "),
                 "CCACHE_DIR": common["CCACHE_DIR"], "PATH": f"{CCACHE}:{ENVIRONMENT['PATH']}",
                 "DEBIAN_FRONTEND": "noninteractive",
                 **{name: os.environ[name] for name in PROXIES if name in os.environ}}
    log = paths.LOGS / f"rebuild-{dsc.stem}.log"
    try:
        # The network is for apt, which installs what the package needs.
        with Room(root, [dsc.parent, rooms.ccache_folder()], writes=writes, name="package",
                  network=True) as room:
            script = (f'cd "$1" && rm -rf {UNPACKED} && dpkg-source --no-check -x "$2" '
                      f"{UNPACKED} && cd {UNPACKED} && apt-get update && apt-get build-dep -y "
                      f"--no-install-recommends --arch-only -P {PROFILES} . && "
                      "dpkg-buildpackage -B -us -uc")
            run(room.command(["sh", "-c", script, "sh", dsc.parent, dsc.name], variables),
                what="Building the packages", log=log,
                parse=lambda line: (_PROGRESS.match(line) or [None])[0])
    finally:
        debroot.remove(writes)
        shutil.rmtree(dsc.parent / UNPACKED, ignore_errors=True)
    print("\n".join(str(path) for path in sorted(dsc.parent.glob("*.deb"))))


def _plain(version):
    """A version without its epoch, as files have it."""
    return re.sub(r"^\d+:", "", version)


def _check_output(folder, old):
    """Raise WorkbenchError unless all in FOLDER, if it exists, is what an earlier run has made of
    the version OLD."""
    made = [dsc for dsc in folder.glob("*.dsc") if _field(dsc, "Version").startswith(old + MARK)]
    mine = {ROOT, UNPACKED, *(name for dsc in made for name in _files(dsc))}
    refuse_others(folder, lambda name: name in mine or (
        f"{_plain(old)}{MARK}" in name and name.endswith(BUILT)))


def _in(room, folder, *words):
    room.check(["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", folder, *words], 600)


def _obtain(wanted):
    """The path of a .dsc with its files beside it."""
    if not source.is_version(wanted):
        dsc = Path(wanted).expanduser().absolute()
        if dsc.suffix != ".dsc" or not dsc.is_file():
            raise WorkbenchError(f"{wanted} is neither a version like 10.2.2 nor a .dsc file.")
        missing = [name for name in _files(dsc) if not dsc.with_name(name).exists()]
        if missing:
            raise WorkbenchError(f"Beside {dsc} these of its files are missing: "
                                 + ", ".join(missing))
        return dsc
    pattern = rf"qemu_{re.escape(wanted)}\+.*\.(dsc|debian\.tar\.xz|orig\.tar\.xz)"
    offers = aptroot.sources(source.upstream()["debian_source"], pattern)
    if not offers:
        raise WorkbenchError(f"The mirror has no source package of QEMU {wanted}. Name the .dsc "
                             "of one that is here.")
    files = {offer.filename: offer for offer in offers if offer.version == offers[0].version}
    for name, offer in files.items():
        path = paths.CACHE / name
        if not path.exists() or path.stat().st_size != offer.size:
            aptroot.download(offer.uri, path, offer.sha256)
    return paths.CACHE / next(name for name in files if name.endswith(".dsc"))


def _field(dsc, name):
    text = dsc.read_text(encoding="utf-8", errors="replace")
    found = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    if not found:
        raise WorkbenchError(f"{dsc} is no description of a source package: it has no {name}.")
    return found[1].strip()


def _files(dsc):
    """Names of all files of the source package, the .dsc first."""
    text = dsc.read_text(encoding="utf-8", errors="replace")
    part = re.search(r"^Checksums-Sha256:((?:\n .*)+)", text, re.MULTILINE)
    if not part:
        raise WorkbenchError(f"{dsc} is no description of a source package: it has no "
                             "Checksums-Sha256.")
    return [dsc.name, *(line.split()[2] for line in part[1].strip().splitlines())]


def _fit(folder, version, names):
    with tree.locked():
        step(f"Merging the series into QEMU {version}")
        commit = tree.commit_tree(folder, f"Debian's source package {version}")
        return into.fit(commit, names)


def _add(folder, fitted, version, moment):
    """Append the patches to the quilt series, and an entry to the changelog; returns how many."""
    plain, _ = package.plain(fitted.series)
    listed = topics.Topics.load()
    values = {patch.name: dep3.fields(patch, listed.get(patch.topic))
              for patch in fitted.series.patches}
    there = folder / "debian/patches"
    for name, text in plain.items():
        path = there / PATCHES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dep3.tagged(text, values[name]).encode("utf-8", "surrogateescape"))
    series = there / "series"
    text = series.read_text(encoding="utf-8") if series.exists() else ""
    series.write_text(text.rstrip("\n") + "\n" * bool(text)
                      + "".join(f"{PATCHES}/{name}\n" for name in plain), encoding="utf-8")
    changes = folder / "debian/changelog"
    text = changes.read_text(encoding="utf-8")
    head = re.match(r"(\S+) \(.*?\) (\S+); ", text)
    changes.write_text(
        f"{head[1]} ({version}) {head[2]}; urgency=medium\n\n"
        f"  * Add patches of {texts.NAME}: {', '.join(fitted.topics)}.\n\n"
        f" -- {texts.MAINTAINER}  {email.utils.format_datetime(moment)}\n\n" + text,
        encoding="utf-8")
    return len(plain)


def _compare(folder, fitted):
    """Raise WorkbenchError unless the unpacked source has what git makes of the patches."""
    _, binary = package.plain(fitted.series)
    for path in sorted(fitted.series.touched() - set(binary)):
        wanted = git.line("rev-parse", "-q", "--verify", f"{fitted.tree}:{path}")
        file = folder / path
        found = git.blob_id(file.read_bytes()) if file.exists() else None
        if found != wanted:
            raise WorkbenchError(f"dpkg-source and git make a different {path} of the patches. "
                                 "That is a fault of this command.")
