# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, built by clang."""

from ..build import emulators, sanitizers
from ..series import tree
from ..system import addresses, clang, host, paths, tools

BINARY = "qemu-fuzz-aarch64"
# As few features as the targets need: each file takes clang with sanitizers twice as long.
OPTIONS = (
    f"--python={tools.PYTHON}", emulators.target_list(["aarch64"]),
    "--enable-fuzzing", *sanitizers.SWITCHES[sanitizers.ADDRESS],
    "--disable-docs", "--disable-download", "--disable-install-blobs", "--disable-werror",
    "--without-default-features", "--enable-system", "--enable-tcg", "--enable-fdt",
    "--enable-pixman", "--enable-trace-backends=log", "--disable-rust",
)


def build():
    """Build build/qemu as it stands in build/fuzz; returns the path of the fuzzer.

    Installs clang and its libraries where that is allowed. Raises WorkbenchError with the end of
    the log.
    """
    host.require("series", "build", "sanitizers", "fuzz")
    tools.ensure()
    tree.ensure()
    # Meson runs programs that it compiles to try what there is.
    addresses.fix()
    emulators.configure_and_make(
        paths.QEMU_SRC, paths.FUZZ, [BINARY], "fuzz",
        (*OPTIONS, *sanitizers.compilers(), f"--host-cc=ccache {clang.program('clang')}"))
    return paths.FUZZ / BINARY
