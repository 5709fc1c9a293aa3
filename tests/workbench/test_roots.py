#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""Private roots: how they are made, without making one, and rooms in a tiny one."""

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import fake  # noqa: E402
from workbench.system import aptroot, debroot, host, namespaces, paths, polling  # noqa: E402
from workbench.system.room import Room  # noqa: E402
from workbench.ui.report import WorkbenchError  # noqa: E402

RECIPE = debroot.Recipe("some", ("trixie", "trixie-backports"), ("a", "b/trixie-backports"),
                        pinned=(("f", "trixie-backports"),), provided=("c", "d"), arch="amd64")
MIRROR = fake.NOWHERE + "/debian"


def cannot_mount():
    """Why no room can be made here; empty if it can."""
    try:
        namespaces.prefix("--pid", "--net")
    except WorkbenchError as error:
        return str(error)
    return ""


class Making(unittest.TestCase):

    def setUp(self):
        top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.roots = top / "build/roots"
        self.calls = []
        aptroot.mirrors.cache_clear()
        self.addCleanup(aptroot.mirrors.cache_clear)
        for patch in (mock.patch.object(paths, "TOP", top),
                      mock.patch.object(paths, "ROOTS", self.roots),
                      mock.patch.object(paths, "LOGS", top / "logs"),
                      mock.patch.object(namespaces, "prefix", lambda *_: []),
                      mock.patch.object(host, "require", lambda *_: None),
                      mock.patch.object(debroot, "need_space", lambda *_: None),
                      mock.patch.object(debroot, "run", self.run_instead),
                      mock.patch.dict(os.environ, DEBIAN_MIRROR=MIRROR),
                      contextlib.redirect_stderr(io.StringIO())):
            self.enterContext(patch)

    def run_instead(self, command, **_):
        """In place of mmdebstrap: runs its hooks on a root of two files."""
        self.calls.append(command)
        folder = Path(command[next(n for n, word in enumerate(command)
                                   if word in ("trixie", "sid")) + 1])
        for name in ("etc/apt/preferences.d", "usr/sbin", "var/lib/dpkg/info"):
            (folder / name).mkdir(parents=True)
        (folder / "var/lib/dpkg/status").write_text("Package: e\nStatus: install ok installed\n"
                                                    "Architecture: all\nVersion: 7\n\n")
        for kind in ("--setup-hook=", "--essential-hook=", "--customize-hook="):
            for word in command:
                if word.startswith(kind):
                    subprocess.run(["sh", "-ec", word.removeprefix(kind), "sh", folder],
                                   check=True)

    def test_made_once(self):
        """The folder is there whole, says what it was made from, and is not made again."""
        folder = debroot.have(RECIPE)
        self.assertEqual(folder.parent, self.roots)
        self.assertEqual(json.loads((folder / debroot.RECIPE).read_text())["name"], "some")
        self.assertEqual(debroot.have(RECIPE), folder)
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(sorted(path.name for path in self.roots.iterdir()),
                         sorted([folder.name, "lock"]))
        # No service starts.
        self.assertEqual(subprocess.run([folder / "usr/sbin/policy-rc.d"], check=False).returncode,
                         101)

    def test_command(self):
        """The suites come from the mirror with the machine's keyring, and only what was asked."""
        debroot.have(RECIPE)
        command, = self.calls
        self.assertIn("--include=a,b/trixie-backports", command)
        sources = [word for word in command if word.startswith("deb ")]
        self.assertEqual(len(sources), 2)
        for source, suite in zip(sources, RECIPE.suites):
            self.assertTrue(source.endswith(f" {MIRROR}/ {suite} main"), source)
            self.assertIn("arch=amd64", source)
        self.assertFalse([word for word in command if "Recommends" in word])

    def test_pinned(self):
        """A source package may come from another suite, of which nothing else comes by itself."""
        pins = (debroot.have(RECIPE) / "etc/apt/preferences.d/workbench").read_text()
        self.assertEqual(pins.split("\n\n")[:-1], [
            "Package: src:f\nPin: release n=trixie-backports\nPin-Priority: 990"])

    @unittest.skipUnless(aptroot.available(), "there is no apt here")
    def test_provided(self):
        """dpkg takes what comes from outside for installed."""
        folder = debroot.have(RECIPE)
        self.assertEqual([debroot.version(folder, name) for name in "cdef"],
                         ["1:99", "1:99", "7", None])

    def test_other_recipe(self):
        """Another recipe of the same name takes the place of the old root; other names stay."""
        old = debroot.have(RECIPE)
        other = debroot.have(dataclasses.replace(RECIPE, name="some-more"))
        new = debroot.have(dataclasses.replace(RECIPE, packages=("a",)))
        self.assertNotEqual(old, new)
        self.assertEqual([path.exists() for path in (old, other, new)], [False, True, True])

    def test_failure(self):
        """Nothing is left of a root that could not be made."""
        def fail(command, **_):
            self.run_instead(command)
            raise WorkbenchError("no network")
        with mock.patch.object(debroot, "run", fail), \
                self.assertRaisesRegex(WorkbenchError, "no network"):
            debroot.have(RECIPE)
        self.assertEqual([path.name for path in self.roots.iterdir()], ["lock"])


