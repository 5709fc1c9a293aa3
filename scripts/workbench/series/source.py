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
from . import git

SPACE = 1.5             # GiB that an unpacked tree and its git repository take
CONNECT_TIMEOUT = 10    # seconds: no network at all is a normal case


@dataclass
class Base:
    """An unpacked and accepted tree. exact: it is known to be the pinned release as a whole."""

    tree: Path
    origin: str
    exact: bool


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

    series: patches.Series; a tree of unknown origin is accepted when it has exactly the files
    that the series starts from. given: a tarball, a folder that holds one, or a tree; default is
    QEMU_BASE_SOURCE of the environment. network: False keeps to what is on this machine.
    Returns Base. Raises WorkbenchError that lists every
    place tried and why it would not do.
    """
    need_space(into, SPACE, "Unpacking the QEMU source")
    pins = upstream()
    failures = []
    for place, candidates in _places(pins, given, network):
        try:
            for candidate in candidates():
                try:
                    return _accept(candidate, Path(into), series, pins)
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
    others = sorted(folder.glob(f"qemu[-_]{minor}.*.tar.*"))
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
    name, sha256 = next((n, s) for n, s in pins["tarballs"].items() if "+ds" in n)
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


def _accept(candidate, into, series, pins):
    """Unpack a candidate and verify it. Raises Rejected."""
    partial = into.with_name(into.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    into.parent.mkdir(parents=True, exist_ok=True)
    try:
        if candidate.is_dir():
            step(f"Copying the source tree {candidate}")
            _copy_tree(candidate, partial)
            known = None
        else:
            known = _verify_hash(candidate, pins)
            step(f"Unpacking {candidate}")
            _unpack(candidate, partial)
        _verify_tree(partial, series, pins, candidate)
        os.replace(partial, into)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not known:
        info(f"{candidate.name} is not one of the pinned files. It is accepted because all "
             f"{len(series.preimages())} files that the series starts from are the same.")
    return Base(into, str(candidate), bool(known))


def sha256_of(path):
    """SHA-256 of a file, as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _verify_hash(path, pins):
    """The pinned hash if the file has it, None for a file of unpinned hash."""
    wanted = pins["tarballs"].get(path.name)
    found = sha256_of(path)
    if found in pins["tarballs"].values():
        return found
    if wanted:
        raise Rejected(f"{path} is broken or another file: its sha256 is {found}, wanted is "
                       f"{wanted}{_aside(path)}")
    return None


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


def _verify_tree(tree, series, pins, candidate):
    """Version of the release, and the content of every file that the series starts from."""
    try:
        version = (tree / "VERSION").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        raise Rejected(f"{candidate} is no QEMU source: it has no file VERSION"
                       f"{_aside(candidate)}") from None
    if version.split(".")[:2] != pins["version"].split(".")[:2]:
        raise Rejected(f"{candidate} is QEMU {version}, wanted is {pins['version']}")
    wrong = []
    for path, blob in series.preimages().items():
        try:
            data = (tree / path).read_bytes()
        except OSError:
            wrong.append(f"{path} is missing")
            continue
        if git.blob_id(data) != blob:
            wrong.append(f"{path} differs")
    wrong += [f"{path} exists" for path in sorted(series.absent()) if (tree / path).exists()]
    if wrong:
        raise Rejected(f"{candidate} (QEMU {version}) is not what the series is for: "
                       + ", ".join(wrong[:5])
                       + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""))
    if version != pins["version"]:
        warn(f"{candidate} is QEMU {version}, not {pins['version']}. Every file that the series "
             "touches is the same, so it is used. The tests were run with the pinned version.")


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
