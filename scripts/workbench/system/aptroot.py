# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages and sources from the machine's own package mirror, without touching the machine's apt.

A private apt root under build/apt has its own lists and cache, and may know suites and
architectures that the machine does not. The mirror's address comes from the machine's apt (or from
DEBIAN_MIRROR in the environment). Signatures of the lists are verified by apt with the machine's
Debian keyring, and each download against the hash in the lists.
"""

import functools
import os
import re
import shutil
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from ..ui.report import WorkbenchError, info
from . import aptlists, lock, paths
from .programs import run, tail

KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp")
# For lists and files alike.
ACQUIRE = {
    # build/ may be where the sandbox user cannot go.
    "APT::Sandbox::User": "root",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "20",
    "Acquire::https::Timeout": "20",
}
MAX_AGE = 7 * 24 * 3600         # seconds: older lists are refreshed
SOURCE = "source"               # stands for an architecture in entries of sources.list

# Release names of the main archive. Other archives (backports of third parties, clouds) are no
# place to ask for Debian packages.
DEBIAN_RELEASES = re.compile(r"(bookworm|trixie|forky|duke|sid|unstable|testing|stable|oldstable)"
                             r"(-updates|-backports)?$")


@dataclass(frozen=True)
class Package:
    """A package to fetch: the first of the suites that has it decides, and there the newest
    version, or exactly `version`. arch: "all" or an architecture of Debian."""

    name: str
    arch: str = "all"
    suites: tuple = ("trixie",)
    version: str | None = None

    def __str__(self):
        version = f" ({self.version})" if self.version else ""
        return f"{self.name}:{self.arch}{version} from {', '.join(self.suites)}"


@dataclass(frozen=True)
class Offer:
    """A file that the mirror offers. size in bytes."""

    name: str
    version: str
    suite: str
    uri: str
    size: int
    sha256: str

    @property
    def filename(self):
        """The file's own name, without the epoch's escape."""
        return urllib.parse.unquote(self.uri.rsplit("/", 1)[1])


def available():
    """True when this machine has apt at all."""
    return shutil.which("apt-get") is not None and os.path.exists(aptlists.HELPER)


@functools.lru_cache(maxsize=None)
def mirrors():
    """Addresses of Debian archives that this machine's apt uses, each ending in "/".

    DEBIAN_MIRROR in the environment stands for all of them. May be empty: then this is not a
    Debian machine.
    """
    if os.environ.get("DEBIAN_MIRROR"):
        return (os.environ["DEBIAN_MIRROR"].rstrip("/") + "/",)
    found = []
    if available():
        lines = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)",
             "Created-By: Packages"],
            capture_output=True, text=True, check=False).stdout.split("\n")
        for line in lines:
            uri, _, release = line.strip().partition(" ")
            if DEBIAN_RELEASES.match(release) and not uri.startswith("cdrom:"):
                found.append(uri.rstrip("/") + "/")
    return tuple(dict.fromkeys(found))


def reachable():
    """True when the mirror answers."""
    try:
        download(f"{mirror()}dists/stable/Release", paths.TMP / "Release").unlink()
    except WorkbenchError:
        return False
    return True


def native():
    """The machine's own architecture, in Debian's words."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True,
                          check=True).stdout.strip()


def fetch(specs):
    """Download packages; returns the paths of the .deb files, in the order of specs.

    specs: iterable of Package. What was downloaded before and is still what the lists name is not
    downloaded again; an interrupted download goes on. Raises WorkbenchError when a package is not
    there or the network is not.
    """
    specs = list(specs)
    with _locked():
        _update({(suite, spec.arch) for spec in specs for suite in spec.suites})
        try:
            return [_get(offer) for offer in _find(specs)]
        except _Gone:
            # The archive has moved on since the lists were loaded.
            _update({(suite, spec.arch) for spec in specs for suite in spec.suites}, force=True)
            try:
                return [_get(offer) for offer in _find(specs)]
            except _Gone as e:
                raise WorkbenchError(str(e)) from e


