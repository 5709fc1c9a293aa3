#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Kata Containers: both runtimes start a guest with one vCPU, and add and remove others.

Read in kata-containers/kata-containers 7c6ba40c54ea of 2026-08-22. runtime-rs:
src/runtime-rs/crates/hypervisor/src/qemu/{cmdline_generator,inner,qmp}.rs. Go runtime:
src/runtime/virtcontainers/{qemu,qemu_arch_base,qemu_arm64}.go and src/runtime/pkg/govmm/qemu/{qemu,
qmp}.go. gic-version=host, which needs KVM, is "max" here. Left out are virtiofsd, vsock and taps.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name)
                for name in ("tests/support", "scripts")]

import clientcase  # noqa: E402
import guestcase  # noqa: E402
from workbench.guest import assets  # noqa: E402

MAXCPUS = 8             # default_maxvcpus is the number of the host's CPUs
PARAMETERS = "cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1"      # KERNELPARAMS of Arm
BRIDGE = ("-device", "pci-bridge,bus=pcie.0,id=pci-bridge-0,chassis_nr=1,shpc=off,addr=2,"
          "io-reserve=4k,mem-reserve=1m,pref64-reserve=1m")
# Guests for which hot-plug is not possible: how they differ, and how QEMU refuses to add a vCPU.
NOT_POSSIBLE = (
    ({"gic": "2"}, r"^CPU hotplug is not available on this machine: it needs a GICv3 or GICv4, "),
    # The configuration for NVIDIA without GPU: src/runtime-rs/Makefile:163.
    ({"firmware": False}, r"^CPU hotplug is not available on this machine: it needs UEFI firmware"),
    ({"options": ",cpu-hotplug=off"},
     r"^CPU hotplug is not available on this machine: it is off, "),
)


class KataCase(clientcase.ClientCase):
    """A test of a runtime; VERSION is what -machine begins with."""

    def command(self, **changes):
        """The Sent of a guest."""
        raise NotImplementedError

    def start_stopped(self, **changes):
        """Start the guest of command(CHANGES), which does not run; both QEMUs start it alike."""
        # Of the patched QEMU only are "options".
        like = {name: value for name, value in changes.items() if name != "options"}
        return self.start_client(self.command(**changes), self.command(**like), paused=True)

    def boot_client(self, **changes):
        """Start the guest of command(CHANGES), and wait for its shell."""
        guest, cpus = self.start_client(self.command(**changes))
        guest.wait_ready(clientcase.BOOT_SECONDS)
        self.assert_cpus(cpus, {0})
        return guest, cpus


