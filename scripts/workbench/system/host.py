# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be installed on this machine: checked, and installed when that is allowed."""

import glob
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from ..ui.report import WorkbenchError, step
from . import clang, paths
from .programs import run, tail

LOG = paths.LOGS / "apt-install.log"
LISTS = "/var/lib/apt/lists/*Packages*"


@dataclass(frozen=True)
class Need:
    """Something to find, and the packages that have it.

    kind: "command"; "module" of pkg-config, whose name may end with a condition such as
    " >= 1.2"; "header" of C; "python", a module of Python; "clang", a command that comes with
    clang, see clang.py; or "library", an option with which clang can link.
    """

    name: str
    debian: str
    fedora: str
    kind: str = "command"


NEEDS = {
    "series": (
        Need("git", "git", "git-core"),
        Need("perl", "perl", "perl-interpreter"),
        Need("tar", "tar", "tar"),
        Need("xz", "xz-utils", "xz"),
    ),
    "build": (
        Need("gcc", "gcc", "gcc"),
        Need("g++", "g++", "gcc-c++"),
        Need("ccache", "ccache", "ccache"),
        Need("ninja", "ninja-build", "ninja-build"),
        Need("make", "make", "make"),
        Need("pkg-config", "pkg-config", "pkgconf-pkg-config"),
        Need("flex", "flex", "flex"),
        Need("bison", "bison", "bison"),
        Need("bzip2", "bzip2", "bzip2"),
        # Of its tests. Installed later, its path would change config-host.h, and so all objects.
        Need("iasl", "acpica-tools", "acpica-tools"),
        Need("dtc", "device-tree-compiler", "dtc"),
        Need("glib-2.0", "libglib2.0-dev", "glib2-devel", "module"),
        Need("pixman-1", "libpixman-1-dev", "pixman-devel", "module"),
        Need("libfdt", "libfdt-dev", "libfdt-devel", "module"),
        Need("slirp", "libslirp-dev", "libslirp-devel", "module"),
        Need("ensurepip", "python3-venv", "python3", "python"),
        # QEMU's configure takes them from the machine if the source has no wheels, as Debian's.
        Need("pip", "python3-pip", "python3-pip", "python"),
        Need("setuptools", "python3-setuptools", "python3-setuptools", "python"),
        Need("wheel", "python3-wheel", "python3-wheel", "python"),
    ),
    # For Linux, beside "build".
    "linux": (
        Need("bc", "bc", "bc"),
    ),
    "test": (
        Need("codespell", "codespell", "codespell"),
        Need("patch", "patch", "patch"),
    ),
    "libvirt": (
        Need("virsh", "libvirt-clients", "libvirt-client"),
        # virt-xml-validate runs it.
        Need("xmllint", "libxml2-utils", "libxml2"),
    ),
    # For clang's sanitizers. Without llvm-symbolizer reports have addresses and no names.
    "sanitizers": (
        Need("clang", f"clang-{clang.VERSION}", "clang", "clang"),
        Need("clang++", f"clang-{clang.VERSION}", "clang", "clang"),
        Need("llvm-symbolizer", f"llvm-{clang.VERSION}", "llvm", "clang"),
        Need("-fsanitize=address", f"libclang-rt-{clang.VERSION}-dev", "compiler-rt", "library"),
    ),
    # For fuzzing, beside "sanitizers".
    "fuzz": (
        Need("-fsanitize=fuzzer", f"libclang-rt-{clang.VERSION}-dev", "compiler-rt", "library"),
    ),
    "roots": (
        Need("mmdebstrap", "mmdebstrap", "mmdebstrap"),
    ),
    # For scripts/build --full; scripts/workbench/build/features.py says what each is for.
    "full": (
        Need("libaio.h", "libaio-dev", "libaio-devel", "header"),
        Need("liburing >= 0.3", "liburing-dev", "liburing-devel", "module"),
        Need("libzstd >= 1.4.0", "libzstd-dev", "libzstd-devel", "module"),
        Need("bzlib.h", "libbz2-dev", "bzip2-devel", "header"),
        Need("libcurl >= 7.29.0", "libcurl4-gnutls-dev", "libcurl-devel", "module"),
        Need("libssh >= 0.8.7", "libssh-dev", "libssh-devel", "module"),
        Need("libiscsi >= 1.9.0", "libiscsi-dev", "libiscsi-devel", "module"),
        Need("libnfs >= 1.9.3", "libnfs-dev", "libnfs-devel", "module"),
        Need("rbd/librbd.h", "librbd-dev", "librbd-devel", "header"),
        Need("blkio", "libblkio-dev", "libblkio-devel", "module"),
        Need("fuse3 >= 3.1", "libfuse3-dev", "fuse3-devel", "module"),
        Need("cap-ng.h", "libcap-ng-dev", "libcap-ng-devel", "header"),
        Need("gnutls >= 3.7.5", "libgnutls28-dev", "gnutls-devel", "module"),
        Need("nettle >= 3.7.3", "nettle-dev", "nettle-devel", "module"),
        Need("libseccomp >= 2.3.0", "libseccomp-dev", "libseccomp-devel", "module"),
        Need("libselinux", "libselinux1-dev", "libselinux-devel", "module"),
        Need("libbpf >= 1.1.0", "libbpf-dev", "libbpf-devel", "module"),
        Need("numa.h", "libnuma-dev", "numactl-devel", "header"),
        Need("libpmem", "libpmem-dev", "libpmem-devel", "module"),
        Need("rdma/rdma_cma.h", "librdmacm-dev", "rdma-core-devel", "header"),
        Need("infiniband/verbs.h", "libibverbs-dev", "rdma-core-devel", "header"),
        Need("libvdeplug.h", "libvdeplug-dev", "vde2-devel", "header"),
        Need("libudev", "libudev-dev", "systemd-devel", "module"),
        Need("libusb-1.0 >= 1.0.13", "libusb-1.0-0-dev", "libusb1-devel", "module"),
        Need("libusbredirparser-0.5 >= 0.6", "libusbredirparser-dev", "usbredir-devel", "module"),
        Need("libcacard >= 2.5.1", "libcacard-dev", "libcacard-devel", "module"),
        Need("brlapi.h", "libbrlapi-dev", "brlapi-devel", "header"),
        Need("sasl/sasl.h", "libsasl2-dev", "cyrus-sasl-devel", "header"),
        Need("libjpeg", "libjpeg-dev", "libjpeg-turbo-devel", "module"),
        Need("libpng >= 1.6.34", "libpng-dev", "libpng-devel", "module"),
        Need("ncursesw", "libncurses-dev", "ncurses-devel", "module"),
        Need("sdl2", "libsdl2-dev", "SDL2-devel", "module"),
        Need("gtk+-3.0 >= 3.22.0", "libgtk-3-dev", "gtk3-devel", "module"),
        Need("vte-2.91", "libvte-2.91-dev", "vte291-devel", "module"),
        Need("epoxy", "libepoxy-dev", "libepoxy-devel", "module"),
        Need("gbm", "libgbm-dev", "mesa-libgbm-devel", "module"),
        Need("libdrm", "libdrm-dev", "libdrm-devel", "module"),
        Need("virglrenderer", "libvirglrenderer-dev", "virglrenderer-devel", "module"),
        Need("spice-server >= 0.15.0", "libspice-server-dev", "spice-server-devel", "module"),
        Need("libpipewire-0.3 >= 0.3.60", "libpipewire-0.3-dev", "pipewire-devel", "module"),
        Need("libpulse >= 0.9.13", "libpulse-dev", "pulseaudio-libs-devel", "module"),
        Need("alsa", "libasound2-dev", "alsa-lib-devel", "module"),
        Need("jack", "libjack-dev", "pipewire-jack-audio-connection-kit-devel", "module"),
        Need("capstone >= 3.0.5", "libcapstone-dev", "capstone-devel", "module"),
        Need("sphinx", "python3-sphinx", "python3-sphinx", "python"),
        Need("sphinx_rtd_theme", "python3-sphinx-rtd-theme", "python3-sphinx_rtd_theme", "python"),
    ),
}


