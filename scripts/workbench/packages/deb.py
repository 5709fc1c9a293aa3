# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/package deb: a package for a release of Debian, made by debhelper in a root of it."""

import email.utils
import os
import shutil
from pathlib import Path

from ..build import features
from ..system import aptroot, atomic, debroot, paths
from ..ui.report import WorkbenchError, info, step
from . import layout, rooms, texts
from .texts import NAME

# {version of Debian: codename}
RELEASES = {"12": "bookworm", "13": "trixie"}
TOOLS = ("build-essential", "debhelper")

RULES = f"""#!/usr/bin/make -f
# Written by scripts/package. QEMU is compiled in a folder that is kept.

STEPS = /usr/bin/python3 -m workbench.packages.steps @SETTINGS@
ROOT = debian/{NAME}
PROGRAMS = $(wildcard $(ROOT)/usr/bin/* $(ROOT)/{layout.OWN}/qemu-bridge-helper)
MODULES = $(wildcard $(ROOT)/usr/lib/*/{NAME}/*.so $(ROOT)/{layout.OWN}/vhost-user-gpu)

%:
	dh $@ --buildsystem=none

override_dh_auto_build:
	$(STEPS) build

override_dh_auto_install:
	$(STEPS) install $(ROOT)

# Nothing here was made for the tests, and there are no debug symbols to share.
override_dh_auto_test override_dh_dwz:

override_dh_strip:
	dh_strip --no-automatic-dbgsym

# A module whose libraries are missing is not loaded, and QEMU says so when it is asked for.
# The folder DEBIAN tells dpkg-shlibdeps where the package begins.
override_dh_shlibdeps:
	mkdir -p $(ROOT)/DEBIAN
	dpkg-shlibdeps -T$(ROOT).substvars -dDepends $(PROGRAMS) -dRecommends $(MODULES)

# The pages refer to each other. Licences must be plain files (Debian's policy, 12.5).
override_dh_compress:
	dh_compress -X{layout.DOCUMENTS}/html -X{layout.DOCUMENTS}/firmware
"""


def default():
    """The release of this machine if packages are built for it, else the newest."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        text = ""
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    release = fields.get("VERSION_ID", "").strip('"')
    if fields.get("ID") == "debian" and release in RELEASES:
        return release
    return list(RELEASES)[-1]


def place(release):
    """The rooms.Place for the RELEASE, a key of RELEASES. Raises WorkbenchError for another."""
    if release not in RELEASES:
        raise WorkbenchError(f"Packages are built for Debian {' and '.join(RELEASES)}, not for "
                             f"{release}.")
    return rooms.Place("deb", RELEASES[release], (*TOOLS, *rooms.build_packages()),
                       tuple(features.packages()))


def build(release):
    """Build the package for the RELEASE, a key of RELEASES; returns the path of the .deb.

    Raises WorkbenchError.
    """
    libraries = f"/usr/lib/{rooms.machine()}-linux-gnu"
    where = place(release)
    root = rooms.prepare(where)
    moment = texts.released()
    version = _version(release, moment)
    step(f"Making the package of {NAME} {version} for Debian {release}")
    settings = rooms.write_settings(where, libraries, version)
    source = where.stage / NAME
    _write_source(source, where, version, moment, settings)
    for old in where.stage.glob(f"{NAME}_*"):
        old.unlink()
    rooms.work(where, root, ["sh", "-c", 'cd "$1" && exec dpkg-buildpackage -b -us -uc', "sh",
                             source], "Making the package")
    target = rooms.keep(where.stage / _name(release, moment), f"{NAME}_*~deb{release}_*.deb")
    info(f"built with the packages of {debroot.version(root, 'base-files')} (base-files)")
    return target


def built(release):
    """The package for the RELEASE that build() would make; None if it has not made it yet."""
    return rooms.kept(_name(release, texts.released()))


def _version(release, moment):
    return f"{texts.version(moment)}~deb{release}"


def _name(release, moment):
    """The name of the package's file."""
    return f"{NAME}_{_version(release, moment)}_{aptroot.native()}.deb"


def _write_source(source, where, version, moment, settings):
    """Write the folder debian/ anew."""
    shutil.rmtree(source, ignore_errors=True)
    for name, text in files(where, version, moment, settings).items():
        atomic.write_if_changed(source / "debian" / name, text.encode())
    os.chmod(source / "debian/rules", 0o755)


def files(where, version, moment, settings):
    """{name in debian/: text}; where: a rooms.Place, moment: datetime, settings: path."""
    needs = ("debhelper-compat (= 13)", *rooms.build_packages(), *where.offered())
    paragraphs = "\n .\n".join(texts.wrapped(text, " ") for text in texts.ABOUT)
    control = f"""Source: {NAME}
Section: otherosfs
Priority: optional
Maintainer: {texts.MAINTAINER}
Build-Depends: {", ".join(needs)}
Standards-Version: 4.6.2
Rules-Requires-Root: no
Homepage: {texts.HOMEPAGE}

Package: {NAME}
Architecture: {aptroot.native()}
Depends: ${{misc:Depends}}, ${{shlibs:Depends}}
Recommends: ${{shlibs:Recommends}}
Suggests: libvirt-daemon-system
Description: {texts.SUMMARY}
{paragraphs}
"""
    changelog = f"""{NAME} ({version}) unstable; urgency=medium

  * Built from the series of {moment:%Y-%m-%d}.

 -- {texts.MAINTAINER}  {email.utils.format_datetime(moment)}
"""
    return {"control": control, "changelog": changelog, "copyright": copyright_file(),
            "rules": RULES.replace("@SETTINGS@", str(settings)), "source/format": "3.0 (native)\n"}


def copyright_file():
    """The licences, as Debian wants them."""
    licence = (paths.QEMU_SRC / "LICENSE").read_text(encoding="utf-8")
    body = "\n".join(f" {line}" if line.strip() else " ." for line in licence.splitlines())
    return f"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: QEMU
Source: {texts.HOMEPAGE}

Files: *
Copyright: Fabrice Bellard and the QEMU team, and the authors named in the files
License: GPL-2
{body}
 .
 The patches are under the same licence, new files under version 2 or later.
 .
 On Debian systems, the text of the licence is in /usr/share/common-licenses/GPL-2.

Files: option-roms firmware
Copyright: the authors named in /{layout.DOCUMENTS}/firmware
License: various
{texts.wrapped(f"The licences are files in /{layout.DOCUMENTS}/firmware, which also says of which "
               "source packages of Debian the option ROMs and the firmware are.", " ")}
"""
