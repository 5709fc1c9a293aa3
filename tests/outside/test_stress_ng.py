#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900
"""stress-ng turns the guest's CPUs off and on while others are plugged and unplugged."""

import collections
import random
import re
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import guestcase  # noqa: E402
from workbench.guest.cpus import SYSFS  # noqa: E402
from workbench.testing import outsideprograms  # noqa: E402

SECONDS = 1800 if guestcase.LONG else 180
SLOTS = 8
ANSWER = 120                    # seconds that a busy guest may take
# stress-ng picks among the CPUs that it finds at its start; so that is often.
LAP = 10

LOOP = f"""cat > /tmp/stress <<'end'
n=0
while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    [ $((n % 2)) = 0 ] && how=--cpu-online-affinity || how=
    /{outsideprograms.BIN}/stress-ng --pathological --cpu-online 1 $how --cpu 2 \\
        --timeout {LAP} --metrics 2>&1
    echo "lap $n status $?"
done > /tmp/laps
end
sh /tmp/stress < /dev/null > /dev/null 2>&1 &"""

# What stress-ng fails with when a CPU that it found at its start has been removed.
GONE = r"cpu-online: write to \S+/online failed, errno=(2|19) "


class StressNg(guestcase.GuestCase):

    def answered(self, guest, handle):
        """Wait for the guest's answer to device_del; True if the CPU is gone."""
        key = "path" if handle.startswith("/") else "device"
        event = guest.event(("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"), ANSWER,
                            **{key: handle})
        return event["event"] == "DEVICE_DELETED"

    def disturb(self, guest, cpus, order):
        """Plug or unplug a random CPU; returns what it was."""
        taken = cpus.taken()
        free = sorted(set(range(SLOTS)) - taken)
        if free and (len(taken) < 3 or order.random() < 0.5):
            cpus.add(order.choice(free))
            return "plugged"
        # Refused by the guest while stress-ng turns it on again.
        number = order.choice(sorted(taken - {0}))
        return "removed" if self.answered(guest, cpus.delete(number)) else "kept by the guest"

    def test_online(self):
        """--cpu-online and --cpu-online-affinity in turn, at random."""
        seed = random.randrange(2**32)
        print(f"note: {SECONDS} s of stress-ng {outsideprograms.version('stress-ng')}, seed {seed}")
        order = random.Random(seed)
        guest, cpus = self.boot(self.config(smp=f"2,maxcpus={SLOTS}", memory="1G",
                                            initrd=outsideprograms.initrd()))
        guest.check(LOOP)
        done = collections.Counter()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            done[self.disturb(guest, cpus, order)] += 1
            time.sleep(order.random() * 2)
            guest.judge()
        print("note: " + ", ".join(f"{count} CPUs {what}" for what, count in sorted(done.items())))
        guest.check("touch /tmp/stop; wait", 60)
        self.judge_laps(guest.check("cat /tmp/laps"))
        self.assertGreater(done["plugged"], SECONDS / 60)
        self.assertGreater(done["removed"], SECONDS / 60)
        # All that is there can be used.
        there = cpus.taken()
        for number in sorted(there - {0}):
            guest.check(f"echo 1 > {SYSFS}/cpu{number}/online", ANSWER)
        self.assert_cpus(cpus, there)
        cpus.work(there, 200)
        self.assert_sound(guest)

    def judge_laps(self, text):
        """stress-ng ran, and failed in no other way than with a CPU that was gone."""
        laps = re.findall(r"^lap (\d+) status (\d+)$", text, re.M)
        self.assertGreater(len(laps), SECONDS / LAP / 10, text)
        self.assertIn("0", [status for _, status in laps], text)
        self.assertIn("cpu-online", text)
        failures = [line for line in text.splitlines() if re.search(r"\bfail: ", line)]
        self.assertEqual([line for line in failures if not re.search(GONE, line)], [])


if __name__ == "__main__":
    guestcase.main()
