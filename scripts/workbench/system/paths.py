# SPDX-License-Identifier: GPL-2.0-or-later
"""Every path of the workbench, in one place.

All of them follow from the place of this file, so a copy of the repository is independent of the
original. Nothing outside TOP is written, except USER_CACHE.
"""

import os
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
SCRIPTS = TOP / "scripts"
UPSTREAM_JSON = TOP / "upstream.json"

PATCHES = TOP / "patches"

BUILD = TOP / "build"

# The git repository of QEMU: tag base is the pristine release, branch series carries the patches.
QEMU_SRC = BUILD / "qemu"
PATCHED = BUILD / "patched"
# The same for an Arm host, and the compiler and libraries for that.
PATCHED_ARM64 = BUILD / "patched-arm64"
CROSS = BUILD / "cross"
# With libFuzzer and sanitizers, and what it finds.
FUZZ = BUILD / "fuzz"
FUZZING = BUILD / "fuzzing"
# Emulators of other targets than those of PATCHED.
TARGETS = BUILD / "targets"
# With all features. FULL-RELEASE are those for packages, which are beside it.
FULL = BUILD / "full"
# With AddressSanitizer and UndefinedBehaviorSanitizer, and with ThreadSanitizer.
ASAN = BUILD / "asan"
TSAN = BUILD / "tsan"
TSAN_GLIB = BUILD / "tsan-glib"
PACKAGES = BUILD / "packages"

# ccache hashes the relative path from build to source folder. So each source is a folder named
# "qemu" next to its build folder: a file that the series does not touch is compiled only once.
BASE_SRC = BUILD / "base" / "qemu"
PRISTINE = BUILD / "base" / "pristine"
PRISTINE_ARM64 = BUILD / "base" / "arm64"
PRISTINE_TARGETS = BUILD / "base" / "targets"
PRISTINE_ASAN = BUILD / "base" / "asan"
PRISTINE_TSAN = BUILD / "base" / "tsan"
BISECT_SRC = BUILD / "bisect" / "qemu"
BISECT_BUILD = BUILD / "bisect" / "build"
BISECT_ARM64 = BUILD / "bisect" / "arm64"
BISECT_RESULTS = BUILD / "bisect-results.json"

# What a user came for.
QEMU_BINARY = BUILD / "qemu-system-aarch64"

TOOLS = BUILD / "tools"
APT = BUILD / "apt"
CACHE = BUILD / "cache"
DATA = BUILD / "data"
DISTRIBUTION = BUILD / "distribution"
GUEST = BUILD / "guest"
LAB = BUILD / "lab"
LIBVIRT = BUILD / "libvirt"
# Kernels of our own for the Arm host.
LINUX = BUILD / "linux"
LOGS = BUILD / "logs"
# What sanitizers have reported, in a folder for each suite.
REPORTS = LOGS / "sanitizers"
MESON = BUILD / "meson"
# Tests of others: kvm-unit-tests, LTP and programs for guests.
OUTSIDE = BUILD / "outside"
ROOTS = BUILD / "roots"
SOAK = BUILD / "soak"
TMP = BUILD / "tmp"

USER_CACHE = (Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
              / "qemu-virt-hotplug")
