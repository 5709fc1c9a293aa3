# SPDX-License-Identifier: GPL-2.0-or-later
"""What each release of libvirt is asked to do with a guest, and how it answers.

For a LibvirtCase. A class that says otherwise than these expects it of its release.
"""

import libvirtcase
import restartcases
from burden import burden, relieve, wait_used
from libvirtcase import PLUG_SECONDS
from shareddomain import SharedDomain
from workbench.guest.cpus import SYSFS
from workbench.guest.qemu import GuestError

VCPUS = """<vcpu current='2'>8</vcpu><vcpus>
  <vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>
  <vcpu id='1' enabled='yes' hotpluggable='yes' order='2'/>""" + "".join(
      f"<vcpu id='{number}' enabled='no' hotpluggable='yes'/>"
      for number in range(2, 8)) + "</vcpus>"
# To which CPU of the host vCPU 3 is bound when it comes.
PINNED = "<cputune><vcpupin vcpu='3' cpuset='0'/></cputune>"
NUMA = ("<numa><cell id='0' cpus='0-3' memory='256' unit='MiB'/>"
        "<cell id='1' cpus='4-7' memory='256' unit='MiB'/></numa>")
DISK_SIZE = 4 << 20
# The class of root ports, as Linux shows it.
BRIDGE = "0x060400"
# What QEMU from 11.0 on says to the argument that old versions send with "migrate".
DETACH = r"unable to execute QEMU command 'migrate': Parameter 'detach' is unexpected"
# The same to a file that is given as "fd:".
NO_FILE = r"'migrate-incoming': fd: migration to a file is not supported. Use file: instead"
REFUSED_BY_GUEST = "unplug of device was rejected by the guest"
NO_OPTION = r"command '\w+' doesn't support option --"
# What libvirt itself says to what is asked of a domain with VCPUS.
REFUSALS = (
    ("vcpu '0' can't be unplugged", "setvcpu", "0", "--disable", "--live"),
    ("vcpu '1' is already in requested state", "setvcpu", "1", "--enable", "--live"),
    ("greater than max allowable vcpus for the live domain: 9 > 8", "setvcpus", "9", "--live"),
    ("vcpu 8 is not present in live config", "setvcpu", "8", "--enable", "--live"))


def root_ports(domain):
    """The numbers of the buses behind the root ports of DOMAIN, an element, the last one last."""
    return sorted(int(controller.get("index")) for controller in
                  domain.findall("devices/controller[@model='pcie-root-port']"))


def describe_disk(image, bus=None, target="vda"):
    """The text of a disk with what is in the file IMAGE, in the root port with BUS if given."""
    address = ("" if bus is None else
               f"<address type='pci' domain='0' bus='{bus}' slot='0' function='0'/>")
    return f"""<disk type='file' device='disk'>
        <driver name='qemu' type='raw'/><source file='{image}'/>
        <target dev='{target}' bus='virtio'/>{address}</disk>"""


class Disk:
    """A disk for a domain. For a LibvirtCase."""

    def image(self, name="disk.raw"):
        """Make an empty image; returns its path."""
        path = self.file(name, "")
        with open(path, "r+b") as file:
            file.truncate(DISK_SIZE)
        return path

    def check_disk(self, guest):
        """The guest has all root ports; a disk comes into the last one, can be read, and goes."""
        ports = root_ports(guest.daemon.xml(guest.name))
        self.assertEqual(guest.check(f"cat /sys/bus/pci/devices/*/class | grep -c {BRIDGE}"),
                         str(len(ports)), "root ports")
        device = self.file("disk.xml", describe_disk(self.image(), ports[-1]))
        guest.virsh("attach-device", device, "--live")
        alias = guest.daemon.xml(guest.name).find("devices/disk/alias").get("name")
        bus = guest.qmp("qom-get", {"path": f"/machine/peripheral/{alias}",
                                    "property": "parent_bus"})
        self.assertEqual(bus.rpartition("/")[2], f"pci.{ports[-1]}")
        guest.wait_for(lambda: guest.run("ls /dev/vda")[0] == 0, "the attached disk", PLUG_SECONDS)
        self.assertEqual(int(guest.check("cat /sys/block/vda/size")) * 512, DISK_SIZE)
        guest.check("dd if=/dev/vda of=/dev/null bs=64k")
        guest.patient("detach-device", device, "--live")
        guest.wait_for(lambda: "vda" not in guest.virsh("domblklist"),
                       "libvirt to have let go the disk", PLUG_SECONDS)
        self.assertNotEqual(guest.run("ls /dev/vda")[0], 0)


