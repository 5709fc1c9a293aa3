# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/test: build what is missing, run the suites with Meson, sum up."""

import json
import re
import shutil
from collections import namedtuple

from ..build import cross, emulators, linux
from ..series import tree
from ..system import host, lock, paths, tools
from ..system.programs import run
from ..ui.report import WorkbenchError, duration, info, step
from . import (discovery, leftovers, libvirt, libvirtlab, libvirtroots, reaper, sanitized,
               skips)

# What a suite needs built: (tree, ninja targets; None is everything). The tree "arm64" is the
# patched one for an Arm host, "pristine-arm64" the pristine one; of "targets", the patched one for
# all targets, names of those.
NEEDS = {
    "workbench": (),
    "series": (),
    "topics": (),
    "qtest": (("patched", None),),
    # Of the pristine tree only what is compared; QEMU's tests are those of the patched one.
    "compat": (("patched", None),
               ("pristine", ("qemu-system-aarch64", "qemu-system-x86_64", "qemu-img"))),
    "guest": (("patched", ("qemu-system-aarch64", "qemu-img", emulators.PLUGIN)),),
}
NEEDS["ports"] = (("patched", ("qemu-system-aarch64", "qemu-img")),
                  ("pristine", ("qemu-system-aarch64",)))
NEEDS["other-targets"] = (("patched", None),
                          ("pristine", tuple(f"qemu-system-{name}" for name in emulators.TARGETS
                                             if name != "aarch64")))
NEEDS["examples"] = (("patched", ("qemu-system-aarch64", "qemu-img")),)
NEEDS["management"] = NEEDS["ports"]
NEEDS["kvm"] = (("patched", ("qemu-system-aarch64", "qemu-img")), ("arm64", cross.TARGETS))
NEEDS["vfio"] = NEEDS["vfio-iommufd"] = NEEDS["host-6.1"] = NEEDS["kvm"]
NEEDS["outside"] = (*NEEDS["kvm"], ("pristine", ("qemu-system-aarch64",)),
                    ("pristine-arm64", ("qemu-system-aarch64",)))
NEEDS["distribution"] = (("patched", ("qemu-system-aarch64", "qemu-img")),)
NEEDS["fuzz"] = ()
NEEDS["packages"] = (("patched", ("qemu-system-aarch64", "qemu-img")),)
NEEDS.update({long: NEEDS[short] for short, long in discovery.LONG.items()})
NEEDS["other-targets-long"] += (("targets", ("mips64el", "sparc64")),)
# They have builds of their own.
NEEDS.update({suite: () for suite in sanitized.SUITES})
# Suites that boot firmware or kernels.
BOOTING = ("compat", "guest", "other-targets", "ports", "examples", "management", "distribution",
           "kvm", "vfio", "vfio-iommufd", "host-6.1", "outside", "packages", *sanitized.SUITES)
BOOTING += tuple(long for short, long in discovery.LONG.items() if short in BOOTING)
# In this order: what fails fast comes first.
DEFAULT = ("workbench", "series", "topics", "qtest", "compat", "other-targets", "guest", "ports",
           "examples", "management", "kvm", "vfio")
SHOWN = 40              # lines of output that are shown of a test that failed

Case = namedtuple("Case", "test name outcome reason")      # outcome: pass, fail, skip


def suites():
    """{suite: list of test names} of all suites, the default ones first."""
    found = {name: [] for name in DEFAULT}
    found["series"].append("check")
    for test in discovery.discover():
        found.setdefault(test.suite, []).append(test.name)
    return found


def main(wanted, factor=1.0, rebuild=True):
    """Run the named suites (default: DEFAULT); returns the exit status.

    factor: stretches the timeouts, for slow machines. rebuild: False runs with what is there.
    """
    known = suites()
    wanted = list(dict.fromkeys(wanted or [s for s in DEFAULT if known[s]]))
    unknown = [s for s in wanted if s not in known]
    if unknown:
        raise WorkbenchError(f"There is no suite {', '.join(unknown)}. There are: "
                             + ", ".join(known))
    host.require("series", "build", "test")
    tools.ensure()
    if "examples" in wanted:
        fetch_libvirt()
    if "management" in wanted:
        libvirtroots.fetch()
    if rebuild:
        prepare(wanted)
    # Meson's log is one, and what another run starts would be taken for leftovers of this one.
    with lock.held(paths.BUILD / ".test.lock", "waiting for another run of scripts/test"):
        configure()
        with leftovers.Watch() as watch:
            cases, seconds = execute(wanted, factor, watch.env)
        cases = skips.judge(cases)
        cases += [Case("leftovers", text, "fail", "") for text in watch.found] or [
            Case("leftovers", "nothing is left behind", "pass", "")]
        return summary(cases, seconds)