def newest(regex, arch, suites):
    """Name of the package of highest version whose whole name matches regex, over all suites.

    Raises WorkbenchError when there is none.
    """
    with _locked():
        _update({(suite, arch) for suite in suites})
        offers = [o for suite in suites for o in _offers(suite, arch, regex)]
    if not offers:
        raise WorkbenchError(f"No package named like {regex} for {arch} in the suites "
                             f"{', '.join(suites)} of {mirror()}.")
    return max(offers, key=aptlists.version_key).name


def offered(names, arch, suite):
    """Those of the package NAMES that SUITE has for ARCH, a set. Raises WorkbenchError without a
    mirror."""
    with _locked():
        _update({(suite, arch)})
        return {offer.name for offer in _offers(suite, arch, "|".join(map(re.escape, names)))}


def stanza(name):
    """What dpkg's status file has of an installed package NAME whose files come from outside."""
    return (f"Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: misc\n"
            "Maintainer: nobody <nobody@localhost>\nArchitecture: all\nMulti-Arch: foreign\n"
            "Version: 1:99\nDescription: comes from outside\n\n")


def closure(names, arch, suite, recommends=False, provided=()):
    """The Packages that an installation of NAMES takes on a machine that has none.

    NAMES are names or patterns of apt, such as "?essential". All come from SUITE. RECOMMENDS True
    takes what they recommend as well. Packages named in PROVIDED are there already. Raises
    WorkbenchError when apt finds no way.
    """
    listed = paths.APT / f"sources-{suite}-{arch}.list"
    status = paths.APT / "status-provided"
    with _locked():
        _update({(suite, arch)})
        listed.write_text(source_line(suite, arch) + "\n", encoding="utf-8")
        status.write_text("".join(map(stanza, provided)), encoding="utf-8")
        command = ["apt-get", "-c", _config(), "-qq", "--simulate",
                   "-o", f"Dir::Etc::sourcelist={listed}", "-o", f"APT::Architecture={arch}",
                   "-o", f"Dir::State::status={status}",
                   "-o", f"APT::Install-Recommends={str(recommends).lower()}", "install", *names]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              check=False)
    # A line for each, such as: Inst dash (0.5.12-12 Debian:13.1/stable [arm64])
    found = re.findall(r"^Inst (\S+?)(?::\w+)? \((\S+) ", done.stdout, re.M)
    if done.returncode or not found:
        raise WorkbenchError(f"apt cannot install {', '.join(names)} for {arch} from {suite} of "
                             f"{mirror()}:\n{done.stderr.strip() or done.stdout.strip()}")
    # The lists of an architecture have the packages for all of them, too.
    return [Package(name, arch, (suite,), version) for name, version in found]


def sources(name, pattern, suites=("sid", "testing", "trixie-backports", "trixie")):
    """Source files of the source package `name` whose file names match the regular expression.

    Returns a list of Offer, newest version first. Suites that the mirror lacks are left out.
    """
    with _locked():
        _update({(suite, SOURCE) for suite in suites})
        offers = []
        for suite in suites:
            for stanza in _stanzas(suite, SOURCE, re.escape(name)):
                for line in stanza.get("Checksums-Sha256", "").split("\n"):
                    sha256, size, filename = (line.split() + [""] * 3)[:3]
                    if filename and re.fullmatch(pattern, filename):
                        uri = f"{mirror()}{stanza['Directory']}/{filename}"
                        offers.append(Offer(name, stanza["Version"], suite, uri, int(size),
                                            sha256))
    return sorted(dict.fromkeys(offers), key=aptlists.version_key, reverse=True)


