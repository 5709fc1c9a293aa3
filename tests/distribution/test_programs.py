#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900
"""What programs and services of Debian make of CPUs that come and go."""

import re
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import distributioncase  # noqa: E402
import nodecases  # noqa: E402
from timeserver import TimeServer  # noqa: E402
from workbench.guest.cpus import format_list, parse_list  # noqa: E402

CONTROL_GROUPS = "/sys/fs/cgroup/system.slice"


class ProgramCase(distributioncase.SharedCase):
    """CPUs 0 to 3 are of node 0, CPUs 4 to 7 of node 1; CPUs 0 and 1 are there at the start."""

    options = {"smp": nodecases.SHAPE, "extra": [*nodecases.memory("1G"), *nodecases.SOCKETS]}

    def come(self, guest, cpus, *numbers):
        """The CPUs NUMBERS are plugged, and go online by the rule of examples/."""
        self.add_rule(guest)
        before = cpus.view().online
        for number in numbers:
            cpus.add(number)
        self.wait_online(cpus, before | set(numbers))

    def start_unit(self, guest, name, command, *properties):
        """Run COMMAND as the service NAME with PROPERTIES; it ends with the test."""
        options = " ".join(f"--property={text}" for text in properties)
        self.addCleanup(guest.run, f"systemctl stop {name}; systemctl reset-failed {name}")
        return guest.run(f"systemd-run --quiet --collect --unit={name} {options} {command}", 60)


class Programs(ProgramCase):

    def test_nodes(self):
        """lscpu and numactl show an added CPU in the node of its slot."""
        guest, cpus = self.shared()
        self.come(guest, cpus, 5, 2)
        self.assertEqual(guest.check("lscpu --parse=CPU,NODE | grep -v ^#").split(),
                         ["0,0", "1,0", "2,0", "5,1"])
        self.assertEqual(re.findall(r"^node (\d) cpus: (.*)$", guest.check("numactl --hardware"),
                                    re.M), [("0", "0 1 2"), ("1", "5")])
        where = guest.check("numactl --cpunodebind=1 --membind=1 sh -c "
                            "'grep Cpus_allowed_list /proc/self/status'")
        self.assertEqual(where.split()[-1], "5")
        cpus.unplug(5)
        self.assertEqual(re.findall(r"^node 1 cpus:(.*)$", guest.check("numactl --hardware"), re.M),
                         [""])

    def test_irqbalance(self):
        """irqbalance goes on, and knows a CPU that has come."""
        guest, cpus = self.shared()
        pid = guest.check("systemctl show --property=MainPID --value irqbalance")
        self.assertNotEqual(pid, "0", guest.run("systemctl status irqbalance")[1])
        self.come(guest, cpus, 3, 6)
        found = guest.check("irqbalance --debug --oneshot", 60)
        self.assertEqual({int(number) for number in re.findall(r"CPU number (\d+)", found)},
                         {0, 1, 3, 6}, found)
        for number in (3, 6):
            cpus.unplug(number)
        self.assertEqual(guest.check("systemctl show --property=MainPID --value irqbalance"), pid)
        self.assertEqual(guest.check("systemctl is-active irqbalance"), "active")

    def test_perf(self):
        """perf counts on an added CPU by its PMU, and takes samples there."""
        guest, cpus = self.shared()
        self.come(guest, cpus, 4)
        busy = "taskset -c 4 timeout 1 sh -c 'while :; do :; done'"
        found = guest.run(f"perf stat -x, -e cycles -C 4 {busy} 2>&1", 60)[1]
        count, _, event = found.splitlines()[-1].split(",")[:3]
        self.assertTrue(count.isdecimal() and int(count) > 10**6, found)
        self.assertIn("cycles", event)
        guest.run(f"perf record -q -o /tmp/perf.data -e cycles -C 4 {busy}", 60)
        samples = guest.check("perf script -i /tmp/perf.data -F cpu 2> /dev/null | sort | uniq -c",
                              60)
        self.assertRegex(samples.strip(), r"^\d+ \[004\]$")

    def effective(self, guest, unit):
        """The CPUs that the control group of the service UNIT may use now."""
        return parse_list(guest.check(f"cat {CONTROL_GROUPS}/{unit}.service/cpuset.cpus.effective"))

    def test_cpusets(self):
        """A control group gets a CPU that it asks for when that comes, and others when it goes."""
        guest, cpus = self.shared()
        self.assertEqual(self.start_unit(guest, "confined", "sleep infinity", "AllowedCPUs=1,5"),
                         (0, ""))
        self.assertEqual(self.effective(guest, "confined"), {1})
        self.come(guest, cpus, 5)
        self.wait_effective(guest, "confined", {1, 5})
        cpus.unplug(5)
        self.wait_effective(guest, "confined", {1})
        # One that has nothing left takes what is above it.
        self.assertEqual(self.start_unit(guest, "alone", "sleep infinity", "AllowedCPUs=6"),
                         (0, ""))
        self.wait_effective(guest, "alone", {0, 1})
        self.come(guest, cpus, 6)
        self.wait_effective(guest, "alone", {6})
        self.assertEqual(self.affinity(guest, "alone"), {6})
        cpus.unplug(6)
        self.wait_effective(guest, "alone", {0, 1})
        self.assertEqual(self.affinity(guest, "alone"), {0, 1})

    def wait_effective(self, guest, unit, numbers):
        """Wait until the control group of UNIT may use exactly the CPUs NUMBERS."""
        guest.wait_for(lambda: self.effective(guest, unit) == numbers,
                       lambda: f"CPUs {format_list(numbers)} for {unit}, which has "
                       + format_list(self.effective(guest, unit)))

    def affinity(self, guest, unit):
        """The CPUs on which the main process of UNIT may run now."""
        pid = guest.check(f"systemctl show --property=MainPID --value {unit}")
        return parse_list(guest.check(f"taskset --pid --cpu-list {pid}").rpartition(": ")[2])

    def test_affinity(self):
        """A service with CPUAffinity= starts when the CPU is there, and survives its removal."""
        guest, cpus = self.shared()
        # It wakes up now and then: Linux gives others to what sleeps when that wakes up.
        command = "sh -c 'while sleep 0.2; do :; done'"
        self.start_unit(guest, "bound", command, "CPUAffinity=7")
        guest.wait_for(lambda: guest.run("systemctl is-active bound")[1] != "active",
                       "the end of a service that is bound to a CPU that is not there")
        self.come(guest, cpus, 7)
        self.assertEqual(self.start_unit(guest, "bound", command, "CPUAffinity=7"), (0, ""))
        self.assertEqual(self.affinity(guest, "bound"), {7})
        cpus.unplug(7)
        guest.wait_for(lambda: self.affinity(guest, "bound") == {0, 1},
                       lambda: f"other CPUs for the service, which has "
                       f"{self.affinity(guest, 'bound')}")
        self.assertEqual(guest.check("systemctl is-active bound"), "active")


