# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of the workbench with a tiny QEMU, for tests that take no time and no network."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

from workbench.system import tools  # noqa: F401
from workbench.testing.tap import main  # noqa: F401

TOP = Path(__file__).resolve().parents[2]

PINNED = "qemu_11.1.1+ds.orig.tar.xz"
NOWHERE = "http://127.0.0.1:9"      # the discard port: refused at once
FILES = {
    "VERSION": "11.1.1\n",
    "configure": "#!/bin/sh\n",
    ".gitignore": "*.o\nshipped\n",
    "shipped": "hidden by QEMU's own .gitignore\n",
    "MAINTAINERS": "Fake board\nF: hw/arm/board*.c\nF: docs/board/\n\nThe rest\nF: *\nF: */\n",
    "hw/arm/virt.c": "".join(f"line {n}\n" for n in range(1, 41)),
    "hw/arm/meson.build": "files('virt.c')\n",
    "pc-bios/meson.build": "fds = [\n  'edk2-arm-code.fd',\n  'edk2-x86_64-code.fd',\n]\n",
}
MESSAGE = "The body says why.\n"


def tarball(path, changes=None, files=None):
    """Write a source tarball: FILES, changed by {path: text or None for absent}."""
    content = {**(files or FILES), **(changes or {})}
    version = content["VERSION"].strip()
    with tarfile.open(path, "w:xz") as tar:
        for name, text in sorted(content.items()):
            if text is None:
                continue
            entry = tarfile.TarInfo(f"qemu-{version}/{name}")
            entry.size = len(text.encode())
            entry.mode = 0o755 if name == "configure" else 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def sha256(path):
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class WorkbenchCase(unittest.TestCase):
    """A fresh workbench in self.top; its base source is the pinned file in self.source."""

    maxDiff = None

    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="workbench-test-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.home = self.root / "home"
        self.home.mkdir()
        self.source = self.root / "source"
        self.source.mkdir()
        tarball(self.source / PINNED)
        self.top = self.make_top("top")
        self.qemu = self.top / "build/qemu"

    def make_top(self, name, patches_of=None):
        """Another copy of the workbench; patches and mirror like those of the top given."""
        top = self.root / name
        shutil.copytree(TOP / "scripts", top / "scripts",
                        ignore=shutil.ignore_patterns("__pycache__"))
        (top / "patches").mkdir()
        (top / "patches/series").touch()
        self.topics({"board": ()}, top)
        pins = json.loads((TOP / "upstream.json").read_text())
        pins.update(tarballs={PINNED: sha256(self.source / PINNED), "qemu-11.1.1.tar.xz": None},
                    trees={}, release_url=f"{NOWHERE}/qemu-11.1.1.tar.xz")
        (top / "upstream.json").write_text(json.dumps(pins))
        if patches_of:
            for entry in patches_of.iterdir():
                if entry.name not in ("build", "scripts", "upstream.json"):
                    shutil.copytree(entry, top / entry.name, dirs_exist_ok=True)
        return top

    def topics(self, needs, top=None, **states):
        """Write topics.toml, {name: names of what it needs}, and the cover letters. states: of
        those that are not for submission."""
        folder = (top or self.top) / "patches"
        text = ""
        for name, needed in needs.items():
            text += (f'[[topic]]\nname = "{name}"\nneeds = {json.dumps(list(needed))}\n'
                     f'state = "{states.get(name, "submission")}"\n\n')
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "cover-letter.md").write_text(f"# Fake {name}\n\nA letter.\n")
        (folder / "topics.toml").write_text(text)

    def environment(self, **extra):
        """Environment of commands: no home, no cache, no network."""
        env = {k: v for k, v in os.environ.items()
               if not k.startswith("GIT_") and k not in ("XDG_CACHE_HOME", "QEMU_BASE_SOURCE")}
        env.update(HOME=str(self.home), DEBIAN_MIRROR=NOWHERE, no_proxy="*",
                   XDG_CACHE_HOME=str(self.home / ".cache"))
        env.update(extra)
        return env

    def series(self, *args, status=0, top=None, **env):
        """Run scripts/series; returns all its output. Fails the test on another exit status."""
        done = subprocess.run([str((top or self.top) / "scripts/series"), *map(str, args)],
                              env=self.environment(**env), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, status, f"scripts/series {args}:\n{done.stdout}")
        self.assertNotIn("Traceback", done.stdout)
        return done.stdout

    def setup_series(self, top=None, **env):
        """scripts/series setup with the pinned source."""
        return self.series("setup", "--source", self.source, top=top, **env)

    def git(self, *args, top=None):
        """Run git in build/qemu with the identity that setup gave it; returns the output."""
        env = self.environment(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
        done = subprocess.run(["git", *args], cwd=(top or self.top) / "build/qemu", env=env,
                              capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, subject, changes, body=MESSAGE, topic="board"):
        """Commit {path: text, bytes or None to delete} in build/qemu, as the last one of the
        topic, or of none."""
        for path, content in changes.items():
            file = self.qemu / path
            if content is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-Af", "--", *changes)
        self.git("commit", "-q", "-m", subject, "-m", body)
        if topic:
            self.end(topic)

    def end(self, topic="board", commit="HEAD"):
        """The topic ends at the commit."""
        self.git("branch", "-f", f"topic/{topic}", commit)

    def two_patches(self):
        """Set up, commit a typical small series and export it."""
        self.setup_series()
        text = FILES["hw/arm/virt.c"]
        self.commit("hw/arm: add a board", {
            "hw/arm/board.c": "/* SPDX-License-Identifier: GPL-2.0-or-later */\nint a;\n",
            "hw/arm/virt.c": text.replace("line 5\n", "line five\n")})
        self.commit("docs: describe the board", {
            "docs/board/board.rst": ".. SPDX-License-Identifier: GPL-2.0-or-later\n\nBoard\n",
            "hw/arm/virt.c": text.replace("line 5\n", "line five\n").replace(
                "line 30\n", "line thirty\n")})
        self.series("export")

    def two_topics(self):
        """The same as two topics with one patch each, of which "words" needs "board"."""
        self.two_patches()
        self.topics({"board": (), "words": ("board",)})
        self.end("board", "HEAD^")
        self.end("words")
        self.series("export")

    def patches(self, top=None):
        """{name: bytes} of the files of patches/."""
        folder = (top or self.top) / "patches"
        return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*"))
                if f.is_file()}