def download(uri, path, sha256=None, what=None):
    """Download one file with apt's own acquire system (its proxies, its resuming, its checking).

    sha256 None means unchecked. The file appears at path only when it is whole and right.
    Raises WorkbenchError.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    log = paths.LOGS / f"download-{path.name}.log"
    options = [word for name, value in ACQUIRE.items() for word in ("-o", f"{name}={value}")]
    command = [aptlists.HELPER, *options, "download-file", uri, partial]
    if sha256:
        command.append(f"SHA256:{sha256}")
    status = run(command, what=what or f"Downloading {path.name}", log=log, check=False)
    if status or not partial.exists():
        # apt-helper renames a file with a wrong hash; nothing of it is of use.
        for left in path.parent.glob(partial.name + ".FAILED"):
            left.unlink()
        reasons = [line for line in tail(log, 30).split("\n") if line.startswith(("E:", "W:"))]
        raise _Gone(f"Download of {uri} failed: " + (" ".join(reasons) or tail(log, 3)))
    os.replace(partial, path)
    return path


class _Gone(WorkbenchError):
    """A file that the lists name could not be had."""


def _locked():
    """One user of the private root at a time; makes the root."""
    if not available():
        raise WorkbenchError(
            "Packages of Debian are needed, but this machine has no apt. Use a Debian machine or "
            "container, or give the files by hand (see --help).")
    for folder in ("lists/partial", "state", "archives"):
        (paths.APT / folder).mkdir(parents=True, exist_ok=True)
    (paths.APT / "status").touch()
    return lock.held(paths.APT / "lock", "waiting for another run to finish its downloads")


def mirror():
    """Address of the Debian archive that is used, ending in "/". Raises WorkbenchError if none."""
    if not mirrors():
        raise WorkbenchError(
            "This machine's apt has no Debian mirror configured. Set DEBIAN_MIRROR in the "
            "environment to the address of one (it ends in /debian) and run again.")
    return mirrors()[0]


def _signed():
    return next((f"signed-by={k} " for k in KEYRINGS if os.path.exists(k)), "")


def source_line(suite, arch):
    """The line of sources.list for SUITE; ARCH is an architecture of Debian or SOURCE."""
    if arch == SOURCE:
        return f"deb-src [{_signed()}] {mirror()} {suite} main"
    return f"deb [{_signed()}arch={arch}] {mirror()} {suite} main"


def acquire():
    """{option of apt: value}: how this machine reaches mirrors and judges the age of their lists.

    For an apt that does not read this machine's configuration.
    """
    lines = subprocess.run(["apt-config", "dump", "--format", "%f %v%n", "Acquire"],
                           capture_output=True, text=True, check=False).stdout.splitlines()
    found = dict(line.partition(" ")[::2] for line in lines)
    return {**{name: value for name, value in found.items()
               if value and re.search(r"::(Proxy\b|Check-Valid-Until$|Check-Date$)", name)},
            **ACQUIRE}


def _config():
    """Write the configuration of the private root; returns its path."""
    conf = paths.APT / "apt.conf"
    settings = {
        "Dir::Etc::sourcelist": paths.APT / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": paths.APT / "state",
        "Dir::State::Lists": paths.APT / "lists",
        "Dir::State::status": paths.APT / "status",
        "Dir::Cache": paths.APT,
        "Dir::Cache::archives": paths.APT / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Acquire::Languages": "none",
        **ACQUIRE,
    }
    # Hooks of the machine would run on its caches, not on ours; its extra indexes are not wanted.
    clear = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke",
             "APT::Update::Post-Invoke-Success", "Acquire::IndexTargets::deb::DEP-11",
             "Acquire::IndexTargets::deb::DEP-11-icons",
             "Acquire::IndexTargets::deb::DEP-11-icons-small",
             "Acquire::IndexTargets::deb::DEP-11-icons-large",
             "Acquire::IndexTargets::deb::CNF", "APT::Architectures")
    text = "".join(f"#clear {name};\n" for name in clear)
    text += "".join(f'{name} "{value}";\n' for name, value in settings.items())
    text += "APT::Architectures {" + "".join(
        f'"{arch}";' for arch in dict.fromkeys((native(), "amd64", "arm64"))) + "};\n"
    conf.write_text(text, encoding="utf-8")
    return conf


def _update(wanted, force=False):
    """Have the lists of (suite, arch) pairs, loading what is missing or old.

    A suite that the mirror does not have is no error here; what is asked of it is then not found.
    """
    wanted = {(suite, native() if arch == "all" else arch) for suite, arch in wanted}
    listed = paths.APT / "sources.list"
    entry = {key: source_line(*key) for key in wanted}
    old = set(listed.read_text(encoding="utf-8").splitlines()) if listed.exists() else set()
    # A changed mirror or keyring makes the old entries useless.
    old = {line for line in old if f" {mirror()} " in line and f"[{_signed()}" in line}
    stamp = paths.APT / "updated"
    fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < MAX_AGE
    if fresh and not force and set(entry.values()) <= old:
        return
    listed.write_text("\n".join(sorted(old | set(entry.values()))) + "\n", encoding="utf-8")
    log = paths.LOGS / "apt-update.log"
    # Without apt's own cache, which would be made for nothing: it is not kept.
    status = run(["apt-get", "-c", _config(), "-o", "pkgCacheFile::Generate=false", "update"],
                 log=log, check=False, what="Loading package lists into build/apt")
    have = {key for key in wanted if _list_file(*key)[0]}
    if not have:
        raise WorkbenchError(
            f"The package lists of {', '.join(sorted({s for s, _ in wanted}))} could not be "
            f"loaded from {mirror()}. Is there a network? The last lines of {log}:\n\n{tail(log)}")
    if not status:
        stamp.touch()
    else:
        info(f"not every package list could be loaded (details: {log}); going on with the rest")
        if have == wanted:
            stamp.touch()


def _list_file(suite, arch):
    """(path of the list, address of its archive) or (None, None)."""
    # An update changes one or the other, also when another process made it.
    times = [(paths.APT / name).stat().st_mtime_ns for name in ("sources.list", "lists")]
    return _lists(*times).get((suite, arch), (None, None))


@functools.lru_cache(maxsize=1)
def _lists(*_times):
    """{(suite, arch): (path of the list, address of its archive)} of the lists that are there.

    apt reads all of them to answer, which takes seconds: it is asked once.
    """
    command = ["apt-get", "-c", str(_config()), "indextargets", "--format",
               "$(CREATED_BY)|$(RELEASE)|$(ARCHITECTURE)|$(FILENAME)|$(REPO_URI)"]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = {}
    for line in out.splitlines():
        created, suite, arch, filename, uri = (line.split("|") + [""] * 4)[:5]
        if created in ("Packages", "Sources") and os.path.exists(filename):
            found.setdefault((suite, SOURCE if created == "Sources" else arch), (filename, uri))
    return found


def _stanzas(suite, arch, regex):
    """aptlists.stanzas() of the list of SUITE for ARCH; none if there is no such list."""
    file, _ = _list_file(suite, arch)
    return aptlists.stanzas(file, regex) if file else ()


def _offers(suite, arch, regex):
    arch = native() if arch == "all" else arch
    _, uri = _list_file(suite, arch)
    for s in _stanzas(suite, arch, regex):
        yield Offer(s["Package"], s["Version"], suite, uri.rstrip("/") + "/" + s["Filename"],
                    int(s["Size"]), s["SHA256"])


def _find(specs):
    """The Offer of each Package, in order. A list is read once, and only if it is needed."""
    names = {}
    for spec in specs:
        for suite in spec.suites:
            names.setdefault((suite, spec.arch), set()).add(re.escape(spec.name))

    @functools.lru_cache(maxsize=None)
    def offers(suite, arch):
        return list(_offers(suite, arch, "|".join(sorted(names[suite, arch]))))

    def best(spec):
        for suite in spec.suites:
            right = [o for o in offers(suite, spec.arch)
                     if o.name == spec.name and spec.version in (None, o.version)]
            if right:
                return max(right, key=aptlists.version_key)
        raise WorkbenchError(f"Package {spec} is not on the mirror {mirror()}.")

    return [best(spec) for spec in specs]


def _get(offer):
    """The file of an offer, from the cache or the network. The name tells the content."""
    path = paths.APT / "archives" / offer.filename
    # apt checked size and hash before the file got its name.
    if not path.exists() or path.stat().st_size != offer.size:
        download(offer.uri, path, offer.sha256,
                 what=f"Downloading {offer.filename} ({offer.size / 1e6:.1f} MB)")
    return path
