# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tests there are: every tests/FOLDER/test_*.py that is not QEMU's own.

A file says what Meson must know in comment lines among its first lines, all optional:

    # meson: timeout=300 suite=NAME parallel sanitizers=asan,tsan,pristine

timeout in seconds (default 120); suite is the folder's name by default; without "parallel" no
other test runs beside it. Suites of LONG exist twice: their long form sets a variable that tells
the tests to run in full length. The suites that "sanitizers" names run the file as well, with a
QEMU that has a sanitizer; "pristine" adds those in which that QEMU is without the series.
"""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
DEFAULT_TIMEOUT = 120
# Names of long forms.
LONG = {"guest": "guest-long", "ports": "ports-full", "kvm": "kvm-long",
        "other-targets": "other-targets-long", "topics": "topics-long",
        "distribution": "distribution-long", "outside": "outside-long"}
LONG_VARIABLE = "GUEST_LONG"
LONG_FACTOR = 6         # how much longer the long form of a test may take
PRISTINE = "pristine"
# Suites with a sanitizer, and how much longer a test may take there.
SLOWER = {"asan": 4, "tsan": 10}
SLOWER.update({f"{name}-{PRISTINE}": factor for name, factor in list(SLOWER.items())})


@dataclass(frozen=True)
class TestFile:
    """One file of tests, as Meson is told about it. sanitized: it runs in a suite of SLOWER."""

    path: str
    suite: str
    name: str
    timeout: int
    parallel: bool
    variable: str = ""
    sanitized: bool = False


def discover(top=TOP):
    """All test files, sorted; raises ValueError for a comment that cannot be read."""
    found = []
    for path in sorted(Path(top).glob("tests/*/test_*.py")):
        relative = str(path.relative_to(top))
        head = path.read_text(encoding="utf-8").split("\n")[:20]
        settings = {}
        for line in head:
            match = re.match(r"# meson: (.*)", line)
            for word in match.group(1).split() if match else ():
                key, _, value = word.partition("=")
                if key not in ("timeout", "suite", "parallel", "sanitizers"):
                    raise ValueError(f"{relative}: unknown word \"{word}\" in: {line}")
                settings[key] = value
        suite = settings.get("suite", path.parent.name)
        test = TestFile(relative, suite, path.stem[len("test_"):],
                        int(settings.get("timeout", DEFAULT_TIMEOUT)), "parallel" in settings)
        if suite not in SLOWER:
            found.append(test)
        found += [replace(test, suite=name, timeout=test.timeout * SLOWER[name], sanitized=True)
                  for name in _sanitized(relative, suite, settings.get("sanitizers", ""))]
        if suite in LONG:
            found.append(TestFile(relative, LONG[suite], test.name,
                                  test.timeout * LONG_FACTOR, test.parallel, LONG_VARIABLE))
    return found


def _sanitized(file, suite, text):
    """The suites of SLOWER in which FILE runs: its SUITE, if it is one, and those of TEXT."""
    words = text.split(",") if text else []
    names = [name for name in [suite, *words] if name in SLOWER]
    if unknown := set(words) - set(SLOWER) - {PRISTINE}:
        raise ValueError(f"{file}: there is no suite {', '.join(sorted(unknown))} with a sanitizer")
    if PRISTINE in words:
        names += [f"{name}-{PRISTINE}" for name in names]
    return list(dict.fromkeys(names))


def main():
    """Print one line for each test, for meson.build, in the order in which Meson starts them."""
    # Those that run alone first: each of them later on would wait until the machine is idle. Then
    # the long ones, so that no core is left without work in the end.
    for t in sorted(discover(), key=lambda test: (test.parallel, -test.timeout)):
        sys.stdout.write("|".join((t.suite, t.name, t.path, str(t.timeout),
                                   "true" if t.parallel else "false", t.variable,
                                   "true" if t.sanitized else "false")) + "\n")


if __name__ == "__main__":
    main()
