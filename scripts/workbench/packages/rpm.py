# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/package rpm: a package for Fedora and its relatives, made by rpmbuild in a Debian root.

What it needs are sonames and versions of symbols, which rpmbuild finds in the programs. Modules are
not looked at: one whose libraries are missing is not loaded.
"""

import re
import shutil

from ..build import features
from ..system import atomic, paths
from ..ui.report import step
from . import layout, rooms, texts
from .texts import NAME

# Its glibc is the oldest on which the package runs. Most of its libraries have the sonames of
# Fedora 43; those of programs that do not are in OFF or RENAMED.
SUITE = "trixie"
TOOLS = ("build-essential", "patchelf", "rpm")
LIBRARIES = "/usr/lib64"
# Libraries of programs that Fedora has under another soname, or not on each of its architectures.
OFF = ("--disable-vnc-sasl", "--disable-fuse", "--disable-vde", "--disable-libpmem")
OTHER = {"libcurl4-gnutls-dev": "libcurl4-openssl-dev"}
# Debian has renamed it on all architectures, because it is another library on those of 32 bits. On
# 64 bits it is the same. {soname in Debian: soname}
RENAMED = {"libaio.so.1t64": "libaio.so.1"}
# Fedora's curl has no versions of symbols.
UNVERSIONED = "^libcurl[.]so[.]4[(]CURL_"


def place():
    """The rooms.Place."""
    wanted = tuple(OTHER.get(name, name) for name in features.packages())
    return rooms.Place("rpm", SUITE, (*TOOLS, *rooms.build_packages()), wanted)


def build():
    """Build the package; returns its path. Raises WorkbenchError."""
    arch = rooms.machine()
    where = place()
    root = rooms.prepare(where)
    moment = texts.released()
    version, _, release = texts.version(moment).partition("+")
    step(f"Making the package of {NAME} {version}-{release}")
    settings = rooms.write_settings(where, LIBRARIES, f"{version}-{release}", OFF)
    text = spec(version, release, moment, settings)
    file = atomic.write_if_changed(where.stage / f"{NAME}.spec", text.encode())
    top = where.stage / "rpmbuild"
    shutil.rmtree(top, ignore_errors=True)
    rooms.work(where, root, ["rpmbuild", "-bb", "--nodeps", "--target", f"{arch}-linux",
                             "--define", f"_topdir {top}", "--define", "_build_id_links none",
                             file], "Making the package")
    return rooms.keep(top / "RPMS" / arch / _name(moment), f"{NAME}-*.rpm")


def built():
    """The package that build() would make; None if it has not made it yet."""
    return rooms.kept(_name(texts.released()))


def _name(moment):
    """The name of the package's file."""
    version, _, release = texts.version(moment).partition("+")
    return f"{NAME}-{version}-{release}.{rooms.machine()}.rpm"


def spec(version, release, moment, settings):
    """The text of the spec file; moment: datetime, settings: path of what steps.py reads."""
    step_command = f"/usr/bin/python3 -m workbench.packages.steps {settings}"
    modules = f"({LIBRARIES}/{NAME}/.*\\\\.so|/{layout.OWN}/vhost-user-gpu)"
    about = "\n\n".join(texts.wrapped(text) for text in texts.ABOUT)
    renames = " ".join(f"--replace-needed {old} {new}" for old, new in RENAMED.items())
    renamed = "|".join(re.escape(old) for old in RENAMED)
    return f"""# Written by scripts/package. QEMU is compiled in a folder that is kept.
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global __requires_exclude_from ^{modules}$
%global __provides_exclude_from ^{modules}$
%global __requires_exclude {UNVERSIONED}

Name: {NAME}
Version: {version}
Release: {release}
Summary: {texts.SUMMARY}
License: GPL-2.0-only AND LicenseRef-firmware
URL: {texts.HOMEPAGE}

%description
{about}

%build
{step_command} build

%install
{step_command} install %{{buildroot}}
cp -p {paths.QEMU_SRC}/LICENSE {paths.QEMU_SRC}/COPYING %{{buildroot}}/{layout.DOCUMENTS}
find %{{buildroot}}/usr/bin %{{buildroot}}{LIBRARIES} -type f -exec strip {{}} +
strip %{{buildroot}}/{layout.OWN}/vhost-user-gpu %{{buildroot}}/{layout.OWN}/qemu-bridge-helper
# Names of libraries, as Fedora has them.
find %{{buildroot}}/usr/bin %{{buildroot}}{LIBRARIES} %{{buildroot}}/{layout.OWN} -type f |
    while read -r file; do
        ! readelf -d "$file" 2> /dev/null | grep -qE '\\[({renamed})\\]' ||
            patchelf {renames} "$file"
    done

%files
/usr/bin/{NAME}-*
/{layout.OWN}
{LIBRARIES}/{NAME}
/{layout.DATA}
{"".join(f"/{file}" + chr(10) for file in layout.FIRMWARE.values())}/{layout.DESCRIPTOR}
/usr/share/man/man*/{NAME}*
%docdir /{layout.DOCUMENTS}
/{layout.DOCUMENTS}

%changelog
* {moment:%a %b %d %Y} {texts.MAINTAINER} - {version}-{release}
- Built from the series of {moment:%Y-%m-%d}.
"""