# Where a compiler of a distribution looks for headers.
HEADERS = ("/usr/local/include", "/usr/include", "/usr/include/*-linux-gnu*")


def missing(*groups):
    """The needs of the groups that this machine does not meet, as a list of Need."""
    return [need for group in groups for need in NEEDS[group] if not _met(need)]


def _met(need):
    if need.kind == "command":
        return shutil.which(need.name) is not None
    if need.kind == "header":
        return any(glob.glob(f"{folder}/{need.name}") for folder in HEADERS)
    if need.kind == "python":
        from .tools import PYTHON  # tools needs report only; avoid a cycle at import
        return subprocess.run([PYTHON, "-c", f"import {need.name}"], check=False,
                              capture_output=True).returncode == 0
    if need.kind == "clang":
        return shutil.which(clang.program(need.name)) is not None
    if need.kind == "library":
        return _links(need.name)
    if not shutil.which("pkg-config"):
        # libfdt of older Debian releases has no .pc file; the compiler would find it, we cannot.
        return False
    return subprocess.run(["pkg-config", "--exists", need.name], check=False).returncode == 0 \
        or (need.name == "libfdt" and os.path.exists("/usr/include/libfdt.h"))


def _links(option):
    """True if clang is there and has the library that it links with OPTION."""
    # libFuzzer has a main() of its own.
    head = ("int LLVMFuzzerTestOneInput(const char *data, long size)" if "fuzzer" in option
            else "int main(void)")
    with tempfile.TemporaryDirectory(prefix="clang-") as folder:
        program = clang.program("clang")
        return shutil.which(program) is not None and subprocess.run(
            [program, option, "-x", "c", "-", "-o", f"{folder}/x"], input=head + " { return 0; }",
            text=True, capture_output=True, check=False).returncode == 0