def prepare(wanted):
    """Set up the series and build what the suites need."""
    tree.ensure()
    needs = {}
    for suite in wanted:
        for which, targets in NEEDS.get(suite, (("patched", None),)):
            old = needs.get(which, ())
            needs[which] = None if targets is None or old is None else {*old, *targets}
    order = ("patched", "pristine", "arm64", "pristine-arm64", "targets")
    for which in sorted(needs, key=order.index):
        targets = sorted(needs[which]) if needs[which] else None
        if which == "targets":
            emulators.build_targets("patched", targets)
        elif not which.endswith("arm64"):
            emulators.build(which, targets)
        elif cross.needed():
            cross.build(targets, "patched" if which == "arm64" else "pristine")
    for suite in wanted:
        if suite in sanitized.SUITES:
            sanitized.build(suite)
    if set(wanted) & set(BOOTING):
        fetch()
    if {"distribution", discovery.LONG["distribution"]} & set(wanted):
        install_distribution()
    if "packages" in wanted:
        build_packages()
    if "vfio" in wanted and cross.needed():
        libvirtlab.fetch()
    if "vfio-iommufd" in wanted and cross.needed():
        build_linux()
    if "fuzz" in wanted:
        build_fuzzer()


def fetch():
    """Have kernels and firmware before the tests, which run side by side and against the clock."""
    from ..guest import assets, modules  # not needed for most suites
    try:
        for version in assets.firmware_names():
            assets.firmware(version)
        for name in assets.kernel_names():
            assets.kernel(name)
        assets.initrd_kexec()
        for name in assets.kernel_names():
            modules.files(name)
        cross.toolchain()          # for programs that guests run
    except WorkbenchError as error:
        # What can be tested without is tested; the others say themselves what they lack.
        info(f"Not all that guests need can be had: {error}")


def install_distribution():
    """Have the disk image of a Debian; the tests say themselves what they lack."""
    from ..distribution import image  # not needed for most suites
    try:
        image.disk()
    except WorkbenchError as error:
        info(f"Debian is not tested: {error}")


def build_packages():
    """Have the packages, of what is in build/qemu now."""
    from ..packages import deb, rpm  # not needed for most suites
    for release in deb.RELEASES:
        deb.build(release)
    rpm.build()


def build_linux():
    """Have the kernels of our own for the Arm host, with their modules."""
    from ..lab import kernels  # not needed for most suites
    for name in linux.names():
        kernels.kernel(name)
        kernels.module_files(name)


def build_fuzzer():
    """Have QEMU with libFuzzer."""
    from ..fuzz import builder  # not needed for most suites
    builder.build()


def fetch_libvirt():
    """Have what the examples are tested with; the tests say themselves what they lack."""
    try:
        host.require("libvirt")
        libvirt.driver()
    except WorkbenchError as error:
        info(f"The examples are not tested with libvirt: {error}")


def configure():
    """Have the Meson build folder of the workbench itself, with all tests that exist now."""
    paths.MESON.mkdir(parents=True, exist_ok=True)
    command = tools.meson() + ["setup"]
    if (paths.MESON / "build.ninja").exists():
        command.append("--reconfigure")
    log = paths.LOGS / "meson-setup.log"
    if run(command + [paths.MESON, paths.TOP], what="Configuring the tests", log=log,
           env=tools.environment(), check=False):
        # An interrupted or moved folder cannot be configured again; it costs a second to remake.
        shutil.rmtree(paths.MESON)
        run(tools.meson() + ["setup", paths.MESON, paths.TOP], what="Configuring the tests",
            log=log, env=tools.environment())


