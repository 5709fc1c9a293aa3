# SPDX-License-Identifier: GPL-2.0-or-later
"""The first process of a room (room.py): makes the mounts, then takes care of what has lost its
parent, and ends with the program that made the room.

It is run as a program of its own, in new namespaces, with the number of a socket and the settings.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path

READY = b"ready"
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC = 2, 4, 0x1000, 0x4000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0, data=None):
    """mount(2). Raises OSError that names the target."""
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind and kind.encode(),
                   ctypes.c_ulong(flags), data and data.encode()):
        error = ctypes.get_errno()
        raise OSError(error, f"mount of {source}: {os.strerror(error)}", str(target))


def bind(source, target, recursive=True):
    """Have SOURCE, a folder or a file, at TARGET as well, which is made if needed."""
    if os.path.isdir(source):
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # A link to nothing there would lead out of the room.
        target.unlink(missing_ok=True)
        target.touch()
    mount(source, target, flags=_MS_BIND | (_MS_REC if recursive else 0))


def furnish(root, settings):
    """Mount all that SETTINGS, those of Room, ask for."""
    layer = Path(settings["writes"] or root / "run")
    if not settings["writes"]:
        mount("layer", layer, "tmpfs", data="mode=755")
    for name in ("upper", "work"):
        (layer / name).mkdir(exist_ok=True)
    # Relative to the current folder, because a colon or a comma in a path would have a meaning.
    os.chdir(root)
    upper, work = (os.path.relpath(layer / name) for name in ("upper", "work"))
    mount("room", root, "overlay", data=f"lowerdir=.,upperdir={upper},workdir={work}")
    mount("proc", root / "proc", "proc", _MS_NOSUID | _MS_NODEV)
    bind("/dev", root / "dev")
    try:
        # Without control groups: nobody there may think that they are to be managed.
        bind("/sys", root / "sys", recursive=False)
    except OSError:
        # In a user namespace, what is below cannot be left out.
        bind("/sys", root / "sys")
    for name, mode in (("run", "755"), ("tmp", "1777")):
        mount(name, root / name, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={mode}")
    for source, target in settings["folders"]:
        bind(source, root / target.lstrip("/"))
    if settings["resolver"]:
        bind(os.path.realpath("/etc/resolv.conf"), root / "etc/resolv.conf")
    socket.sethostname(settings["name"])
    (root / "etc/hostname").write_text(settings["name"] + "\n", encoding="utf-8")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {settings['name']}\n::1 localhost\n",
                                    encoding="utf-8")
    if settings["loopback"]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def reap(*_):
    """Wait for all that have ended: who looks for one would see it for ever."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main():
    """Make the mounts, say so, and stay until the other end of the socket is closed."""
    signal.signal(signal.SIGCHLD, reap)
    with socket.socket(fileno=int(sys.argv[1])) as life:
        settings = json.loads(sys.argv[2])
        try:
            furnish(Path(settings["root"]), settings)
        except OSError as error:
            life.sendall(str(error).encode())
            return 1
        os.chdir("/")
        life.sendall(READY)
        life.recv(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