def how_to_install(needs):
    """The command by which a person installs what has the NEEDS, a list of Need."""
    if not shutil.which("apt-get"):
        packages = " ".join(dict.fromkeys(need.fedora for need in needs))
        return f"sudo dnf install {packages}"
    return f"sudo apt-get update && sudo {' '.join(_command(_packages(needs)))}"


def _packages(needs):
    return list(dict.fromkeys(need.debian for need in needs))


def _command(packages):
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def obtain(*groups):
    """Install what can be installed of what the groups name; returns what is missing after that.

    Nothing is installed, and nothing said, where that takes a password or there is no apt.
    """
    lacking = missing(*groups)
    prefix = _become_root()
    if not lacking or not shutil.which("apt-get") or prefix is None:
        return lacking
    if not glob.glob(LISTS):
        _update(prefix)
    # One that this release does not have would keep apt from installing any.
    offered = [name for name in _packages(lacking) if _offered(name)]
    if offered:
        _install(prefix, offered)
    return missing(*groups)


def _offered(package):
    """True if apt has a version of PACKAGE that it can install."""
    out = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True,
                         env=dict(os.environ, LC_ALL="C"), check=False).stdout
    return "Candidate: " in out and "Candidate: (none)" not in out


def _update(prefix):
    run(prefix + ["apt-get", "update"], what="Loading package lists", check=False,
        env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"),
        log=paths.LOGS / "apt-get-update.log")


def _install(prefix, packages):
    """True if apt has installed the packages; if not, LOG has what it says."""
    step("Installing packages: " + " ".join(packages))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = prefix + _command(packages)
    if run(command, what="Installing", log=LOG, env=env, check=False) == 0:
        return True
    # Most often the package lists are old or were never loaded.
    _update(prefix)
    return run(command, what="Installing", log=LOG, env=env, check=False) == 0


def require(*groups):
    """Have everything that the groups (keys of NEEDS) name.

    Missing packages are installed with apt-get when this is root or sudo needs no password.
    Otherwise raises WorkbenchError with the exact command to run.
    """
    lacking = missing(*groups)
    if not lacking:
        return
    names = ", ".join(need.name for need in lacking)
    if not shutil.which("apt-get"):
        raise WorkbenchError(f"Missing on this machine: {names}. Install what has them, on "
                             f"Fedora with: {how_to_install(lacking)}")
    prefix = _become_root()
    if prefix is None:
        raise WorkbenchError(
            f"Missing on this machine: {names}. Run this and then the same command again:\n\n"
            f"    {how_to_install(lacking)}\n")
    if not _install(prefix, _packages(lacking)):
        raise WorkbenchError(
            f"Installing {' '.join(_packages(lacking))} failed. The last lines of {LOG}:\n\n"
            f"{tail(LOG)}\n\nInstall them by hand and run the same command again.")
    still = missing(*groups)
    if still:
        raise WorkbenchError("Still missing after the packages were installed: "
                             + ", ".join(f"{n.name} (package {n.debian})" for n in still))


def _become_root():
    """Words before a command that make it run as root; None when that takes a password."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], check=False,
                                               capture_output=True).returncode == 0:
        return ["sudo", "-n", "DEBIAN_FRONTEND=noninteractive"]
    return None
