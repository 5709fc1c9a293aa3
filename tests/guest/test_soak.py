#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300
"""A short run of scripts/soak, and the same steps once more."""

import json
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from workbench.guest.qemu import FACTOR  # noqa: E402
from workbench.soak import journal  # noqa: E402
from workbench.system import paths  # noqa: E402

STEPS, AGAIN = 60, 15
SECONDS = 1200


class Soak(guestcase.GuestCase):

    def soak(self, *words):
        """Run scripts/soak, which must succeed; returns (summary, record of the journal)."""
        done = subprocess.run(
            [paths.SCRIPTS / "soak", "--qemu", guestcase.QEMU, "--json", *words],
            capture_output=True, text=True, timeout=SECONDS * FACTOR, check=False)
        self.assertEqual(done.returncode, 0, f"{done.stdout}\n{done.stderr}")
        found = json.loads(done.stdout)
        print(f"{found['steps']} steps in {found['seconds']} s, "
              f"{found['qemu_processes']} QEMU processes")
        return found, journal.read(paths.TOP / found["folder"] / "journal.jsonl")

    @guestcase.long_only
    def test_60_steps(self):
        """All agree after each step, and a replay takes the same steps with the same outcomes."""
        found, record = self.soak("--seed", "1", "--steps", str(STEPS))
        self.assertTrue(found["clean"])
        self.assertEqual((found["steps"], len(record.steps), len(record.outcomes)),
                         (STEPS, STEPS, STEPS))
        _, again = self.soak("--replay", str(paths.TOP / found["folder"] / "journal.jsonl"),
                             "--steps", str(AGAIN))
        self.assertEqual(again.steps, record.steps[:AGAIN])
        self.assertEqual(again.outcomes, {index: record.outcomes[index]
                                          for index in range(1, AGAIN + 1)})


if __name__ == "__main__":
    guestcase.main()
