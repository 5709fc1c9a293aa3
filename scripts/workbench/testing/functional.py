# SPDX-License-Identifier: GPL-2.0-or-later
"""The functional tests that the series adds to QEMU, run without the Internet.

They download a kernel and an initial RAM disk of Debian's installer. Here they get the kernel and
the busybox of our own guests for it: of the same distribution, and there anyway.
"""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

from ..guest import assets, initramfs, modules
from ..series import git
from ..system import atomic, paths, tools
from . import localassets, qemusuites

FOLDER = "tests/functional"
# What the tests run in the guest. Without our /init nothing makes the links to busybox.
_COMMANDS = ("cat", "ls", "modprobe", "mount", "seq", "sleep", "wc")
_MODULES = ("virtio_net",)


def added(source):
    """Paths, below the QEMU tree SOURCE, of the functional tests that the base does not have."""
    return git.run("diff", "--no-renames", "--diff-filter=A", "--name-only", "refs/tags/base",
                   "--", f":(glob){FOLDER}/*/test_*.py", cwd=source).splitlines()


def suite_name(file):
    """Meson's name of the test in FILE, a path as of added()."""
    path = Path(file)
    return f"func-{path.parent.name}-{path.stem.removeprefix('test_')}"


def known_hashes(source):
    """The hashes of all assets that the functional tests of the base download."""
    found = git.run("grep", "-hoE", "[0-9a-f]{64}", "refs/tags/base", "--", FOLDER, cwd=source)
    return set(found.split())


def stand_ins():
    """{last part of an asset's address: file that a test gets instead}."""
    links = initramfs.Archive()
    for command in _COMMANDS:
        links.symlink(f"bin/{command}", "busybox")
    base = modules.initrd(*_MODULES).read_bytes()
    initrd = atomic.write_if_changed(paths.GUEST / "initrd-functional.cpio",
                                     base + bytes(-len(base) % 4) + links.bytes())
    return {"linux": assets.kernel(), "initrd.gz": initrd}


def run(file, place, seconds, files=None):
    """Run the test FILE of added() in the qemusuites.Workplace PLACE; a qemusuites.Result.

    FILES is what stand_ins() returns; None leaves the test with its own assets, and without the
    Internet. A test that takes longer than SECONDS has the status TIMEOUT, and is ended with its
    QEMU; its output then ends with what the guest said last.
    """
    test = str(place.source / file)
    command = [tools.PYTHON, test]
    if files is not None:
        # Modules that are beside the launcher must not hide Python's.
        command = [tools.PYTHON, "-P", localassets.__file__, test,
                   *(f"{name}={path}" for name, path in files.items())]
    env = tools.environment()
    env["PYTHONPATH"] = os.pathsep.join([str(place.source / "python"), str(place.source / FOLDER),
                                         env["PYTHONPATH"]])
    env |= {"PYTHONDONTWRITEBYTECODE": "1", "QEMU_TEST_NO_DOWNLOAD": "1",
            "QEMU_TEST_QEMU_BINARY": str(place.wrapper), "MESON_BUILD_ROOT": str(place.folder),
            "QEMU_TEST_CACHE_DIR": str(place.folder / "cache")}
    with subprocess.Popen(command, cwd=place.folder, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          errors="replace", start_new_session=True) as child:
        try:
            output = child.communicate(timeout=seconds * qemusuites.FACTOR)[0]
            status = None
        except subprocess.TimeoutExpired:
            status = "TIMEOUT"
        finally:
            # The test has a session of its own, and its QEMU is in it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if status:
            output = child.communicate()[0] + _console(place, file)
    found = qemusuites.subtests(output)
    if not status:
        status = "FAIL" if child.returncode else "OK"
        if found and set(found.values()) == {"skip"}:
            status = "SKIP"
    return qemusuites.Result(suite_name(file), status, found, output)


def _console(place, file):
    """The end of the newest console log of the test FILE."""
    logs = sorted(place.folder.glob(f"tests/functional/*/{Path(file).stem}.*/console.log"),
                  key=lambda path: path.stat().st_mtime)
    if not logs:
        return "\nit has no guest"
    text = logs[-1].read_text(encoding="utf-8", errors="replace")
    return "\nthe guest's console:\n" + re.sub(r"\x1b\[[0-9;=]*\w", "", text)[-2000:]