class Rust(KataCase):
    """runtime-rs with static_sandbox_resource_mgmt = false."""

    # Seconds that it waits for an answer; after the first device it is 0.25 (qmp.rs:37, 38).
    QUICK = 5

    def command(self, gic="max", firmware=True, options="", ports=16):
        """The Sent of a guest: QemuCmdLine::build(), cmdline_generator.rs:3797."""
        folder = self.folder()
        words = [
            "-name", "sandbox-test", "-kernel", assets.kernel(), "-initrd", assets.initrd(),
            "-append", f"{clientcase.APPEND} {PARAMETERS} selinux=0",
            "-smp", f"1,maxcpus={MAXCPUS}",
            "-machine", f"virt,accel=tcg,usb=off,gic-version={gic},kernel_irqchip=on,"
            f"memory-backend=entire-guest-memory{options}",
            "-cpu", f"{clientcase.CPU},pmu=off", "-m", "2G,slots=10,maxmem=4G",
            "-object", "memory-backend-ram,id=entire-guest-memory,size=2G",
            "-qmp", f"unix:path={folder}/qmp.sock,server=on,wait=off",
            "-rtc", "base=utc,clock=host,driftfix=slew",
            "-object", "rng-random,id=rng0,filename=/dev/urandom",
            "-device", "virtio-rng-pci,rng=rng0", *BRIDGE,
            "-device", "virtio-scsi-pci,id=scsi0"]
        for number in range(ports):
            words += ["-device", f"pcie-root-port,id=rp{number},chassis=0,slot={number},bus=pcie.0,"
                      "multifunction=off"]
        words += ["-device", "virtio-serial-pci,id=serial0",
                  "-device", "virtconsole,id=console0,chardev=charconsole0",
                  "-chardev", f"socket,id=charconsole0,server=on,wait=off,path={folder}/console"]
        if firmware:
            words += ["-bios", assets.firmware().code]
        words += ["-vga", "none", "-no-user-config", "-nodefaults", "-nographic", "-no-reboot"]
        return clientcase.Sent(qemu=self.patched, words=words)

    def handshake(self, guest):
        """What it asks first: Qmp::new(), qmp.rs:98."""
        self.assertEqual(self.ask(guest, self.QUICK, "query-fdsets"), [])

    def plug(self, guest, count):
        """hotplug_vcpus(), qmp.rs:223; returns the ids."""
        added = []
        for slot in self.ask(guest, self.QUICK, "query-hotpluggable-cpus"):
            if len(added) == count or "qom-path" in slot:
                continue
            props = slot["props"]
            added.append(f"cpu-{props['core-id']}")
            self.ask(guest, self.QUICK, "device_add", {
                "driver": slot["type"], "id": added[-1], "core-id": props["core-id"],
                "socket-id": props["socket-id"], "thread-id": props["thread-id"]})
        return added

    def unplug(self, guest, count):
        """hotunplug_vcpus(), qmp.rs:294; returns the ids, for which it does not wait."""
        removed = []
        for slot in self.ask(guest, self.QUICK, "query-hotpluggable-cpus"):
            if len(removed) < count and "qom-path" in slot:
                removed.append(f"cpu-{slot['props']['core-id']}")
                self.ask(guest, self.QUICK, "device_del", {"id": removed[-1]})
        return removed

    def test_life(self):
        """vCPUs come and go, with the ports of cold_plug_vfio = "root-port" beside them."""
        guest, cpus = self.boot_client()
        self.handshake(guest)
        self.assertEqual(self.plug(guest, 3), ["cpu-7", "cpu-6", "cpu-5"])
        self.bring_online(cpus, 7, 6, 5)
        self.wait_cpus(cpus, {0, 5, 6, 7})
        cpus.work({0, 5, 6, 7}, 200)

        self.assertEqual(self.unplug(guest, 2), ["cpu-7", "cpu-6"])
        self.wait_gone(guest, "cpu-7", "cpu-6")
        self.wait_cpus(cpus, {0, 5})
        self.assertEqual(self.plug(guest, 1), ["cpu-7"])
        self.bring_online(cpus, 7)
        self.wait_cpus(cpus, {0, 5, 7})
        found = guest.check("cat /sys/bus/pci/devices/*/class | grep -c 0x060400")
        self.assertEqual(int(found), 16 + 1, "root ports and one bridge")
        # It does not wait: asked again at once, it names the same vCPU, which does no harm.
        self.assertEqual(self.unplug(guest, 1), ["cpu-7"])
        try:
            self.assertIn(self.unplug(guest, 1), (["cpu-7"], ["cpu-5"]))
        except guestcase.Refused as error:
            # Gone since the list was made.
            self.assertRegex(str(error), "Device 'cpu-7' not found|being removed already")
        self.wait_gone(guest, "cpu-7")
        self.plug(guest, 1)
        self.bring_online(cpus, 7)

    def test_where_hotplug_is_impossible(self):
        """The guest starts as with the pristine QEMU; a vCPU is refused with the reason."""
        for changes, message in NOT_POSSIBLE:
            with self.subTest(changes):
                guest, cpus = self.start_stopped(**changes)
                self.handshake(guest)
                self.assert_refused(message, self.plug, guest, 1)
                self.assertEqual(cpus.taken(), {0})
                guest.close()


