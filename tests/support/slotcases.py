# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU says of CPU slots while a guest uses, offlines, keeps and gives up a CPU."""

from workbench.guest.cpus import SYSFS

EMPTY = ("empty", None)
OFF = ("plugged", "off")
ON = ("plugged", "on")
PENDING = ("unplug-pending", "on")


def slot_state(cpus, number):
    """State and power state of slot NUMBER; None for what QEMU does not say."""
    slot = cpus.slots()[number]
    return slot.get("state"), slot.get("power-state")


def assert_slot_states(test, guest, cpus):
    """Lead slot 2, which is empty, through its states. CPUs 0 and 1 are online."""

    def expect(*wanted):
        # Linux says that a CPU is offline before the CPU has turned itself off.
        guest.wait_for(lambda: slot_state(cpus, 2) == wanted,
                       lambda: f"slot 2 to be {wanted}, and not {slot_state(cpus, 2)}")

    test.assertEqual([slot_state(cpus, number) for number in range(3)], [ON, ON, EMPTY])
    cpus.add(2)
    cpus.wait_enabled(2)
    test.assertEqual(slot_state(cpus, 2), OFF)
    cpus.bring_online(2)
    expect(*ON)
    guest.check(f"echo 0 > {SYSFS}/cpu2/online")
    expect(*OFF)
    cpus.bring_online(2)
    expect(*ON)

    # A guest that is stopped does not answer.
    guest.qmp("stop")
    handle = cpus.delete(2)
    test.assertEqual(slot_state(cpus, 2), PENDING)
    guest.qmp("cont")
    cpus.wait_deleted(handle)
    test.assertEqual(slot_state(cpus, 2), EMPTY)
