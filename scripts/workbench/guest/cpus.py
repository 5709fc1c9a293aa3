# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs of a running guest, as QEMU lists them and as Linux sees them."""

from dataclasses import dataclass

from .qemu import GuestError, option

SYSFS = "/sys/devices/system/cpu"


def parse_list(text):
    """Return the set of numbers of a list as Linux writes it ("0-1,3"); None for "-"."""
    if text == "-":
        return None
    numbers = set()
    for part in text.split(",") if text not in ("", "none") else ():
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def format_list(numbers):
    """The reverse of parse_list()."""
    if numbers is None:
        return "-"
    ranges = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges) or "none"


@dataclass(frozen=True)
class View:
    """What Linux shows. ENABLED is None before kernel 6.11."""

    present: frozenset
    enabled: frozenset
    online: frozenset

    def __str__(self):
        return (f"present={format_list(self.present)} enabled={format_list(self.enabled)} "
                f"online={format_list(self.online)}")


class Cpus:
    """The CPUs of GUEST; a CPU's number is its slot's index and Linux's number alike."""

    def __init__(self, guest):
        self.guest = guest

    def slots(self):
        """The entries of query-hotpluggable-cpus, slot 0 first (QEMU lists the last one first)."""
        return self.guest.qmp("query-hotpluggable-cpus")[::-1]

    def taken(self):
        """The numbers of the slots that hold a CPU."""
        return frozenset(number for number, slot in enumerate(self.slots()) if "qom-path" in slot)

    def view(self):
        """Return the View of the guest."""
        words = self.guest.check("cpus").split()
        lists = dict(word.split("=") for word in words)
        return View(*(parse_list(lists[name]) for name in ("present", "enabled", "online")))

    def describe(self):
        """What the guest shows, and its latest kernel messages, for failure messages."""
        messages = self.guest.run("dmesg | tail -n 12")[1]
        return (f"the guest has {self.view()}; its last kernel messages:\n    "
                + messages.replace("\n", "\n    "))

    def wait_view(self, wanted, seconds=20, **lists):
        """Wait until each named list (enabled={0, 1}, ...) is as given; return the View.

        Raises GuestError after SECONDS; WANTED says there what was expected to happen.
        """
        last = None

        def reached():
            nonlocal last
            last = self.view()
            return all(getattr(last, name) == frozenset(numbers)
                       for name, numbers in lists.items())

        expected = " ".join(f"{name}={format_list(numbers)}" for name, numbers in lists.items())
        self.guest.wait_for(reached,
                            lambda: f"{wanted}: wanted {expected}; {self.describe()}", seconds)
        return last

    def arguments(self, number, ident=None):
        """The device_add arguments for slot NUMBER; the device gets the id IDENT or cpuNUMBER."""
        slot = self.slots()[number]
        return {"driver": slot["type"], "id": ident or f"cpu{number}", **slot["props"]}

    def option(self, number, ident=None):
        """The same as the text of a -device option."""
        return option(self.arguments(number, ident))

    def add(self, number, ident=None, properties=None):
        """device_add only: what the guest makes of it is not waited for. Raises Refused.

        PROPERTIES is a dictionary of further ones.
        """
        return self.guest.qmp("device_add",
                              {**self.arguments(number, ident), **(properties or {})})

    def handle(self, number):
        """What device_del takes for the CPU in slot NUMBER: its id, else its QOM path.

        Raises GuestError when the slot is empty.
        """
        path = self.slots()[number].get("qom-path")
        if path is None:
            raise GuestError(f"{self.guest.name}: slot {number} holds no CPU")
        prefix = "/machine/peripheral/"
        return path[len(prefix):] if path.startswith(prefix) else path

    def delete(self, number):
        """device_del only, for a CPU with an id or one of -smp; returns what was deleted."""
        handle = self.handle(number)
        self.guest.qmp("device_del", {"id": handle})
        return handle

    def bring_online(self, number, seconds=30):
        """Write 1 to the CPU's online file in the guest, as a udev rule or an administrator.

        Raises GuestError after SECONDS, or when the guest goes on to refuse.
        """
        # Linux refuses while it probes a PCI device, see wait_probed(). The last time, the reason
        # is to be seen.
        write = f"echo 1 > {SYSFS}/cpu{number}/online"
        self.guest.check(f"(i=0; until {write}; do [ $i -lt 500 ] || exit; usleep 10000; "
                         f"i=$((i + 1)); done) 2> /dev/null || {write}", seconds)

    def plug(self, number, ident=None):
        """Add the CPU, wait until the guest can use it and bring it online; return the View."""
        before = self.view()
        self.add(number, ident)
        self.wait_enabled(number)
        self.bring_online(number)
        return self.wait_view(f"CPU {number} online after device_add",
                              online=before.online | {number})

    def wait_enabled(self, number, seconds=20):
        """Wait until Linux, 6.11 or newer, has registered the added CPU. Raises GuestError."""
        def enabled():
            # Not whether the CPU has a folder: that of one that was there before may still be.
            status, text = self.guest.run(f"read -r list < {SYSFS}/enabled && echo $list")
            return status == 0 and number in parse_list(text)

        self.guest.wait_for(
            enabled, lambda: f"CPU {number} to be usable in the guest; {self.describe()}", seconds)

    def wait_deleted(self, handle, seconds=20):
        """Wait for DEVICE_DELETED of what delete() returned; events of others are left for them.

        Raises GuestError at once when the guest refuses.
        """
        key = "path" if handle.startswith("/") else "device"
        event = self.guest.event(("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"), seconds,
                                 **{key: handle})
        if event["event"] == "DEVICE_DELETED":
            return event
        raise GuestError(f"{self.guest.name}: the guest refused to give up {handle}: "
                         f"{event['data']}{self.guest.console.last_lines()}")

    def wait_probed(self):
        """Wait until no driver of the guest probes a PCI device that the guest shows already.

        Linux takes no CPU offline meanwhile: pci_call_probe() disables CPU hotplug, and the guest
        refuses a request to remove one.
        """
        # Linux holds the lock that this file needs while it probes the device.
        self.guest.check("cat /sys/bus/pci/devices/*/driver_override > /dev/null", 60)

    def delete_again(self, handle):
        """device_del once more for what the guest refused because it probed a PCI device."""
        self.wait_probed()
        self.guest.qmp("device_del", {"id": handle})

    def unplug(self, number):
        """Remove the CPU, wait for QEMU's and the guest's confirmation; return the View."""
        before = self.view()
        self.wait_deleted(self.delete(number))
        kept = {"online": before.online - {number}}
        if before.enabled is not None:
            kept["enabled"] = before.enabled - {number}
        return self.wait_view(f"CPU {number} gone after device_del", **kept)

    def work(self, numbers, laps=2000):
        """Run a busy loop on each CPU at once, bound to it. Raises GuestError if one did not."""
        # A second on an idle machine. Where the vCPUs' threads outnumber the host's free CPUs, each
        # fork waits for all of them in turn, because TCG invalidates TLBs with all vCPUs stopped;
        # pristine QEMU takes a minute then, too.
        return self.guest.check(f"cpu-work {laps} {' '.join(str(n) for n in sorted(numbers))}", 300)
