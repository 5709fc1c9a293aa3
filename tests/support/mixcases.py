# SPDX-License-Identifier: GPL-2.0-or-later
"""Random requests that do not wait for each other, with TCG and KVM. For a GuestCase."""

import random
import time

from guestcase import LONG, GuestError

ACTIONS = ("add", "add", "add", "delete", "delete", "stop", "cont", "reset", "save")
# Taken slots and second requests, also for a CPU that has just gone.
REFUSALS = "exist|taken|already|Duplicate|unplug|progress|not found|holds no CPU"


class MixCases:

    seconds = 90                # until the guest has come to rest

    def test_everything_at_once(self):
        """A random run of requests, stops, resets and snapshots ends in a sound guest."""
        guest, cpus = self.boot(self.config(smp="2,maxcpus=8", extra=self.disk(), memory="256M"))
        order = random.Random(7)
        for _ in range(120 if LONG else 40):
            action = order.choice(ACTIONS)
            number = order.randrange(1, 8)
            try:
                if action == "add":
                    cpus.add(number)
                elif action == "delete" and number in cpus.taken():
                    cpus.delete(number)
                elif action == "reset":
                    guest.qmp("system_reset")
                elif action in ("stop", "cont"):
                    guest.qmp(action)
                elif action == "save":
                    self.assertEqual(guest.hmp("savevm one"), "")
            except GuestError as error:
                # The process itself must live on.
                self.assertRegex(str(error), REFUSALS)
            time.sleep(order.random() * 0.15)
        guest.qmp("cont")
        guest.qmp("system_reset")
        # Those that ran until then may have left their sign on the console.
        guest.wait_for(lambda: self.settled(guest, cpus), "the guest is up after the last reset",
                       self.seconds)
        for number in cpus.taken() - cpus.view().online:
            cpus.bring_online(number)
        self.assert_cpus(cpus, cpus.taken())
        # What became of the requests until then is not for those that follow.
        guest.events()
        for number in sorted(cpus.taken() - {0}):
            cpus.unplug(number)
        cpus.plug(4)
        self.assert_cpus(cpus, {0, 4})

    def settled(self, guest, cpus):
        """True when the shell answers and neither QEMU nor the guest change any more."""
        try:
            guest.wait_ready(15)
        except GuestError:
            pass
        try:
            first = cpus.taken(), cpus.view()
            time.sleep(1)
            return first == (cpus.taken(), cpus.view()) and first[0] == first[1].enabled
        except GuestError:
            return False
