# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that take turns with one guest, because a boot under emulation takes as long as ten of
them."""

from workbench.guest.cpus import Cpus


class SharedGuest:
    """For a GuestCase, whose tests call shared()."""

    _guest = None
    _cpus = None
    _start = frozenset()

    @classmethod
    def tearDownClass(cls):
        cls._end()
        super().tearDownClass()

    @classmethod
    def _end(cls, force=False):
        guest, cls._guest = cls._guest, None
        if guest is not None:
            guest.close(force)

    def start_shared(self, name):
        """Start the guest, called NAME; returns a Guest, which the class ends."""
        raise NotImplementedError

    def wait_shared(self, guest):
        """Wait until the guest has started as far as the tests want it."""
        raise NotImplementedError

    def restore(self, guest, cpus, start):
        """Bring the guest back to the CPUs START and whatever else it had then; may raise."""
        raise NotImplementedError

    def shared(self):
        """The guest of the class and its Cpus, as many as after the boot.

        It is booted for the first test, and again after one that has left it in a bad way: that
        test has then failed.
        """
        cls = type(self)
        self.addCleanup(self._hand_back)
        if cls._guest is None:
            cls._guest = self.start_shared(
                f"{self.prefix}{cls.__module__}.{cls.__qualname__}".replace("__main__.", ""))
            cls._cpus = Cpus(cls._guest)
            self.wait_shared(cls._guest)
            cls._start = cls._cpus.taken()
        return cls._guest, cls._cpus

    def _hand_back(self):
        """Leave the guest to the next test as it was found, or end it and fail."""
        if self._guest is None:
            return
        try:
            self._guest.judge()
            self.restore(self._guest, self._cpus, self._start)
        except BaseException:
            self._end(force=True)
            raise
