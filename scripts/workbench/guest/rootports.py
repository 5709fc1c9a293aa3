# SPDX-License-Identifier: GPL-2.0-or-later
"""PCIe root ports on QEMU's command line."""

SLOTS = range(1, 32)        # of the root bus; the host bridge has slot 0
FUNCTIONS = 8


def options(count):
    """QEMU options for COUNT root ports rp0, rp1, ..., eight to a slot; at most 248."""
    places = [(slot, function) for slot in SLOTS for function in range(FUNCTIONS)]
    words = []
    for number in range(count):
        slot, function = places[number]
        words += ["-device", f"pcie-root-port,id=rp{number},chassis={number + 1},"
                  f"addr={slot:x}.{function}" + ("" if function else ",multifunction=on")]
    return words