class Go(KataCase):
    """The Go runtime with static_sandbox_resource_mgmt = false, which needs changes on Arm."""

    PATIENT = 60        # it has no limit of its own
    # As it is, and after each of the two changes that docs/management.md names.
    AS_IT_IS, ALL_IDS, ONE_SOCKET = "as it is", "all ids", "one socket"

    def command(self, runtime=AS_IT_IS, gic="max", firmware=True, options=""):
        """The Sent of a guest: LaunchQemu(), govmm/qemu/qemu.go:3510."""
        folder = self.folder()
        # cpuTopology(), qemu_arch_base.go:329.
        cores, sockets = (MAXCPUS, 1) if runtime == self.ONE_SOCKET else (1, MAXCPUS)
        words = [
            "-name", "sandbox-test", "-uuid", "2a7e5a0b-9ad4-4a3a-8c4e-6d2a4a1b7d11",
            "-machine", f"virt,usb=off,accel=tcg,gic-version={gic}{options}",
            "-cpu", f"{clientcase.CPU},pmu=off",
            "-qmp", f"unix:path={folder}/qmp.sock,server=on,wait=off",
            "-m", "2048M,slots=10,maxmem=4096M", *BRIDGE,
            "-device", "virtio-serial-pci,disable-modern=false,id=serial0",
            "-device", "virtconsole,chardev=charconsole0,id=console0",
            "-chardev", f"socket,id=charconsole0,path={folder}/console,server=on,wait=off",
            "-device", "virtio-scsi-pci,id=scsi0,disable-modern=false",
            "-object", "rng-random,id=rng0,filename=/dev/urandom",
            "-device", "virtio-rng-pci,rng=rng0",
            "-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=0,slot=0,multifunction=off",
            "-rtc", "base=utc,driftfix=slew,clock=host",
            "-global", "kvm-pit.lost_tick_policy=discard", "-vga", "none", "-no-user-config",
            "-nodefaults", "-nographic", "--no-reboot",
            "-object", "memory-backend-ram,id=dimm1,size=2048M", "-numa", "node,memdev=dimm1",
            "-kernel", assets.kernel(), "-initrd", assets.initrd(),
            "-append", f"{clientcase.APPEND} iommu.passthrough=0 {PARAMETERS}"]
        if firmware:
            words += ["-bios", assets.firmware().code]
        words += ["-pidfile", folder / "pid", "-smp",
                  f"1,cores={cores},threads=1,sockets={sockets},maxcpus={MAXCPUS}"]
        return clientcase.Sent(qemu=self.patched, words=words)

    def plug(self, guest, count, runtime=AS_IT_IS):
        """hotplugAddCPUs(), qemu.go:2741; returns the ids that were added, and the refusals."""
        added, refused = [], []
        for slot in self.ask(guest, self.PATIENT, "query-hotpluggable-cpus"):
            if len(added) == count or "qom-path" in slot:
                continue
            props = slot["props"]
            arguments = {"driver": slot["type"], "id": f"cpu-{len(added)}",
                         "core-id": props["core-id"]}
            if runtime == self.ALL_IDS:
                arguments |= {"socket-id": props["socket-id"], "thread-id": props["thread-id"]}
            try:
                self.ask(guest, self.PATIENT, "device_add", arguments)
            except guestcase.Refused as error:
                refused.append(str(error))
                continue
            added.append(arguments["id"])
        return added, refused

    def unplug(self, guest, name):
        """ExecuteDeviceDel(), govmm/qemu/qmp.go:1120: it waits for this one event."""
        self.ask(guest, self.PATIENT, "device_del", {"id": name})
        guest.event("DEVICE_DELETED", self.PATIENT, device=name)

    def check_life(self, guest, cpus, runtime):
        """Two vCPUs come, and go again, the newest first."""
        self.assertEqual(self.plug(guest, 2, runtime), (["cpu-0", "cpu-1"], []))
        self.bring_online(cpus, 7, 6)
        self.wait_cpus(cpus, {0, 6, 7})
        self.unplug(guest, "cpu-1")
        self.wait_cpus(cpus, {0, 7})
        self.unplug(guest, "cpu-0")
        self.wait_cpus(cpus, {0})

    def test_sockets(self):
        """As it is, each of its attempts is refused, and no harm is done. With all ids it works."""
        guest, cpus = self.boot_client()
        added, refused = self.plug(guest, 2)
        self.assertEqual((added, len(refused)), ([], MAXCPUS - 1))
        for message in refused:
            self.assertRegex(message, "^CPU property 'socket-id' is not set, and without it the "
                             "CPU's slot is not known; query-hotpluggable-cpus lists ")
        self.assert_cpus(cpus, {0})
        self.check_life(guest, cpus, self.ALL_IDS)

    def test_one_socket(self):
        """With one socket, core-id alone names a slot."""
        guest, cpus = self.start_stopped(runtime=self.ONE_SOCKET)
        self.assertEqual(self.plug(guest, 2, self.ONE_SOCKET), (["cpu-0", "cpu-1"], []))
        self.assertEqual(cpus.taken(), {0, 6, 7})

    def test_where_hotplug_is_impossible(self):
        """The guest starts as with the pristine QEMU; each vCPU is refused with the reason."""
        for changes, message in NOT_POSSIBLE:
            with self.subTest(changes):
                guest, _ = self.start_stopped(runtime=self.ONE_SOCKET, **changes)
                added, refused = self.plug(guest, 1, self.ONE_SOCKET)
                self.assertEqual((added, len(refused)), ([], MAXCPUS - 1))
                self.assertRegex(refused[0], message)
                guest.close()


if __name__ == "__main__":
    clientcase.main()
