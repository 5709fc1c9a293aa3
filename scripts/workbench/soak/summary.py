# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run comes to: counts, times, and what QEMU needed, for people and as JSON."""

import statistics

from ..ui import table
from ..ui.report import duration
from .steps import REFUSED_BY_GUEST


class Summary:
    """Collects what is said at the end. HEAD is that of the journal."""

    def __init__(self, head):
        self._head = head
        self._seconds = {}
        self._kept = {}
        self.failure = None
        self.interrupted = False

    def note(self, step, outcome, seconds):
        """STEP ended with OUTCOME after SECONDS, agreement included."""
        self._seconds.setdefault(step.kind, []).append(seconds)
        if outcome == REFUSED_BY_GUEST:
            self._kept[step.kind] = self._kept.get(step.kind, 0) + 1

    def as_dict(self, seconds, processes, peak):
        """Everything, for JSON. SECONDS is the time that the run took, PEAK that of a Growth.

        Keys: those of the journal's head, and

        - clean: True if all steps were taken and all agreed; failure: null, or what went wrong;
          interrupted: True if a person ended the run;
        - steps, seconds, qemu_processes;
        - kinds: {kind: {count, refused_by_guest, median_seconds, max_seconds}};
        - peak: the most memory in KiB without memory modules, threads and file descriptors, and by
          how many KiB a process has outgrown its first steps.
        """
        kinds = {kind: {"count": len(taken), "refused_by_guest": self._kept.get(kind, 0),
                        "median_seconds": round(statistics.median(taken), 3),
                        "max_seconds": round(max(taken), 3)}
                 for kind, taken in sorted(self._seconds.items())}
        return {**self._head, "clean": self.failure is None and not self.interrupted,
                "failure": self.failure, "interrupted": self.interrupted,
                "steps": sum(kind["count"] for kind in kinds.values()),
                "seconds": round(seconds, 1), "qemu_processes": processes, "kinds": kinds,
                "peak": dict(peak)}


def render(found):
    """The result of as_dict() as text."""
    rows = [(kind, entry["count"], entry["refused_by_guest"] or "-",
             f"{entry['median_seconds']:.1f} s", f"{entry['max_seconds']:.1f} s")
            for kind, entry in found["kinds"].items()]
    peak = found["peak"]
    verdict = ("interrupted" if found["interrupted"] else
               "all agreed after each step" if found["clean"] else "FAILED")
    return "\n".join([
        table.render(("step", "taken", "kept by guest", "median", "longest"), rows), "",
        f"Seed {found['seed']}, {found['accel']}, Linux {found['kernel']}, "
        f"QEMU {found['qemu']}, {found['machine']}",
        f"{found['steps']} steps in {duration(found['seconds'])}, with {found['qemu_processes']} "
        "QEMU processes",
        f"QEMU needed at most {peak['memory_kib'] // 1024} MiB without memory modules, "
        f"{peak['threads']} threads, {peak['descriptors']} file descriptors; a process outgrew "
        f"its first steps by {peak['grown_kib'] / 1024:.1f} MiB at most",
        f"Result: {verdict}"])
