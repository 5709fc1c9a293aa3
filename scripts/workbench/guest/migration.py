# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving a guest from one QEMU to another, both of which run already."""


def begin(source, destination, uri, *capabilities, exit_on_error=True):
    """Begin to move the guest of SOURCE over the address URI of the place, with CAPABILITIES.

    DESTINATION was started with -incoming defer. If the migration fails, it ends, or with
    EXIT_ON_ERROR false stays and tells of the failure. Raises Refused if one of them does not want
    to.
    """
    for guest in (source, destination):
        # The source waits for the destination's word, as libvirt lets it.
        guest.qmp("migrate-set-capabilities", {"capabilities": [
            {"capability": name, "state": True} for name in ("return-path", *capabilities)]})
    destination.qmp("migrate-incoming", {"uri": uri, "exit-on-error": exit_on_error})
    source.qmp("migrate", {"uri": uri})


def wait_end(source, seconds=60):
    """Wait for the end of the migration; returns the status on the source, "completed" or another.

    The source may then be told to go on. Raises GuestError after SECONDS.
    """
    def finished():
        status = source.qmp("query-migrate").get("status")
        return status if status in ("completed", "failed", "cancelled") else None

    status = source.wait_for(finished, lambda: f"migration to end; the source says "
                             f"{source.qmp('query-migrate')}", seconds)
    if status == "completed":
        # QEMU says so a moment before that, and refuses "cont" until then.
        source.wait_for(lambda: source.qmp("query-status")["status"] == "postmigrate",
                        lambda: f"the source to be done; it says {source.qmp('query-status')}")
    return status


def wait_moved(source, destination, seconds=60):
    """Wait until all of the guest is on the other side, whether it runs there or not.

    Raises GuestError after SECONDS, and when the migration ends in another way.
    """
    status = wait_end(source, seconds)
    if status != "completed":
        raise destination.failure(f"the migration ended as {status}: "
                                  f"{source.qmp('query-migrate')}")


def wait_running(destination):
    """Wait until the guest runs on the other side. Raises GuestError."""
    destination.wait_for(
        lambda: destination.qmp("query-status")["status"] == "running",
        lambda: f"the destination runs; it says {destination.qmp('query-status')}")
