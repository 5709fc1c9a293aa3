# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a QEMU process grows: by what it needed in its first steps, not by absolute numbers."""

from .model import DIMM_SIZE

FIRST = 25                      # steps of a process in which it may need more than before
MEMORY = 32 << 10               # KiB more than the greatest need of these steps
DESCRIPTORS = 4
THREADS = 1


class Growth:
    """What the QEMU processes of a run need, one after the other."""

    def __init__(self):
        self._process = None
        self._age = 0
        # Of all processes: in the first steps of one that was migrated, the guest may do little.
        self._memory = 0
        self._threads = 0
        self._descriptors = {}
        # The greatest of all processes, for the summary.
        self.peak = {"memory_kib": 0, "threads": 0, "descriptors": 0, "grown_kib": 0}

    @staticmethod
    def _own_memory(model, process):
        # Modules are allocated whole.
        return process.memory - len(model.machine.dimms) * (DIMM_SIZE >> 10)

    @staticmethod
    def _devices(model, vcpus_ever):
        """What the number of files depends on: each kind of device has its own."""
        machine = model.machine
        # QEMU closes those by which the guest notifies devices while it stands still.
        return (model.running, machine.booted, vcpus_ever, len(machine.nics), len(machine.disks),
                len(machine.dimms))

    @staticmethod
    def _files(process, vcpus_ever):
        """How many file descriptors the Process PROCESS has, but for those of vCPUs' statistics.

        With KVM, each vCPU that is there has one, which is closed when it is removed.
        """
        return process.descriptors - (len(process.vcpus) if vcpus_ever else 0)

    def judge(self, model, process, vcpus_ever=0):
        """What of the Process PROCESS has grown after a step, each as a text.

        VCPUS_EVER is the number of vCPUs that the process has created, if it keeps their file
        descriptors, as with KVM. Thereafter, note() takes the process as it is.
        """
        if model.processes != self._process:
            return []
        wrong = []
        files = self._files(process, vcpus_ever)
        first = self._descriptors.get(self._devices(model, vcpus_ever), files)
        if files > first + DESCRIPTORS:
            wrong.append(f"file descriptors of QEMU{' but for vCPUs' if vcpus_ever else ''}: "
                         f"{files}, and {first} when it had the same number of devices for the "
                         "first time")
        if self._age < FIRST:
            return wrong
        memory = self._own_memory(model, process)
        if memory > self._memory + MEMORY:
            wrong.append(f"memory of QEMU without modules: {memory} KiB, and at most "
                         f"{self._memory} KiB in the first {FIRST} steps of a process")
        if len(process.threads) > self._threads + THREADS:
            wrong.append(f"threads of QEMU besides vCPUs: {len(process.threads)}, and at most "
                         f"{self._threads} in the first {FIRST} steps of the process: "
                         f"{', '.join(process.threads)}")
        return wrong

    def note(self, model, process, vcpus_ever=0):
        """Keep what the Process PROCESS needs, to judge it by later on; returns that by name."""
        if model.processes != self._process:
            self._process = model.processes
            self._age = self._threads = 0
            self._descriptors = {}
        self._age += 1
        memory, threads = self._own_memory(model, process), len(process.threads)
        if self._age <= FIRST:
            self._memory = max(self._memory, memory)
            self._threads = max(self._threads, threads)
        self._descriptors.setdefault(self._devices(model, vcpus_ever),
                                     self._files(process, vcpus_ever))
        needs = {"memory_kib": memory, "threads": threads + len(process.vcpus),
                 "descriptors": process.descriptors}
        for name, value in (*needs.items(), ("grown_kib", memory - self._memory)):
            self.peak[name] = max(self.peak[name], value)
        return needs
