# SPDX-License-Identifier: GPL-2.0-or-later
"""The workbench: everything behind the thin commands in scripts/.

Each package has one concern. It may import from those above it in this list and from itself, never
from those below; tests/workbench/test_layers.py holds it to that, and holds each package's modules
to imports without a cycle.

    ui          what a user sees
    system      this machine: programs, packages, locks, paths
    hostreport  what a host offers to guests (runs with Python 3.6)
    series      the patches, and the git repository of QEMU with them
    build       QEMU, compiled for this machine and for an Arm host
    packages    packages for distributions
    sanitize    reports of sanitizers, and which of them are known
    fuzz        the patched QEMU, attacked with random inputs
    guest       what a guest boots with, its QEMU, its console
    distribution  a Debian that guests boot from its own disk
    lab         an emulated Arm host, in which guests run with KVM
    compare     one QEMU against another
    testing     running tests, ours and QEMU's own, and what they share
    bench       benchmarks
    soak        everything at random, for hours
    demo        the demonstration
"""
