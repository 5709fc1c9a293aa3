# SPDX-License-Identifier: GPL-2.0-or-later
"""What the makers of packages (debian/rules, the spec file) call in the root: compile and install.

    python3 -m workbench.packages.steps SETTINGS build
    python3 -m workbench.packages.steps SETTINGS install FOLDER

SETTINGS is the file of rooms.write_settings(). FOLDER becomes the root of the package.
"""

import json
import sys
from pathlib import Path

from ..build import emulators, full
from ..system import paths
from ..ui import report
from . import layout


def build(settings):
    """Configure and compile; what is done is not done again."""
    emulators.configure_and_make(
        paths.QEMU_SRC, Path(settings["folder"]), full.installed, settings["name"],
        full.options(full.TARGETS, settings["places"], settings["more"]))


def install(settings, root):
    """Install below the folder ROOT."""
    full.install(Path(settings["folder"]), str(Path(root).absolute()))
    layout.arrange(root, settings["apparmor"])


def main():
    """Read the settings and do one step."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if sys.argv[2] == "build":
        build(settings)
    else:
        install(settings, sys.argv[3])


if __name__ == "__main__":
    report.main(main)
