# SPDX-License-Identifier: GPL-2.0-or-later
"""The optional features of QEMU that Debian's packages have, which scripts/build --full configures.

The list is that of the source package DEBIAN: the options for configure are comments in its
debian/control, beside the packages that they need (tests/packages/test_features.py). To these come
features that configure finds there because another package brings what they need. What a machine
lacks is left out, and said.
"""

from dataclasses import dataclass

from ..system import host
from ..ui import table


DEBIAN = "1:10.2.2+ds-1"


@dataclass(frozen=True)
class Feature:
    """One feature. name is configure's, for --enable-NAME, or that of an audio driver.

    needs: names in host.NEEDS["full"]; sound: it is an audio driver; after: a feature without
    which this one cannot be.
    """

    name: str
    about: str
    needs: tuple = ()
    sound: bool = False
    after: str = ""


FEATURES = (
    # disks
    Feature("linux-aio", "asynchronous I/O, aio=native", ("libaio.h",)),
    Feature("linux-io-uring", "asynchronous I/O, aio=io_uring", ("liburing",)),
    Feature("curl", "disks by HTTP and FTP", ("libcurl",)),
    Feature("libssh", "disks by SSH", ("libssh",)),
    Feature("libiscsi", "disks by iSCSI", ("libiscsi",)),
    Feature("libnfs", "disks by NFS", ("libnfs",)),
    Feature("rbd", "disks of Ceph", ("rbd/librbd.h",)),
    Feature("blkio", "disks by libblkio: NVMe, vhost-user, vDPA", ("blkio",)),
    Feature("fuse", "qemu-storage-daemon shows a disk as a file", ("fuse3",)),
    Feature("zstd", "compression of disks and migration", ("libzstd",)),
    Feature("bzip2", "compressed disks of macOS", ("bzlib.h",)),
    Feature("virtfs", "shared folders by 9p"),
    Feature("attr", "extended attributes of shared folders"),
    Feature("vvfat", "a folder as a FAT disk"),
    # host
    Feature("cap-ng", "helpers give up privileges", ("cap-ng.h",)),
    Feature("seccomp", "-sandbox", ("libseccomp",)),
    Feature("selinux", "labels of qemu-nbd's sockets", ("libselinux",)),
    Feature("numa", "memory bound to nodes of the host", ("numa.h",)),
    Feature("libpmem", "persistent memory of the host", ("libpmem",)),
    Feature("gnutls", "TLS", ("gnutls",)),
    Feature("nettle", "encryption", ("nettle",)),
    Feature("capstone", "disassembler", ("capstone",)),
    Feature("fdt", "device trees"),
    Feature("plugins", "plugins of TCG"),
    # network
    Feature("slirp", "-nic user"),
    Feature("vde", "-netdev vde", ("libvdeplug.h",)),
    Feature("bpf", "RSS of virtio-net in the host's kernel", ("libbpf",)),
    Feature("rdma", "migration by RDMA", ("rdma/rdma_cma.h", "infiniband/verbs.h")),
    Feature("vhost-net", "virtio-net in the host's kernel"),
    Feature("vhost-user", "devices in other processes"),
    # devices
    Feature("libudev", "names of the host's devices", ("libudev",)),
    Feature("libusb", "USB devices of the host", ("libusb-1.0",)),
    Feature("usb-redir", "USB devices from elsewhere", ("libusbredirparser-0.5",)),
    Feature("smartcard", "smart cards", ("libcacard",)),
    Feature("brlapi", "Braille displays", ("brlapi.h",)),
    # displays
    Feature("pixman", "graphics"),
    Feature("vnc", "-vnc"),
    Feature("vnc-sasl", "-vnc with SASL", ("sasl/sasl.h",), after="vnc"),
    Feature("vnc-jpeg", "-vnc with JPEG", ("libjpeg",), after="vnc"),
    Feature("png", "screenshots as PNG, -vnc with PNG", ("libpng",)),
    Feature("curses", "-display curses", ("ncursesw",)),
    Feature("sdl", "-display sdl", ("sdl2",)),
    Feature("gtk", "-display gtk", ("gtk+-3.0",)),
    Feature("vte", "consoles in -display gtk", ("vte-2.91",), after="gtk"),
    Feature("opengl", "displays with OpenGL", ("epoxy", "gbm", "libdrm")),
    Feature("virglrenderer", "virtio-gpu with OpenGL", ("virglrenderer",), after="opengl"),
    Feature("spice", "-spice and its devices", ("spice-server",)),
    # sound
    Feature("pipewire", "-audiodev pipewire", ("libpipewire-0.3",), sound=True),
    Feature("pa", "-audiodev pa", ("libpulse",), sound=True),
    Feature("alsa", "-audiodev alsa", ("alsa",), sound=True),
    Feature("jack", "-audiodev jack", ("jack",), sound=True),
    Feature("oss", "-audiodev oss", sound=True),
    Feature("sdl", "-audiodev sdl", ("sdl2",), sound=True),
    # rest
    Feature("tools", "qemu-img, qemu-nbd, qemu-storage-daemon and others"),
    Feature("modules", "what needs many libraries is loaded when it is used"),
    Feature("docs", "manual pages and HTML", ("sphinx", "sphinx_rtd_theme")),
)

