# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that take turns with one domain of libvirt, as those of sharedguest.py do with a guest."""


class SharedDomain:
    """For a VirshCase, whose tests call domain()."""

    _domain = None

    def describe(self):
        """The text of the domain."""
        raise NotImplementedError

    def domain(self):
        """The running domain of the class, as it was after the start.

        It is booted for the first test, and again after one that has left it in a bad way: that
        test has then failed.
        """
        cls = type(self)
        self.addCleanup(self._hand_back)
        if cls._domain is None:
            cls._domain = self.booted(self.describe(), cls)
        return cls._domain

    def _hand_back(self):
        guest = self._domain
        if guest is None:
            return
        try:
            self.assertEqual(self.daemon.state(guest.name), "running", "the state the test left")
            self.to_start(guest)
        except BaseException:
            type(self)._domain = None
            guest.disconnect()
            self.daemon.end(guest.name)
            raise

    def to_start(self, guest):
        """Bring the guest back to what it was after the start; may raise."""
        guest.check("true")