class Rights(unittest.TestCase):

    def refused(self, status, stderr):
        """What a user without root is told when unshare ends like that."""
        done = subprocess.CompletedProcess([], status, "", stderr)
        namespaces._problem.cache_clear()
        self.addCleanup(namespaces._problem.cache_clear)
        with mock.patch("os.geteuid", return_value=1000), \
                mock.patch("shutil.which", return_value="/usr/bin/unshare"), \
                mock.patch("subprocess.run", return_value=done):
            return namespaces.prefix("--pid")

    def test_user(self):
        """A user works in a user namespace, if the machine has them."""
        self.assertEqual(self.refused(0, ""), ["unshare", *namespaces.USER, "--pid"])

    def test_refused(self):
        """Otherwise the message says what unshare said, and what would work."""
        with self.assertRaisesRegex(WorkbenchError, "(?s)newuidmap: no such file.*as root.*uidmap"):
            self.refused(1, "newuidmap: no such file")


class Rooms(unittest.TestCase):
    """Rooms in a root that has this machine's /usr."""

    def setUp(self):
        problem = cannot_mount()
        if problem:
            self.skipTest(problem)
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root = self.top / "a, strange: root"
        for name in ("usr", "etc", "dev", "proc", "sys", "run", "tmp", "root"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if os.path.islink(f"/{name}"):
                (self.root / name).symlink_to(f"usr/{name}")

    def room(self, **options):
        """A Room in that root."""
        folders = ["/usr", *options.pop("folders", ())]
        folders += [f"/{name}" for name in ("bin", "sbin", "lib", "lib64")
                    if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")]
        room = Room(self.root, folders=folders, **options)
        self.addCleanup(room.close)
        return room

    def test_writes(self):
        """What is written can be read from outside, and does not reach the root."""
        room = self.room()
        room.check(["sh", "-c", "echo text > /etc/file; rmdir /root"])
        self.assertEqual(room.path("/etc/file").read_text(), "text\n")
        room.close()
        self.assertEqual(list((self.root / "etc").iterdir()), [])
        self.assertTrue((self.root / "root").exists())

    def test_writes_kept(self):
        """With a folder for it, what is written is there for the next room."""
        writes = self.top / "writes"
        writes.mkdir()
        room = self.room(writes=writes)
        room.check(["sh", "-c", "echo text > /etc/file"])
        room.close()
        self.assertEqual(self.room(writes=writes).check(["cat", "/etc/file"]), "text")

    def test_folders(self):
        """Folders are there under their own path, or another, and are not copies."""
        shared = self.top / "shared"
        shared.mkdir()
        room = self.room(folders=[shared, (shared, "/var/other")])
        room.check(["sh", "-c", f"echo text > {shared}/file"])
        self.assertEqual((shared / "file").read_text(), "text\n")
        self.assertEqual(room.check(["cat", "/var/other/file"]), "text")

    def test_result(self):
        """Status, output and errors come back; what takes too long is ended; input is given."""
        room = self.room()
        self.assertEqual(room.run(["sh", "-c", "echo out; echo err >&2; exit 3"]),
                         (3, "out\nerr"))
        self.assertEqual(room.run(["sh", "-c", "echo out; exec sleep 60"], seconds=3),
                         (None, "out"))
        self.assertEqual(room.run(["cat"], text="in"), (0, "in"))
        with self.assertRaisesRegex(WorkbenchError, "(?s)false in .*exit status 1"):
            room.check(["false"])

    def test_environment(self):
        """Nothing of this machine's environment gets in but what is named."""
        with mock.patch.dict(os.environ, SECRET="x"):
            output = self.room().check(["env"], environment={"NAME": "value"})
        self.assertIn("NAME=value", output.splitlines())
        self.assertNotIn("SECRET", output)

    def test_host(self):
        """A room has a name, processes and a network of its own, or shares that of another."""
        room = self.room(name="first")
        self.assertEqual(room.check(["uname", "-n"]), "first")
        # One that is visible without tools: a socket of an abstract name belongs to a network.
        bind = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('\\0name'); "
                "s.listen(); print('bound', flush=True); sys.stdin.read()")
        connect = "import socket; socket.socket(socket.AF_UNIX).connect('\\0name')"
        with subprocess.Popen(room.command(["/usr/bin/python3", "-c", bind]), text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            self.assertEqual(child.stdout.readline(), "bound\n")
            sharing = self.room(name="second", network=room)
            self.assertEqual(sharing.check(["uname", "-n"]), "second")
            self.assertEqual(sharing.run(["/usr/bin/python3", "-c", connect])[0], 0)
            self.assertEqual(self.room().run(["/usr/bin/python3", "-c", connect])[0], 1)

    def test_orphans(self):
        """A process that has lost its parent is waited for when it ends."""
        room = self.room()
        pid = room.check(["sh", "-c", "sleep 0.2 > /dev/null 2>&1 & echo $!"])
        self.assertTrue(polling.until(lambda: not room.path(f"/proc/{pid}").exists(), 20))

    def test_nothing_left(self):
        """All that runs there ends with the room, also what has left its session."""
        room = self.room()
        mark = f"{time.monotonic_ns()}"
        room.check(["sh", "-c", f"setsid sleep {mark}.5 > /dev/null 2>&1 &"])
        self.assertTrue(polling.until(lambda: running(mark), 20))
        room.close()
        self.assertEqual(running(mark), 0)

    def test_killed(self):
        """The same if the program that made the room is killed."""
        mark = f"{time.monotonic_ns()}"
        program = (f"import sys; sys.path.insert(0, {str(fake.TOP / 'scripts')!r})\n"
                   "from workbench.system.room import Room\n"
                   f"room = Room({str(self.root)!r}, ['/usr'])\n"
                   f"room.start(['sleep', '{mark}.5'])\n"
                   "print('up', flush=True); sys.stdin.read()")
        with subprocess.Popen([sys.executable, "-c", program], text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as child:
            self.assertEqual(child.stdout.readline(), "up\n")
            self.assertTrue(polling.until(lambda: running(mark), 20))
            child.kill()
        self.assertTrue(polling.until(lambda: not running(mark), 20), "it still runs")

    def test_refused(self):
        """A folder that does not exist is named."""
        with self.assertRaisesRegex(WorkbenchError, "/nonexistent"):
            self.room(folders=["/nonexistent/folder"])


def running(mark):
    """How many processes sleep for MARK seconds."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            count += words[0] == b"sleep" and words[1].startswith(mark.encode())
    return count


if __name__ == "__main__":
    fake.main()