class LifeCases(Disk, SharedDomain):
    """What is done with a running domain. Tests take turns with one guest (shareddomain.py)."""

    # Whether it can be saved and migrated, and what is said otherwise.
    saves = None
    # Whether what was saved can be restored, and what is said otherwise.
    restores = None
    # vCPUs at the start.
    start = range(2)

    # --- life ----------------------------------------------------------------------------------

    def test_suspend(self):
        """A suspended domain does nothing, and goes on where it was."""
        guest = self.domain()
        guest.virsh("suspend")
        self.assertEqual(self.daemon.state(guest.name), "paused")
        self.while_suspended(guest)
        guest.virsh("resume")
        self.assert_vcpus(guest, self.start)

    def while_suspended(self, guest):
        """What else is done meanwhile."""

    def test_disk(self):
        """A disk comes into the last root port, can be read, and goes."""
        self.check_disk(self.domain())

    def test_interface(self):
        """A network interface comes, works, and goes."""
        guest = self.domain()
        device = self.file("interface.xml", """<interface type='user'>
            <mac address='52:54:00:11:22:33'/><model type='virtio'/><rom enabled='no'/>
            </interface>""")
        guest.virsh("attach-device", device, "--live")
        guest.wait_for(lambda: self.interfaces(guest), "the attached interface", PLUG_SECONDS)
        name, = self.interfaces(guest)
        guest.check(f"ip address add 10.0.2.15/24 dev {name}; ip link set {name} up")
        # The answer comes from QEMU's own network.
        guest.wait_for(lambda: guest.run("ping -c 1 -W 5 10.0.2.2")[0] == 0, "network",
                       PLUG_SECONDS)
        guest.patient("detach-device", device, "--live")
        guest.wait_for(lambda: "52:54:00:11:22:33" not in guest.virsh("domiflist"),
                       "libvirt to have let go the interface", PLUG_SECONDS)
        self.assertEqual(self.interfaces(guest), [])

    def interfaces(self, guest):
        """The network interfaces of the guest but the loopback one."""
        return [name for name in guest.check("ls /sys/class/net").split() if name != "lo"]

    # --- saved and moved -----------------------------------------------------------------------

    def test_save(self):
        """A domain is saved to a file and restored from it, or goes on if that is not possible."""
        guest = self.changed()
        path = self.shared / "saved"
        self.addCleanup(path.unlink, missing_ok=True)
        if self.saves:
            self.assert_goes_on(guest, self.saves, guest.virsh, "save", path)
            return
        guest.virsh("save", path)
        self.assertEqual(self.daemon.state(guest.name), "shut off")
        if self.restores:
            self.assert_not_restored(guest, self.daemon, "restore", path)
            return
        self.daemon("restore", path)
        guest.connect()
        self.assert_goes_on(guest)

    def test_managed_save(self):
        """The same with the file that libvirt keeps, and "start"."""
        guest = self.changed()
        if self.saves:
            self.assert_goes_on(guest, self.saves, guest.virsh, "managedsave")
            return
        guest.virsh("managedsave")
        self.assertEqual(self.daemon.state(guest.name), "shut off")
        if self.restores:
            self.assert_not_restored(guest, guest.virsh, "start")
            return
        guest.virsh("start")
        guest.connect()
        self.assert_goes_on(guest)

    def test_migrate(self):
        """A domain moves to another daemon, which virsh tells, and back, which the daemon does."""
        guest = self.changed()
        here, there = self.daemon, self.second()
        self.addCleanup(there.end, guest.name)
        socket = self.shared / "migration"
        words = ("--live", there.uri, "--migrateuri", f"unix://{socket}")
        if self.saves:
            # The QEMU that waits there ends when libvirt gives up.
            self.expect("Failed to peek at channel$", "shutting down, reason=crashed$")
            self.assert_goes_on(guest, self.saves, guest.virsh, "migrate", *words)
            return
        guest.virsh("migrate", *words)
        self.arrive(guest, here, there)
        self.move_on(guest)
        guest.virsh("migrate", "--live", "--p2p", here.uri, "--migrateuri", "tcp://127.0.0.1")
        self.arrive(guest, there, here)
        self.assert_goes_on(guest)

    def arrive(self, guest, source, target):
        """The guest has moved from SOURCE to TARGET and is running there."""
        self.assertNotEqual(source.state(guest.name), "running")
        self.assertEqual(target.state(guest.name), "running")
        guest.daemon = target
        guest.connect()
        guest.check("true")

    # --- hooks for what is different with vCPUs that come and go ---------------------------------

    def changed(self):
        """The domain, changed so that what has to be kept differs from how it was started."""
        guest = self.domain()
        guest.check("echo kept > /tmp/mark")
        return guest

    def move_on(self, guest):
        """What is done between two moves."""

    def assert_goes_on(self, guest, pattern=None, function=None, *arguments):
        """The guest of changed() goes on as it was.

        If FUNCTION(ARGUMENTS) is given, virsh refuses it before with a message like PATTERN.
        """
        if function:
            self.refused(pattern, function, *arguments)
            guest.wait_for(lambda: self.daemon.state(guest.name) == "running",
                           "the domain to run again")
        self.assertEqual(guest.check("cat /tmp/mark"), "kept")

    def assert_not_restored(self, guest, function, *arguments):
        """What was saved cannot be restored; the domain starts from the beginning."""
        self.refused(self.restores, function, *arguments)
        self.assertEqual(self.daemon.state(guest.name), "shut off")
        self.daemon.virsh("managedsave-remove", guest.name)
        guest.virsh("start")
        guest.connect()
        guest.wait_ready()

    def assert_vcpus(self, guest, numbers):
        """The vCPUs NUMBERS are online in the guest, and libvirt counts as many."""
        guest.cpus.wait_view(f"vCPUs {sorted(numbers)}", online=numbers)
        self.assertEqual(guest.count(), len(numbers))


