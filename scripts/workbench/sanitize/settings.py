# SPDX-License-Identifier: GPL-2.0-or-later
"""How programs with a sanitizer are told to behave, by variables of their environment.

They go on after a report where they can, and their exit status does not depend on reports: tests
judge that. Reports go to files, one for each process.
"""

from pathlib import Path

from ..build.sanitizers import ADDRESS, THREAD
from ..system import clang

LOG = "log"                     # files are LOG.PROGRAM.PID
# Runtimes only take one whose name begins with llvm-symbolizer.
SYMBOLIZER = Path(__file__).parent / "files/llvm-symbolizer"

_ADDRESS = {
    "abort_on_error": 1,
    "detect_leaks": 1,
    # GLib is built without frame pointers, so only this finds who has called g_malloc().
    "fast_unwind_on_malloc": 0,
    # Whether it is on by default depends on the release of clang; QEMU switches stacks itself.
    "detect_stack_use_after_return": 0,
}
_UNDEFINED = {"print_stacktrace": 1}
_LEAK = {"print_suppressions": 0}
_THREAD = {
    "halt_on_error": 0,
    # It ends programs that hold more than 64 locks at once, as QEMU does.
    "detect_deadlocks": 0,
    # qtests fork to start QEMU.
    "die_after_fork": 0,
    # The most that there is: an access long ago has a stack, too.
    "history_size": 7,
    # A second by default, at the end of each of the hundreds of QEMUs that tests start.
    "atexit_sleep_ms": 100,
}


def _text(options):
    # A colon or a space in a path would end the value.
    return ":".join(f"{name}='{value}'" if name.endswith("_path") else f"{name}={value}"
                    for name, value in options.items())


def symbolizer():
    """{variable: value} that the program SYMBOLIZER needs."""
    return {"LLVM_SYMBOLIZER": clang.program("llvm-symbolizer")}


def environment(sanitizer, folder):
    """{variable: value} for programs that are built with SANITIZER, whose reports go to FOLDER.

    SANITIZER is "address" or "thread". FOLDER must exist, and have no quotation mark in its name.
    """
    common = {"log_path": f"{folder}/{LOG}", "log_exe_name": 1, "exitcode": 0,
              "external_symbolizer_path": SYMBOLIZER}
    # GLib before 2.76 would hide in its own allocator who has what.
    found = {"G_SLICE": "always-malloc", **symbolizer()}
    if sanitizer == ADDRESS:
        # Each of them reads options for all, and the last one wins.
        for variable, own in (("ASAN_OPTIONS", _ADDRESS), ("UBSAN_OPTIONS", _UNDEFINED),
                              ("LSAN_OPTIONS", _LEAK)):
            found[variable] = _text({**common, **own})
    elif sanitizer == THREAD:
        found["TSAN_OPTIONS"] = _text({**common, **_THREAD})
    else:
        raise ValueError(f"no such sanitizer: {sanitizer}")
    return found
