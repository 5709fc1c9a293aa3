# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding the base: the QEMU release that the series is for, wherever it can be had."""

import hashlib
import json
import os
import re
import shutil
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ..system import aptroot, paths
from ..system.programs import need_space, run, tail
from ..ui.report import Progress, WorkbenchError, info, step, warn
from . import fit, git

SPACE = 1.5             # GiB that an unpacked tree and its git repository take
CONNECT_TIMEOUT = 10    # seconds: no network at all is a normal case


@dataclass
class Base:
    """An unpacked and accepted tree. exact: it is known to be the pinned release as a whole.

    differs: files that the series changes and that are not those of the pinned release.
    sha256: of the tarball, None if a tree was given.
    """

    tree: Path
    origin: str
    version: str
    sha256: str | None
    exact: bool = False
    differs: tuple = ()


class Rejected(Exception):
    """One place has nothing that will do; the text says why."""


def upstream():
    """The content of upstream.json. Raises WorkbenchError when it is unreadable."""
    try:
        return json.loads(paths.UPSTREAM_JSON.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise WorkbenchError(f"{paths.UPSTREAM_JSON} cannot be read: {e}. "
                             "Restore it: git checkout upstream.json") from e


def obtain(into, series, given=None, network=True):
    """Find the base, unpack it to the folder `into` (which must not exist), accept or go on.

    series: patches.Series; another release of the same x.y than the pinned one is accepted when
    all patches apply to it as they are. given: a tarball, a folder that holds one, or a tree;
    default is QEMU_BASE_SOURCE of the environment. network: False keeps to what is on this
    machine. Returns Base. Raises WorkbenchError that lists every place tried and why it would
    not do.
    """
    pins = upstream()

    def verify(base):
        wanted = pins["version"].rsplit(".", 1)[0]
        if base.version.rsplit(".", 1)[0] != wanted:
            raise Rejected(f"{base.origin} is QEMU {base.version}, wanted is {pins['version']}. "
                           "scripts/series rebase takes the series to another release")
        base.exact = base.sha256 in pins["tarballs"].values() and base.sha256 is not None
        base.differs = fit.differing(base.tree, series)
        if base.differs:
            problem = fit.problem(base.tree, series)
            if problem:
                raise Rejected(f"{base.origin} (QEMU {base.version}) is not what the series is "
                               f"for: {problem}")
    return _first(into, pins, given or os.environ.get("QEMU_BASE_SOURCE"), network, verify)


def release(into, wanted, network=True):
    """Have any release unpacked in the folder `into`, which must not exist.

    wanted: a version like 11.2.0, which is looked for in a folder that QEMU_BASE_SOURCE names,
    the caches and on the network, or the path of a tarball or tree. Returns Base.
    Raises WorkbenchError.
    """
    need_space(into, SPACE, "Unpacking the QEMU source")
    if not is_version(wanted):
        path = Path(wanted).expanduser().absolute()
        if not path.is_file() and not (path / "configure").exists():
            raise WorkbenchError(f"{wanted} is neither a version like 11.2.0, nor a tarball of "
                                 "QEMU, nor a QEMU source tree.")
        try:
            return _accept(path, Path(into), upstream(), lambda base: None)
        except Rejected as e:
            raise WorkbenchError(str(e)) from e
    given = os.environ.get("QEMU_BASE_SOURCE")
    if given and not (os.path.isdir(given) and not os.path.exists(f"{given}/configure")):
        given = None        # one file or tree: that of the base

    def verify(base):
        if base.version != wanted:
            raise Rejected(f"{base.origin} is QEMU {base.version}, wanted is {wanted}")
    pins = dict(pins_of(wanted), debian_pattern=rf"qemu_{re.escape(wanted)}"
                r"\+ds\.orig\.tar\.xz", same_minor=False)
    return _first(into, pins, given, network, verify)


def is_version(text):
    """True for the version of a release."""
    return re.fullmatch(r"\d+\.\d+\.\d+", text) is not None


def pins_of(version, name=None, sha256=None, tree=None):
    """What upstream.json says when another version is pinned.

    name, sha256: of the tarball that it was taken from, if that is known; tree: id of its git
    tree.
    """
    old = upstream()
    minor = re.escape(version.rsplit(".", 1)[0])
    tarballs = {f"qemu_{version}+ds.orig.tar.xz": None, f"qemu-{version}.tar.xz": None}
    if name:
        tarballs[name] = sha256
    return {"version": version,
            "release_url": old["release_url"].replace(old["version"], version),
            "tarballs": tarballs,
            "debian_source": old["debian_source"], "debian_pool": old["debian_pool"],
            "debian_pattern": rf"qemu_{minor}\.\d+\+ds\.orig\.tar\.xz",
            "trees": {name: tree} if name and tree else {}, "tag": f"v{version}", "commit": None}


def _first(into, pins, given, network, verify):
    """The first candidate of all places that can be unpacked and that verify(Base) lets pass."""
    need_space(into, SPACE, "Unpacking the QEMU source")
    failures = []
    for place, candidates in _places(pins, given, network):
        try:
            for candidate in candidates():
                try:
                    return _accept(candidate, Path(into), pins, verify)
                except Rejected as e:
                    warn(f"{place}: {e}")
                    failures.append(f"{place}: {e}")
        except Rejected as e:
            failures.append(f"{place}: {e}")
        except WorkbenchError as e:
            failures.append(f"{place}: {str(e).splitlines()[0]}")
    raise WorkbenchError(
        f"The source of QEMU {pins['version']} was not found. Tried, in this order:\n"
        + "".join(f"  - {line}\n" for line in failures)
        + f"Give one with --source PATH or QEMU_BASE_SOURCE=PATH: the file "
        f"{' or '.join(pins['tarballs'])}, a folder that holds it, or an unpacked tree; "
        f"or put the file into {paths.CACHE}.")


def _places(pins, given, network):
    """(name, function that yields candidates) of each place, in order."""
    given = given or os.environ.get("QEMU_BASE_SOURCE")
    if given:
        # Made absolute now: the place is shown in messages.
        path = Path(given).expanduser().absolute()
        yield f"given source {path}", lambda: _given(path, pins)
    for folder in (paths.CACHE, paths.USER_CACHE):
        yield f"cache {folder}", lambda folder=folder: _cached(folder, pins)
    if network:
        yield f"release site {pins['release_url']}", lambda: _release(pins)
        yield "package mirror, pool", lambda: _pool(pins)
        yield "package mirror, source lists", lambda: _lists(pins)


def _tarballs(folder, pins):
    """Tarballs in a folder that may be the base: pinned names first, then the same series."""
    minor = pins["version"].rsplit(".", 1)[0]
    names = [folder / name for name in pins["tarballs"]]
    others = sorted(folder.glob(f"qemu[-_]{minor}.*.tar.*")) if pins.get("same_minor", True) \
        else []
    return [p for p in dict.fromkeys(names + others)
            if p.is_file() and not p.name.endswith((".broken", ".part", ".asc", ".sig"))]


def _given(path, pins):
    if not path.exists():
        raise Rejected("it does not exist")
    if path.is_dir() and not (path / "configure").exists():
        found = _tarballs(path, pins)
        if not found:
            raise Rejected(f"the folder holds no tarball of QEMU {pins['version']} "
                           f"({' or '.join(pins['tarballs'])}) and is no QEMU source tree")
        return found
    return [path]


def _cached(folder, pins):
    found = _tarballs(folder, pins) if folder.is_dir() else []
    if not found:
        raise Rejected("nothing there")
    return found


def _release(pins):
    uri = pins["release_url"]
    name = uri.rsplit("/", 1)[1]
    step(f"Looking for {name} at {uri.split('/')[2]}")
    path = paths.CACHE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(name + ".part")
    # urllib instead of apt's downloader: this place also serves machines without apt.
    try:
        with urllib.request.urlopen(uri, timeout=CONNECT_TIMEOUT) as reply, \
                open(partial, "wb") as out, Progress(f"Downloading {name}") as progress:
            total = int(reply.headers.get("Content-Length") or 0)
            while chunk := reply.read(1 << 18):
                out.write(chunk)
                progress.update(f"{out.tell() / 1e6:.0f} of {total / 1e6:.0f} MB")
            if total and out.tell() != total:
                raise Rejected(f"the download broke off after {out.tell()} of {total} bytes")
    except urllib.error.HTTPError as e:
        raise Rejected(f"the server answered {e.code} {e.reason}") from e
    except (urllib.error.URLError, socket.timeout, OSError) as e:
        if isinstance(e, OSError) and e.errno == 28:
            raise
        raise Rejected(f"cannot be reached ({getattr(e, 'reason', e)})") from e
    os.replace(partial, path)
    _keep(path)
    return [path]


def _pool(pins):
    if not aptroot.mirrors():
        raise Rejected("apt on this machine has no Debian mirror configured (DEBIAN_MIRROR in "
                       "the environment may name one)")
    name, sha256 = next(((n, s) for n, s in pins["tarballs"].items() if "+ds" in n and s),
                        (None, None))
    if not name:
        raise Rejected("no file there is pinned")
    errors = []
    for mirror in aptroot.mirrors():
        uri = f"{mirror}{pins['debian_pool']}/{name}"
        step(f"Looking for {name} on the package mirror")
        try:
            path = aptroot.download(uri, paths.CACHE / name, sha256)
        except WorkbenchError as e:
            errors.append(str(e).splitlines()[0])
            continue
        _keep(path)
        return [path]
    raise Rejected("; ".join(errors))


def _lists(pins):
    step(f"Looking for QEMU {pins['version']} in the source lists of the package mirror")
    offers = aptroot.sources(pins["debian_source"], pins["debian_pattern"])
    if not offers:
        raise Rejected("the lists offer nothing like " + pins["debian_pattern"].replace("\\", ""))
    # The oldest is nearest to the pinned release.
    for offer in reversed(offers):
        path = paths.CACHE / offer.filename
        if not path.exists():
            try:
                aptroot.download(offer.uri, path, offer.sha256)
            except WorkbenchError as e:
                warn(str(e).splitlines()[0])
                continue
            _keep(path)
        yield path


def _keep(path):
    """Keep a download beyond the life of build/, so that it is needed once."""
    try:
        paths.USER_CACHE.mkdir(parents=True, exist_ok=True)
        target = paths.USER_CACHE / path.name
        if not target.exists():
            partial = target.with_name(target.name + ".part")
            shutil.copyfile(path, partial)
            os.replace(partial, target)
    except OSError as e:
        info(f"not kept in {paths.USER_CACHE}: {e}")


def _accept(candidate, into, pins, verify):
    """Unpack a candidate to `into` if verify(Base) lets it pass; returns Base. Raises Rejected."""
    partial = into.with_name(into.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    into.parent.mkdir(parents=True, exist_ok=True)
    try:
        sha256 = None
        if candidate.is_dir():
            step(f"Copying the source tree {candidate}")
            _copy_tree(candidate, partial)
        else:
            sha256 = _verify_hash(candidate, pins)
            step(f"Unpacking {candidate}")
            _unpack(candidate, partial)
        base = Base(partial, str(candidate), _version(partial, candidate), sha256)
        verify(base)
        os.replace(partial, into)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    base.tree = into
    return base


def sha256_of(path):
    """SHA-256 of a file, as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _verify_hash(path, pins):
    """The file's sha256. Raises Rejected if it has a pinned name and not the hash."""
    wanted = pins["tarballs"].get(path.name)
    found = sha256_of(path)
    if wanted and found not in pins["tarballs"].values():
        raise Rejected(f"{path} is broken or another file: its sha256 is {found}, wanted is "
                       f"{wanted}{_aside(path)}")
    return found


def _aside(path):
    """Move a bad file out of the way if it is in a cache of ours; returns words about that."""
    if path.parent not in (paths.CACHE, paths.USER_CACHE):
        return ""
    bad = path.with_name(path.name + ".broken")
    os.replace(path, bad)
    return f"; moved to {bad}"


def _unpack(tarball, into):
    into.mkdir(parents=True)
    log = paths.LOGS / "unpack.log"
    status = run(["tar", "--no-same-owner", "--no-same-permissions", "--strip-components=1", "-C",
                  into, "-xf", tarball], what=f"Unpacking {tarball.name}", log=log, check=False)
    if status:
        if "No space left" in tail(log, 50):
            raise WorkbenchError(f"The disk is full: {tarball} could not be unpacked to {into}. "
                                 "Free some space and run the same command again.")
        raise Rejected(f"{tarball} cannot be unpacked ({tail(log, 1)}){_aside(tarball)}")


def _copy_tree(tree, into):
    """A copy of a source tree: of a git work tree what is committed, else all its files."""
    if (tree / ".git").exists():
        with git.temporary("archive") as folder:
            archive = folder / "tree.tar"
            git.run("archive", "--format=tar", "--prefix=tree/", "-o", archive, "HEAD", cwd=tree)
            _unpack(archive, into)
        return
    shutil.copytree(tree, into, symlinks=True,
                    ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _version(tree, candidate):
    """Version of an unpacked release. Raises Rejected if the tree is none."""
    try:
        return (tree / "VERSION").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        raise Rejected(f"{candidate} is no QEMU source: it has no file VERSION"
                       f"{_aside(candidate)}") from None


def add_stand_ins(tree):
    """Make empty stand-ins for the compressed edk2 images that a repacked tarball lacks.

    QEMU's build refuses to start without them as soon as bzip2 is there. Returns their names,
    relative to the tree.
    """
    wanted = re.findall(r"'(edk2-[\w-]+\.fd)'",
                        (tree / "pc-bios/meson.build").read_text(encoding="utf-8")) \
        if (tree / "pc-bios/meson.build").exists() else []
    made = []
    for name in dict.fromkeys(wanted):
        path = tree / "pc-bios" / (name + ".bz2")
        if not path.exists():
            # bzip2's own output for no input.
            path.write_bytes(bytes.fromhex("425a683917724538509000000000"))
            made.append(f"pc-bios/{name}.bz2")
    return made