class ActiveCases(LifeCases):
    """A domain whose vCPUs can be plugged, with sockets, threads and nodes."""

    # The attribute "clusters" is there since 10.1.
    topology = "sockets='2' clusters='2' cores='1' threads='2'"
    # {sysfs file of CPU 6: what is in it}
    shape = {"topology/package_cpus_list": "6-7", "topology/thread_siblings_list": "6-7"}

    def describe(self):
        return libvirtcase.describe("active", VCPUS, f"<topology {self.topology}/>{NUMA}", ports=28,
                                    extra=PINNED)

    def to_start(self, guest):
        for number in sorted(self.enabled(guest) - set(self.start)):
            guest.patient("setvcpu", number, "--disable", "--live")
        if not self.enabled(guest) >= set(self.start):
            raise GuestError(f"vCPUs {self.enabled(guest)} are left")
        for number in self.start:
            guest.run(f"echo 1 > {SYSFS}/cpu{number}/online")
        self.assert_vcpus(guest, self.start)

    def enabled(self, guest):
        """The vCPUs that the running domain has by libvirt."""
        return {int(vcpu.get("id")) for vcpu in guest.daemon.xml(guest.name).findall("vcpus/vcpu")
                if vcpu.get("enabled") == "yes"}

    def online(self, guest, *numbers):
        """Bring vCPUs online in the guest, when they have come."""
        for number in numbers:
            guest.cpus.wait_enabled(number, PLUG_SECONDS)
            guest.cpus.bring_online(number)

    def plug(self, guest, number):
        """Enable one vCPU and have the guest use it."""
        guest.virsh("setvcpu", number, "--enable", "--live")
        self.online(guest, number)

    def changed(self):
        guest = super().changed()
        self.plug(guest, 6)
        return guest

    def move_on(self, guest):
        self.plug(guest, 3)
        guest.patient("setvcpu", 3, "--disable", "--live")

    def assert_goes_on(self, guest, pattern=None, function=None, *arguments):
        super().assert_goes_on(guest, pattern, function, *arguments)
        numbers = {*self.start, 6}
        self.assert_vcpus(guest, numbers)
        self.assertEqual(self.enabled(guest), numbers)
        guest.cpus.work(numbers, 200)
        self.plug(guest, 4)
        guest.patient("setvcpu", 6, "--disable", "--live")
        self.assert_vcpus(guest, {*self.start, 4})

    def while_suspended(self, guest):
        guest.virsh("setvcpus", 3, "--live")
        self.assertEqual(guest.count(), 3)
        guest.virsh("resume")
        self.online(guest, 2)
        guest.patient("setvcpus", 2, "--live")
        guest.virsh("suspend")

    # --- vCPUs ---------------------------------------------------------------------------------

    def test_setvcpus(self):
        """The number of vCPUs goes up and down; each has its place in topology and nodes."""
        guest = self.domain()
        guest.virsh("setvcpus", 5, "--live")
        self.online(guest, 2, 3, 4)
        self.assert_vcpus(guest, range(5))
        guest.cpus.work(range(5), 200)
        guest.check(f"ls -d {SYSFS}/cpu3/node0 {SYSFS}/cpu4/node1")
        self.assertEqual(len(guest.virsh("vcpuinfo").split("VCPU:")) - 1, 5)
        guest.patient("setvcpus", 2, "--live")
        self.assert_vcpus(guest, range(2))
        self.assertNotEqual(guest.run(f"ls {SYSFS}/cpu4/online")[0], 0)

    def test_setvcpu(self):
        """Single vCPUs come in any order, which libvirt notes, and go."""
        guest = self.domain()
        self.plug(guest, 7)
        self.plug(guest, 6)
        self.assert_vcpus(guest, {0, 1, 6, 7})
        for name, value in self.shape.items():
            self.assertEqual(guest.check(f"cat {SYSFS}/cpu6/{name}"), value, name)
        vcpus = {vcpu.get("id"): vcpu for vcpu in
                 guest.daemon.xml(guest.name).findall("vcpus/vcpu")}
        self.assertEqual([vcpus[name].get("order") for name in "017632"],
                         ["1", "2", "3", "4", None, None])
        guest.patient("setvcpu", 7, "--disable", "--live")
        self.assert_vcpus(guest, {0, 1, 6})
        # One that was there at the start.
        guest.patient("setvcpu", 1, "--disable", "--live")
        self.assert_vcpus(guest, {0, 6})
        self.plug(guest, 1)

    # How often vCPUs come and go under load.
    rounds = 2

    def test_load(self):
        """vCPUs come, are used, and go while they are busy."""
        guest = self.domain()
        for _ in range(self.rounds):
            guest.virsh("setvcpus", 4, "--live")
            self.online(guest, 2, 3)
            burden(guest, (1, 2, 3))
            wait_used(guest, (2, 3), PLUG_SECONDS)
            guest.patient("setvcpus", 2, "--live")
            self.assert_vcpus(guest, range(2))
            relieve(guest, (1, 2, 3))

    def test_pinning(self):
        """Threads of vCPUs are bound as the domain says when they come, and later by virsh."""
        guest = self.domain()
        everywhere = self.affinity(guest)[0]
        guest.virsh("setvcpus", 4, "--live")
        bound = "y" + "-" * (len(everywhere) - 1)
        self.assertEqual(self.affinity(guest), [everywhere, everywhere, everywhere, bound])
        guest.virsh("vcpupin", 2, "0", "--live")
        self.assertEqual(self.affinity(guest)[2], bound)
        self.online(guest, 2, 3)
        guest.cpus.work((2, 3), 200)
        guest.patient("setvcpus", 2, "--live")
        self.assertEqual(self.affinity(guest), [everywhere, everywhere])
        self.plug(guest, 3)
        self.assertEqual(self.affinity(guest)[2], bound)

    def affinity(self, guest):
        """The affinity of each vCPU's thread as libvirt reads it, a letter for each host CPU."""
        return [line.split()[-1] for line in guest.virsh("vcpuinfo").splitlines()
                if line.startswith("CPU Affinity:")]

    def test_config(self):
        """The number for the next start is another one, and both can be changed at once."""
        guest = self.domain()
        guest.virsh("setvcpus", 4, "--config")
        self.assertEqual(guest.virsh("vcpucount", "--config", "--current"), "4")
        self.assertEqual(guest.count(), 2)
        guest.virsh("setvcpus", 3, "--live", "--config")
        self.online(guest, 2)
        self.assertEqual(guest.virsh("vcpucount", "--config", "--current"), "3")
        self.assert_vcpus(guest, range(3))
        guest.patient("setvcpus", 2, "--live", "--config")
        self.assert_vcpus(guest, range(2))

    # Whether a removal can be asked for without a wait, and there is an event when it is done.
    removes_later = True

    def test_removal_without_waiting(self):
        """A request to remove vCPUs returns at once, and an event follows for each."""
        guest = self.domain()
        words = ("setvcpus", 2, "--live", "--async")
        if not self.removes_later:
            self.refused(NO_OPTION + "async", guest.virsh, *words)
            return
        events = self.daemon.events("vcpu-removed")
        guest.virsh("setvcpus", 4, "--live")
        self.online(guest, 2, 3)
        guest.virsh(*words)
        guest.wait_for(lambda: all(f"vcpu {number}" in events.errors() for number in (2, 3)),
                       lambda: f"events of vCPUs 2 and 3; came: {events.errors()}", PLUG_SECONDS)
        events.kill()
        self.assert_vcpus(guest, range(2))

    # --- restarts ------------------------------------------------------------------------------

    def test_reboot(self):
        """A domain reboots by itself and by virsh; its vCPUs are the same, and can be removed."""
        guest = self.changed()
        numbers = {*self.start, 6}
        guest.console.send("reboot -f")
        guest.wait_ready()
        self.assert_vcpus(guest, numbers)
        self.plug(guest, 3)
        restartcases.press_button(guest, lambda: guest.virsh("reboot", "--mode", "acpi"))
        # As a guest with a program for that does it. libvirt resets the machine then.
        guest.console.send("poweroff -f")
        guest.wait_ready()
        numbers.add(3)
        self.assertEqual(self.daemon.state(guest.name), "running")
        self.assert_vcpus(guest, numbers)
        self.assertEqual(self.enabled(guest), numbers)
        guest.patient("setvcpu", 6, "--disable", "--live")
        guest.patient("setvcpu", 3, "--disable", "--live")
        self.assert_vcpus(guest, self.start)

    def test_daemon_restart(self):
        """Another daemon finds the domain with its vCPUs, and adds and removes some.

        The first daemon ends in order, the second one is killed.
        """
        guest = self.changed()
        numbers = {*self.start, 6}
        for signal, more in (("TERM", 4), ("KILL", 3)):
            self.daemon.restart(signal)
            self.assertEqual(self.daemon.state(guest.name), "running")
            self.assert_vcpus(guest, numbers)
            self.assertEqual(self.enabled(guest), numbers)
            self.plug(guest, more)
            numbers.add(more)
        for number in (6, 4, 3):
            guest.patient("setvcpu", number, "--disable", "--live")
        self.assert_vcpus(guest, self.start)
        self.assertEqual(guest.check("cat /tmp/mark"), "kept")

    # --- refusals ------------------------------------------------------------------------------

    def test_refusals(self):
        """What libvirt itself refuses."""
        guest = self.domain()
        for pattern, *words in REFUSALS:
            self.refused(pattern, guest.virsh, *words)
        self.assert_vcpus(guest, range(2))

    def test_guest_refuses(self):
        """Linux keeps its last CPU that is online, and virsh says so."""
        guest = self.domain()
        self.plug(guest, 2)
        for number in (0, 1):
            guest.check(f"echo 0 > {SYSFS}/cpu{number}/online")
        try:
            self.refused(REFUSED_BY_GUEST, guest.virsh, "setvcpu", "2", "--disable", "--live")
            self.assertEqual(self.enabled(guest), {0, 1, 2})
        finally:
            for number in (0, 1):
                guest.check(f"echo 1 > {SYSFS}/cpu{number}/online")


class InactiveCases(LifeCases):
    """A domain of a released machine version, whose vCPUs cannot be plugged."""

    def describe(self):
        return libvirtcase.describe("inactive", machine="virt-11.1", ports=40)


class PortCases(Disk):
    """A domain with more root ports than those of the other classes."""

    def test_100(self):
        """A guest boots with 100 root ports; a disk comes into the last one, and goes."""
        self.check_disk(self.booted(libvirtcase.describe("ports", ports=100), self))
