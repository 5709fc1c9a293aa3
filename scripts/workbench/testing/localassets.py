# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a functional test of QEMU with files of this machine instead of assets from the Internet.

    python3 localassets.py TEST NAME=FILE...

TEST is the path of the test, NAME the last part of an asset's address, and FILE what the test gets
for it. QEMU's packages qemu_test and qemu must be importable.
"""

import os
import sys


def main():
    """Run the test; the exit status and the TAP output are its own."""
    test, *pairs = sys.argv[1:]
    files = dict(pair.split("=", 1) for pair in pairs)
    import qemu_test                    # QEMU's, which the workbench does without

    class LocalAsset(qemu_test.Asset):
        """An asset that is there, whatever its hash."""

        def available(self):
            """What the framework asks before a test, which is skipped if an asset is not."""
            return self._name() in files

        def fetch(self):
            """The path of the file."""
            return files[self._name()]

        def _name(self):
            return self.url.rsplit("/", 1)[1]

    # Before the test imports it from there.
    qemu_test.Asset = LocalAsset
    sys.argv = [test]
    sys.path.insert(0, os.path.dirname(test))
    qemu_test.QemuBaseTest.main()


if __name__ == "__main__":
    main()