# What Debian's aarch64 package has, or its source package asks for, and this cannot have.
NOT_TO_BE_HAD = (
    ("glusterfs", "QEMU 11.1 has removed it"),
    ("kvm", "only with a target that is the host's own, so on an Arm host; found by configure"),
    ("module-upgrades", "looks for modules of Debian's own versions in /run/qemu"),
    ("boot ROM of AST2700 boards", "no package of Debian 13 has it; give QEMU one with -bios"),
    ("firmware of 32-bit Arm guests", "newer releases than Debian 13 no longer build it"),
)

# What Debian's package leaves out as well; without a word configure would take what it finds. Of
# qemu-vnc, QEMU 11.1 installs the manual page alone.
OFF = ("guest-agent", "sndio", "xkbcommon", "xen", "qemu-vnc")


def _name(need):
    """The name of a need without the condition."""
    return need.name.partition(" ")[0]


def split():
    """([features that this machine can have], {feature that it cannot have: why not, as text})."""
    lacking = {_name(need): need for need in host.missing("full")}
    good, bad = [], {}
    for feature in FEATURES:
        needs = [lacking[name] for name in feature.needs if name in lacking]
        if needs:
            bad[feature] = "no " + ", ".join(
                f"{need.name} (Debian: {need.debian}, Fedora: {need.fedora})" for need in needs)
        elif feature.after and feature.after not in [f.name for f in good if not f.sound]:
            bad[feature] = f"no {feature.after}"
        else:
            good.append(feature)
    return good, bad


def options():
    """Options of configure for the features that this machine can have, and against the others."""
    good, bad = split()
    words = [f"--enable-{f.name}" for f in good if not f.sound]
    words += [f"--disable-{f.name}" for f in bad if not f.sound]
    words.append("--audio-drv-list=" + ",".join(f.name for f in good if f.sound))
    return [*words, *(f"--disable-{name}" for name in OFF)]


def packages(features=FEATURES):
    """Names of Debian's packages that the features need, each once."""
    wanted = {name for feature in features for name in feature.needs}
    return list(dict.fromkeys(need.debian for need in host.NEEDS["full"]
                              if _name(need) in wanted))


def listing():
    """The table of all features, with what this machine lacks, as text."""
    _, bad = split()
    rows = [((f"audio driver {f.name}" if f.sound else f.name), f.about,
             "no" if f in bad else "yes", bad.get(f, "")) for f in FEATURES]
    rows += [(name, "", "never", why) for name, why in NOT_TO_BE_HAD]
    return table.render(("feature", "for", "built here", "why not"), rows)
