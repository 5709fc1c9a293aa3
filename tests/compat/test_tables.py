#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""What firmware is given is the same from the pristine and the patched binary, byte for byte.

Compared: every fw_cfg file, ACPI tables, table loader and SMBIOS among them, and the device tree;
for every versioned machine type, for many configurations, with room for CPUs or without; and for
the default type, which has the feature, where it is not asked for (maxcpus equal to cpus), switched
off, or not possible (no GICv3, no ACPI, ...).
"""

import struct
import tempfile
import unittest
from dataclasses import dataclass

import common
from workbench.compare import acpitables, builds, snapshots
from workbench.compare.instance import empty_firmware


@dataclass(frozen=True)
class Variant:
    """A configuration: options added to -machine, and other arguments.

    FIRMWARE says whether a firmware image is given. PATCHED_ONLY is a machine option that only the
    patched binary knows.
    """

    machine: str = ""
    smp: str = "2"
    words: tuple = ()
    firmware: bool = True
    patched_only: str = ""
    cpu: str = "cortex-a57"
    accel: str = "tcg,thread=multi"
    memory: str = "256M"


def numa(cpus):
    """Arguments for two NUMA nodes with half of CPUS CPU ids each, distances included.

    QEMU warns of nodes that share a socket.
    """
    half = cpus // 2
    return ("-object", "memory-backend-ram,id=ram0,size=128M",
            "-object", "memory-backend-ram,id=ram1,size=128M",
            "-numa", f"node,nodeid=0,memdev=ram0,cpus=0-{half - 1}",
            "-numa", f"node,nodeid=1,memdev=ram1,cpus={half}-{cpus - 1}",
            "-numa", "dist,src=0,dst=1,val=21")


# With all CPUs there from the start: the same on every machine type, the default included.
EQUAL = {
    "plain": Variant(),
    "no-firmware": Variant(firmware=False),
    "cpu-max": Variant(cpu="max"),
    "gicv2": Variant("gic-version=2"),
    "gicv3": Variant("gic-version=3"),
    "gicv3-many": Variant("gic-version=3", "128"),
    "gicv4": Variant("gic-version=4,virtualization=on", cpu="max"),
    "no-highmem": Variant("gic-version=3,highmem=off"),
    "virtualization": Variant("gic-version=3,virtualization=on"),
    "secure": Variant("gic-version=3,secure=on"),
    "smmu": Variant("gic-version=3,iommu=smmuv3"),
    "no-its": Variant("gic-version=3,its=off"),
    "no-acpi": Variant("acpi=off"),
    "ras": Variant("gic-version=3,ras=on"),
    "mte": Variant("gic-version=3,mte=on", cpu="max"),
    "numa": Variant("gic-version=3", "4,sockets=2", numa(4)),
    "clusters-threads": Variant(
        "gic-version=3", "16,sockets=2,clusters=2,cores=2,threads=2"),
    "memory-hotplug": Variant("gic-version=3", memory="256M,slots=2,maxmem=4G"),
    "nvdimm": Variant("gic-version=3,nvdimm=on", memory="256M,slots=2,maxmem=4G"),
    "pcihp-on": Variant("gic-version=3", words=(
        "-global", "acpi-ged.acpi-pci-hotplug-with-bridge-support=on")),
    "pcihp-off": Variant("gic-version=3", words=(
        "-global", "acpi-ged.acpi-pci-hotplug-with-bridge-support=off")),
    "single-threaded": Variant("gic-version=3", accel="tcg,thread=single"),
    "qtest": Variant("gic-version=3", accel="qtest"),
}

# With room for more CPUs, on the types that are released.
MORE = {
    "more": Variant("gic-version=3", "2,maxcpus=4"),
    "more-default-gic": Variant("", "2,maxcpus=4"),
    "more-cpu-max": Variant("", "2,maxcpus=4", cpu="max"),
    "more-off": Variant("gic-version=3", "2,maxcpus=4", patched_only="cpu-hotplug=off"),
    "more-gicv2": Variant("gic-version=2", "2,maxcpus=4"),
    "more-many": Variant("gic-version=3", "1,maxcpus=256"),
    "more-no-firmware": Variant("gic-version=3", "2,maxcpus=4", firmware=False),
    "more-numa": Variant("gic-version=3", "2,maxcpus=4,sockets=2", numa(4)),
    "more-clusters-threads": Variant(
        "gic-version=3", "2,maxcpus=16,sockets=2,clusters=2,cores=2,threads=2"),
    "more-pcihp": Variant("gic-version=3", "2,maxcpus=4", words=(
        "-global", "acpi-ged.acpi-pci-hotplug-with-bridge-support=on")),
}

# With room for more CPUs, on the default type, where the feature cannot be or is switched off.
INACTIVE = {
    "off": Variant("gic-version=3", "2,maxcpus=4", patched_only="cpu-hotplug=off"),
    "off-numa": Variant("gic-version=3", "2,maxcpus=4,sockets=2", numa(4),
                        patched_only="cpu-hotplug=off"),
    "off-many": Variant("gic-version=3", "1,maxcpus=256", patched_only="cpu-hotplug=off"),
    "off-clusters-threads": Variant(
        "gic-version=3", "2,maxcpus=16,sockets=2,clusters=2,cores=2,threads=2",
        patched_only="cpu-hotplug=off"),
    "32-bit": Variant("gic-version=3", "2,maxcpus=4", cpu="cortex-a15"),
    "gicv2": Variant("gic-version=2", "2,maxcpus=4"),
    "no-acpi": Variant("gic-version=3,acpi=off", "2,maxcpus=4"),
    "no-firmware": Variant("gic-version=3", "2,maxcpus=4", firmware=False),
    "default-gic-no-firmware": Variant("", "2,maxcpus=4", firmware=False),
    "single-threaded": Variant("gic-version=3", "2,maxcpus=4", accel="tcg,thread=single"),
    "icount": Variant("gic-version=3", "2,maxcpus=4", ("-icount", "shift=7"), accel="tcg"),
    "secure-firmware": Variant("gic-version=3,secure=on", "2,maxcpus=4"),
}

PC = {
    "plain": Variant(cpu="qemu64"),
    "more": Variant(smp="2,maxcpus=4", cpu="qemu64"),
    "more-many": Variant(smp="1,maxcpus=64", cpu="qemu64"),
    "more-numa": Variant(smp="2,maxcpus=4", words=numa(4), cpu="qemu64"),
    "more-threads": Variant(smp="2,maxcpus=8,sockets=2,cores=2,threads=2", cpu="qemu64"),
    "more-memory": Variant(smp="2,maxcpus=4", cpu="qemu64", memory="256M,slots=2,maxmem=4G"),
    "more-no-acpi": Variant("acpi=off", "2,maxcpus=4", cpu="qemu64"),
}


def unnamed(snapshot):
    """SNAPSHOT as if the default type had the name that it has in the pristine binary.

    SMBIOS has the name of the type, and the anchor its length; firmware adds the check sums.
    """
    new = common.NEW.encode()
    tables = snapshot.files.get("etc/smbios/smbios-tables", b"")
    if new not in tables:
        return snapshot
    files = dict(snapshot.files)
    files["etc/smbios/smbios-tables"] = tables.replace(new, common.NEWEST.encode())
    anchor = bytearray(files["etc/smbios/smbios-anchor"])
    length, = struct.unpack_from("<I", anchor, 12)
    struct.pack_into("<I", anchor, 12, length - tables.count(new) * (len(common.NEW)
                                                                     - len(common.NEWEST)))
    files["etc/smbios/smbios-anchor"] = bytes(anchor)
    return snapshots.Snapshot(files, snapshot.device_tree)


class TablesCase(common.CompatCase):
    """compare() for Arm; x86 differs in the machine options it knows."""

    fixed = "dtb-randomness=off"

    def compare(self, name, variant):
        """Fail with all differences that machine type NAME shows with VARIANT."""
        with tempfile.TemporaryDirectory(prefix="compat-") as folder:
            both = []
            for binary, extra in ((self.pristine, ""), (self.patched, variant.patched_only)):
                machine = ",".join(filter(None, (name, self.fixed, variant.machine, extra)))
                words = ["-machine", machine, "-accel", variant.accel, "-cpu", variant.cpu,
                         "-smp", variant.smp, "-m", variant.memory, *variant.words]
                if variant.firmware:
                    # Never run, but it decides whether virt has an ACPI event device.
                    words += ["-bios", empty_firmware(folder)]
                both.append(snapshots.snapshot(binary, words))
        found = snapshots.snapshot_differences(*map(unnamed, both))
        if found:
            self.fail("\n\n".join([f"-machine {machine} -smp {variant.smp}"] + found))
        return both[0]


@common.each(common.machines("aarch64"))
class Virt(TablesCase):
    """All virt types."""

    def check_all_cpus_there(self, name):
        """Every configuration with maxcpus equal to cpus."""
        for variant in EQUAL.values():
            self.compare(name, variant)

    def check_room_for_more(self, name):
        """Every configuration with maxcpus above cpus."""
        for variant in MORE.values():
            self.compare(name, variant)


class VirtDefault(TablesCase):
    """The default virt type, which has the feature."""

    def test_all_cpus_there(self):
        """Every configuration with maxcpus equal to cpus, but for the name of the type."""
        for variant in EQUAL.values():
            self.compare("virt", variant)

    def test_default(self):
        """With room for CPUs the feature is active, without being asked for."""
        with tempfile.TemporaryDirectory(prefix="compat-") as folder:
            seen = snapshots.snapshot(self.patched, [
                "-machine", "virt", "-cpu", "cortex-a57", "-smp", "2,maxcpus=4", "-m", "256M",
                "-bios", empty_firmware(folder)])
        giccs = acpitables.madt(acpitables.find(seen.tables, "APIC")).giccs
        self.assertEqual([gicc.online_capable for gicc in giccs], [False, False, True, True])


@common.each(INACTIVE)
class VirtInactive(TablesCase):
    """The default virt type where the feature is off or impossible."""

    def check_inactive(self, name):
        """One reason for the feature to be inactive."""
        variant = INACTIVE[name]
        if variant.patched_only and not builds.machine_has(self.patched, "virt", "cpu-hotplug"):
            self.skipTest("the patched binary has no machine option cpu-hotplug")
        self.compare("virt", variant)

    def test_reads_acpi(self):
        """The comparison does see ACPI tables."""
        seen = self.compare("virt", EQUAL["plain"])
        self.assertIn("APIC", [table.signature for table in seen.tables])
        self.assertGreater(len(seen.device_tree), 1000)


@common.each(common.machines("x86_64"))
class Pc(TablesCase):
    """The PC types: they share the CPU hot-plug device and its AML."""

    target = "x86_64"
    fixed = ""

    def check_tables(self, name):
        """Every configuration."""
        for variant in PC.values():
            self.compare(name, variant)


del TablesCase

if __name__ == "__main__":
    common.main()