class Load(ProgramCase):
    """In a guest of its own: Linux 6.12 keeps services on the CPUs that were there when the last
    cpuset ended, also if the guest itself has put the others offline and online."""

    def test_load(self):
        """CPUs go while stress-ng is busy on all of them."""
        guest, cpus = self.shared()
        self.come(guest, cpus, *range(2, 8))
        self.start_unit(guest, "load", "stress-ng --cpu 8 --timeout 0")
        self.wait_busy(guest, range(8))
        times = []
        for number in (7, 2, 5, 3, 6, 4):
            begin = time.monotonic()
            cpus.wait_deleted(cpus.delete(number))
            times.append(f"{time.monotonic() - begin:.1f}")
        print(f"note: seconds from device_del to DEVICE_DELETED under load: {', '.join(times)}")
        cpus.wait_view("only CPUs 0 and 1", enabled=range(2), online=range(2))
        self.assertEqual(guest.check("systemctl is-active load"), "active")
        # And they come back to it.
        self.come(guest, cpus, 4)
        self.wait_busy(guest, {0, 1, 4})
        self.assert_sound(guest)

    def wait_busy(self, guest, numbers):
        """Wait until stress-ng was seen on all CPUs NUMBERS, and on no other."""
        seen = set()

        def everywhere():
            found = guest.run("ps -C stress-ng-cpu -o psr=")[1].split()
            seen.update(int(number) for number in found)
            return seen == set(numbers)

        guest.wait_for(everywhere, lambda: f"load on CPUs {format_list(numbers)}, seen was some on "
                       + format_list(seen), 60)


class Clock(distributioncase.DistributionCase):

    def test_chrony(self):
        """Clocks go on as before while CPUs come and go, which chrony sees, too."""
        server = TimeServer()
        self.addCleanup(server.close)
        guest, cpus = self.boot(self.installed(extra=[
            "-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile="]))
        self.add_rule(guest)
        guest.check("name=$(cd /sys/class/net; ls -d en*); ip link set $name up && "
                    "ip address add 10.0.2.15/24 dev $name")
        self.put(guest, "/etc/chrony/chrony.conf",
                 f"server 10.0.2.2 port {server.port} iburst minpoll 0 maxpoll 1\n"
                 "driftfile /var/lib/chrony/chrony.drift\nmakestep 1 3\n")
        guest.check("systemctl restart chrony", 60)
        guest.check("chronyc waitsync 60 0.05 0 1", 120)
        begin = self.both_clocks(guest)
        for _ in range(3):
            for number in range(2, 6):
                cpus.add(number)
            self.wait_online(cpus, range(6))
            self.assert_clocks_agree(guest, range(6))
            for number in range(2, 6):
                cpus.wait_deleted(cpus.delete(number))
            cpus.wait_view("added CPUs gone", enabled=range(2), online=range(2))
        end = self.both_clocks(guest)
        guest_time, host_time = (after - before for before, after in zip(begin, end))
        # It takes this long to ask: a second each time on a machine that is busy.
        self.assertLess(abs(guest_time - host_time), 2, f"seconds that have gone by in the guest, "
                        f"{guest_time:.2f}, and outside, {host_time:.2f}")
        tracking = guest.check("chronyc tracking")
        offset = float(re.search(r"^Last offset +: ([-+.\d]+) seconds", tracking, re.M)[1])
        self.assertLess(abs(offset), 0.5, tracking)
        self.assertRegex(tracking, r"Leap status +: Normal")
        # A clock that was put right at once is a message, after the first at the start.
        self.assertEqual(guest.run("journalctl -b -u chrony --grep 'System clock was stepped' "
                                   "--quiet | tail -n +2")[1], "", "steps of the clock")
        print(f"note: last offset by chrony {offset * 1000:.2f} ms; "
              f"{guest_time:.2f} s in the guest, {host_time:.2f} s outside")
        self.assert_sound(guest)

    def both_clocks(self, guest):
        """(uptime of the guest, monotonic time of this machine) in seconds, at the same time."""
        uptime = float(guest.check("cut -d' ' -f1 /proc/uptime"))
        return uptime, time.monotonic()

    def assert_clocks_agree(self, guest, numbers):
        """Time does not go back from one CPU to the next, round after round."""
        lines = guest.check(
            "for lap in 1 2 3; do for cpu in " + " ".join(map(str, numbers))
            + "; do taskset -c $cpu date +%s.%N; done; done", 60).split()
        times = [float(line) for line in lines]
        self.assertEqual(times, sorted(times))


if __name__ == "__main__":
    distributioncase.main()