def execute(wanted, factor, more):
    """Run the suites with the environment MORE; returns (list of Case, seconds by test)."""
    results = paths.MESON / "meson-logs/testlog.json"
    results.unlink(missing_ok=True)
    command = [tools.PYTHON, reaper.__file__, *tools.meson(), "test", "-C", paths.MESON,
               "--no-rebuild", "-t", factor]
    for suite in wanted:
        command += ["--suite", suite]
    step("Running the suites " + ", ".join(wanted))

    def show(line):
        if re.match(r" *\d+/\d+ ", line):
            info(" ".join(line.split()))
        return ""

    log = paths.LOGS / "test.log"
    env = tools.environment()
    env["GUEST_TIMEOUT_FACTOR"] = str(factor)
    env.update(more)
    run(command, what="Running tests", log=log, env=env, parse=show, check=False)
    if not results.exists():
        raise WorkbenchError(f"Meson ran no tests of {', '.join(wanted)}; its output: {log}")
    cases, seconds = [], {}
    _log("any").parent.mkdir(parents=True, exist_ok=True)
    for line in results.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = json.loads(line)
        name = test_name(entry["name"])
        text = entry.get("stdout", "") + entry.get("stderr", "")
        _log(name).write_text(text, encoding="utf-8")
        cases += cases_of(name, entry["result"], entry.get("stdout", ""), text)
        seconds[name] = entry["duration"]
    return cases, seconds


def test_name(name):
    """Meson's "project:suite / name" or "suite - project:name" as suite/name."""
    found = {f"{t.suite}/{t.name}" for t in discovery.discover()} | {"series/check"}
    last = re.split(r" / |:", name)[-1].strip()
    return last if last in found else name.replace(" ", "")


def cases_of(test, result, stdout, text):
    """The single cases of one Meson test; result is Meson's verdict over all of it.

    By hand because Meson's JUnit file drops the reasons of skips.
    """
    cases = []
    for line in stdout.splitlines():
        plan = re.match(r"1\.\.0\s*#\s*SKIP\S*\s*(.*)", line, re.I)
        if plan:
            cases.append(Case(test, "all", "skip", plan.group(1)))
        match = re.match(r"(not )?ok\b\s*\d*\s*-?\s*(.*)", line)
        if not match:
            continue
        name, _, directive = match.group(2).partition(" # ")
        word = re.match(r"(SKIP|TODO)\S*\s*(.*)", directive, re.I)
        if word and word.group(1).upper() == "SKIP":
            cases.append(Case(test, name.strip(), "skip", word.group(2)))
        elif match.group(1) and not word:
            cases.append(Case(test, name.strip(), "fail", ""))
        elif not match.group(1):
            cases.append(Case(test, name.strip(), "pass", ""))
    if result in ("OK", "EXPECTEDFAIL", "SKIP"):
        if not cases:
            outcome = "skip" if result == "SKIP" else "pass"
            last = (text.strip().splitlines() or [""])[-1]
            cases.append(Case(test, "all", outcome, last if outcome == "skip" else ""))
    elif not any(c.outcome == "fail" for c in cases):
        # Ended early, hung, or broke off: what it did not come to is not counted as passed.
        cases.append(Case(test, "all", "fail", {"TIMEOUT": "timed out"}.get(result, result)))
    return cases


def _log(test):
    """Where the output of the test is kept."""
    return paths.LOGS / "tests" / (test.replace("/", "-") + ".log")


def notes(log):
    """What the tests with the output LOG want to have shown, also of a run that is good."""
    if not log.exists():
        return []
    return re.findall(r"^# note: (.*)$", log.read_text(encoding="utf-8"), re.M)


def summary(cases, seconds):
    """Print notes, skips with their reasons, failures with the end of their output, and the counts."""
    count = {"pass": 0, "fail": 0, "skip": 0}
    for case in cases:
        count[case.outcome] += 1
    for test in dict.fromkeys(c.test for c in cases):
        mine = [c for c in cases if c.test == test]
        numbers = ", ".join(f"{sum(c.outcome == o for c in mine)} {word}" for o, word in
                            (("pass", "passed"), ("fail", "failed"), ("skip", "skipped"))
                            if any(c.outcome == o for c in mine))
        print(f"{test}: {numbers} ({duration(seconds.get(test, 0))})")
    for test in dict.fromkeys(c.test for c in cases):
        for note in notes(_log(test)):
            print(f"note: {test}: {note}")
    for case in cases:
        if case.outcome == "skip":
            print(f"skipped: {case.test}: {case.name}: {case.reason or 'no reason given'}")
    for test in dict.fromkeys(c.test for c in cases if c.outcome == "fail"):
        log = _log(test)
        for case in cases:
            if case.test == test and case.outcome == "fail":
                print(f"FAILED: {test}: {case.name}" + (f" ({case.reason})" if case.reason
                                                         else ""))
        if not log.exists():
            continue
        lines = log.read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if not re.match(r"ok\b", line)]
        print(f"The last lines of {log}:")
        for line in lines[-SHOWN:]:
            print(f"    {line}")
    print(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
    return 1 if count["fail"] or not cases else 0
