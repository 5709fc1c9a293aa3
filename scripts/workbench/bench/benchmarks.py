# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the benchmarks of bench/ and shows their results in one table."""

import ast
import importlib.util
import textwrap
from dataclasses import dataclass

from ..system import paths, tools
from ..ui import table
from ..ui.report import WorkbenchError, step

FOLDER = paths.TOP / "bench"
ROUNDS = 15             # unless the user wants another number
WIDTH = 98              # of a list for people


@dataclass
class Result:
    """One line of the table.

    REFERENCE and VALUE are what was measured, as text with unit; COMPARED says how they relate
    ("1.1 times"), WANTED what is asked for ("at most 1.3 times"), and MET whether it is so. The
    last two are None for a line that is only there to compare with.
    """

    what: str
    reference: str
    value: str
    compared: str
    wanted: str = None
    met: bool = None


@dataclass
class Options:
    """What a benchmark gets: the binaries and how many rounds to measure."""

    qemu: object
    qemu_x86: object
    rounds: int


def milliseconds(value):
    """VALUE, a number of seconds, as text in milliseconds."""
    return f"{value * 1000:.0f} ms"


def seconds(value):
    """VALUE, a number of seconds, as text."""
    return f"{value:.2f} s"


def ratio(what, reference, value, limit=None, text=milliseconds):
    """The Result that VALUE is at most LIMIT times REFERENCE; without LIMIT only for comparison.

    TEXT is the function that makes a text of each, by default for numbers of seconds.
    """
    factor = value / reference
    return Result(what, text(reference), text(value), f"{factor:.2f} times",
                  f"at most {limit:g} times" if limit else None,
                  factor <= limit if limit else None)


def pristine():
    """The path of the QEMU without the series. Raises WorkbenchError if it is not built."""
    path = paths.PRISTINE / "qemu-system-aarch64"
    if not path.is_file():
        raise WorkbenchError(f"There is no QEMU without the series to compare with: {path} does "
                             "not exist. scripts/build --pristine builds it.")
    return path


def names():
    """The benchmarks there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def listing():
    """What each benchmark measures, as text: the first line of its own description."""
    about = {name: ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text("utf-8")))
             for name in names()}
    width = max(map(len, about)) + 2
    return "\n".join(textwrap.fill(text.splitlines()[0], WIDTH, initial_indent=name.ljust(width),
                                   subsequent_indent=" " * width)
                     for name, text in about.items())


def _load(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(wanted, options):
    """Run the benchmarks named (all if empty) and print the table; returns the exit status.

    Each file in bench/ has measure(options), which returns Results. Status 1 means that something
    is slower or bigger than wanted. Raises WorkbenchError for an unknown name, a failed guest, or
    what a benchmark lacks; what was measured before that is printed all the same.
    """
    unknown = set(wanted) - set(names())
    if unknown:
        raise WorkbenchError(f"There is no benchmark {', '.join(sorted(unknown))}; there are: "
                             f"{', '.join(names())}.")
    tools.ensure()
    tools.activate()
    # Only now, because these need the packages that ensure() unpacks.
    from ..guest.console import ConsoleError
    from ..guest.qemu import GuestError
    results = []
    try:
        for name in wanted or names():
            step(f"Benchmark {name}")
            try:
                results += _load(name).measure(options)
            except (GuestError, ConsoleError) as error:
                raise WorkbenchError(f"The benchmark {name} stopped: {error}") from None
    finally:
        if results:
            print(_table(results))
    return 1 if any(result.met is False for result in results) else 0


def _table(results):
    rows = [(result.what, result.reference, result.value, result.compared, result.wanted or "-",
             {True: "yes", False: "NO", None: "-"}[result.met]) for result in results]
    return table.render(("measured", "reference", "value", "value to reference", "wanted", "met"),
                        rows)
