# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of LTP, the Linux Test Project, in which a guest turns its own CPUs off and on.

They are shell scripts. LTP's own way to build and install them takes its whole library; what they
want of that is one program, which is compiled here, and one that says how many CPUs are online.
"""

import re
import subprocess

from ..build import cross
from ..system import atomic, lock, paths
from ..ui.report import WorkbenchError, step
from . import outside, outsideprograms

NAME = "ltp"
FOLDER = paths.OUTSIDE / NAME / "guest"
BIN = "outside/ltp"                     # where it all is in the guest
LOAD = f"/{BIN}/load"                   # what cpuhotplug07 gets for the source of a kernel

_SCRIPTS = ("testcases/lib/test.sh", "testcases/lib/tst_ansi_color.sh",
            "testcases/kernel/hotplug/cpu_hotplug/include/*.sh",
            "testcases/kernel/hotplug/cpu_hotplug/functional/*.sh",
            "testcases/kernel/hotplug/cpu_hotplug/tools/cpuhotplug_*",
            "testcases/kernel/controllers/cpuset/cpuset_funcs.sh",
            "testcases/kernel/controllers/cpuset/cpuset_hotplug_test/*.sh")
_CPUSET = "testcases/kernel/controllers/cpuset"
_LISTS = (f"{_CPUSET}/cpuset_hotplug_test/cpuset_list_compute.c",
          f"{_CPUSET}/cpuset_lib/libbitmask.c")

# LTP's own asks sysconf() for the CPUs that are online, which are those that Linux lists here.
_NCPUS = "#!/bin/sh\ngrep -c ^processor /proc/cpuinfo\n"

# cpuhotplug07 runs make -j20 on the source of a kernel, over and over. A kernel and a compiler do
# not fit into an initial RAM disk; twenty jobs that work as hard do.
_MAKEFILE = """\
JOBS := $(addprefix job-,$(shell seq 40))
.PHONY: mrproper defconfig bzImage $(JOBS)
mrproper defconfig:
bzImage: $(JOBS)
$(JOBS):
\tgzip -9 -c /bin/busybox | gunzip -c | md5sum > /dev/null
"""


def files():
    """{name in a guest's initial RAM disk: path} of the tests and what they call.

    Programs of Debian are not among them, see outsideprograms.py. Raises outside.Missing without a
    source, WorkbenchError when it is not as expected.
    """
    source = outside.source(NAME)
    stamp = FOLDER / "made-from"
    wanted = outside.stamp(NAME) + outsideprograms.SHELL + _NCPUS + _MAKEFILE
    with lock.held(FOLDER.parent / "lock", f"waiting for another run to build {NAME}"):
        if not atomic.holds(stamp, wanted):
            step(f"Building the CPU hotplug tests of {NAME}")
            with atomic.new_folder(FOLDER) as new:
                _fill(source, new)
                (new / stamp.name).write_text(wanted, encoding="utf-8")
    found = {f"{BIN}/{path.name}": path for path in FOLDER.iterdir()
             if path.is_file() and path.name not in (stamp.name, "Makefile")}
    return {**found, f"{LOAD[1:]}/Makefile": FOLDER / "Makefile"}


def _write_program(path, text):
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _fill(source, folder):
    for pattern in _SCRIPTS:
        scripts = list(source.glob(pattern))
        if not scripts:
            raise WorkbenchError(f"This {NAME} has no {pattern}: its layout must have changed. "
                                 f"It came from {outside.tarball(NAME)}.")
        for script in scripts:
            text = script.read_text(encoding="utf-8")
            text = re.sub(r"\A#!/bin/sh\b", f"#!/{outsideprograms.SHELL}", text)
            _write_program(folder / script.name, text)
    _write_program(folder / "tst_ncpus", _NCPUS)
    (folder / "Makefile").write_text(_MAKEFILE, encoding="utf-8")
    cross.toolchain()
    done = subprocess.run(
        [cross.program("gcc"), "-O2", "-static", "-s", "-o", folder / "cpuset_list_compute",
         "-I", source / "include", *(source / name for name in _LISTS)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise WorkbenchError(f"A program of {NAME} cannot be compiled:\n{done.stdout}")


def initrd():
    """Path of an initial RAM disk with the tests and all that they call. Raises as files()."""
    return outsideprograms.initrd(NAME, files())


def version():
    """The version that the source gives itself. Raises outside.Missing."""
    return (outside.source(NAME) / "VERSION").read_text(encoding="utf-8").strip()


def results(text):
    """What a test reports in its output TEXT: a tuple of words such as TPASS, without TINFO."""
    found = re.findall(r"^\S+ \d+ (T[A-Z]+): ", text, re.M)
    return tuple(word for word in found if word != "TINFO")
