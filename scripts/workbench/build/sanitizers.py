# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU, built with a sanitizer of the compiler, in build folders of their own.

The compiler is clang, which QEMU's own CI has for this. With gcc, UBSan ignores its log_path in a
program that has ASan as well, so its reports cannot be told from what QEMU writes.
"""

from ..series import tree
from ..system import addresses, clang, host, paths, tools
from ..ui.report import WorkbenchError, warn
from . import datafiles, emulators, tsanglib

ADDRESS, THREAD = "address", "thread"
SANITIZERS = (ADDRESS, THREAD)
PATCHED, PRISTINE = "patched", "pristine"
# Those that tests with a sanitizer start.
TARGETS = ("aarch64", "x86_64")
EMULATORS = (*(emulators.program(name) for name in TARGETS), "qemu-img")
# Options of configure
SWITCHES = {ADDRESS: ("--enable-asan", "--enable-ubsan"), THREAD: ("--enable-tsan",)}

_FOLDERS = {(ADDRESS, PATCHED): paths.ASAN, (THREAD, PATCHED): paths.TSAN,
            (ADDRESS, PRISTINE): paths.PRISTINE_ASAN, (THREAD, PRISTINE): paths.PRISTINE_TSAN}
_SOURCES = {PATCHED: paths.QEMU_SRC, PRISTINE: paths.BASE_SRC}


def compilers():
    """Options of configure for clang."""
    return (f"--cc=ccache {clang.program('clang')}", f"--cxx=ccache {clang.program('clang++')}")


def options(sanitizer, libraries=None):
    """Options of configure for SANITIZER, one of SANITIZERS.

    LIBRARIES is a folder in which programs look for shared libraries first.
    """
    replaced = ("--cc=", "--cxx=", "--target-list=")
    return (*(word for word in emulators.OPTIONS if not word.startswith(replaced)),
            *compilers(), emulators.target_list(TARGETS), *SWITCHES[sanitizer],
            # With the checks added, compilers warn of what cannot happen.
            "--disable-werror",
            # A call that became a jump is missing in stacks, by which reports are told apart.
            # Functions that glibc checks itself are not checked by the sanitizers; of
            # __longjmp_chk() ThreadSanitizer does not know that it leaves functions.
            "--extra-cflags=-fno-optimize-sibling-calls -D_FORTIFY_SOURCE=0",
            *([f"--extra-ldflags=-Wl,-rpath,{libraries}"] if libraries else []))


def source(which):
    """The QEMU tree that is built for WHICH, PATCHED or PRISTINE."""
    return _SOURCES[which]


def folder(sanitizer, which=PATCHED):
    """The build folder for SANITIZER and WHICH."""
    return _FOLDERS[sanitizer, which]


def build(sanitizer, which=PATCHED, targets=EMULATORS):
    """Build one tree with SANITIZER; returns the path of its qemu-system-aarch64.

    sanitizer: "address" (with undefined behaviour and leaks) or "thread". which: "patched" or
    "pristine". targets: as with emulators.configure_and_make(). Raises WorkbenchError.
    """
    host.require("series", "build", "sanitizers")
    tools.ensure()
    tree.ensure()
    # Meson runs programs that it compiles to try what there is.
    addresses.fix()
    place = folder(sanitizer, which)
    if which == PRISTINE:
        tree.have_base()
    libraries = _glib() if sanitizer == THREAD else None
    name = place.name if which == PATCHED else f"{which}-{place.name}"
    emulators.configure_and_make(source(which), place, targets, name,
                                 options(sanitizer, libraries))
    datafiles.provide(place)
    return place / emulators.BINARY


def _glib():
    """The folder of a GLib for ThreadSanitizer, or None."""
    try:
        return tsanglib.ensure()
    except WorkbenchError as error:
        warn("There is no GLib with ThreadSanitizer, which will report what GLib's own locks "
             f"protect. {error}")
        return None
