# SPDX-License-Identifier: GPL-2.0-or-later
"""Which step comes next: by the seed and the model alone, never by the time that anything takes."""

import random

from ..ui.report import WorkbenchError
from .steps import KINDS, PAIRS, Step


def kinds(only=(), without=()):
    """The sorted names of the kinds ONLY and what undoes them, all if empty, less those in WITHOUT.

    A guest is not stopped if it may not go on. Raises WorkbenchError for a name that is none, and
    if no kind is left.
    """
    unknown = sorted((set(only) | set(without)) - set(KINDS))
    if unknown:
        raise WorkbenchError(f"There is no kind of step {', '.join(unknown)}; there are: "
                             f"{', '.join(sorted(KINDS))}.")
    chosen = set(only) or set(KINDS)
    for pair in PAIRS:
        if chosen & pair:
            chosen |= pair
    chosen -= set(without)
    if "cont" not in chosen:
        chosen.discard("stop")
    if not chosen:
        raise WorkbenchError("No kind of step is left by --only and --without.")
    return sorted(chosen)


class Plan:
    """The steps of SEED, of the kinds with the names CHOSEN."""

    def __init__(self, seed, chosen):
        self._seed = seed
        self._kinds = [KINDS[name] for name in sorted(chosen)]

    def step(self, index, model):
        """Step number INDEX, counted from 1, of what is possible in MODEL.

        Raises WorkbenchError if nothing is.
        """
        # A generator for each step: a step that needs more numbers does not change the others.
        rng = random.Random(f"{self._seed}/{index}")
        offers = [(kind, args) for kind in self._kinds
                  if (args := kind.choose(rng, model)) is not None]
        if not offers:
            raise WorkbenchError(
                f"Nothing is possible as step {index} with these kinds of steps: "
                f"{', '.join(kind.name for kind in self._kinds)}. Allow others, too.")
        kind, args = rng.choices(offers, [kind.weight for kind, _ in offers])[0]
        return Step(kind.name, args)
