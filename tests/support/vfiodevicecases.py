# SPDX-License-Identifier: GPL-2.0-or-later
"""What users do with network functions and disks of the host."""

DISK = "/dev/nvme0n1"
WAIT = f"until [ -b {DISK} ]; do sleep 0.05; done"


class Disk:
    """What is on the NVMe disk. For a VfioCase."""

    def write(self, where, text, block):
        """Write TEXT to 4 KiB block BLOCK of the disk; WHERE is the host or a guest."""
        where.check(f"{WAIT} && echo {text} | dd of={DISK} bs=4k seek={block} conv=sync,fsync",
                    60)

    def assert_read(self, where, text, block):
        """The block holds TEXT."""
        where.check(WAIT, 60)
        self.assertEqual(where.check(f"dd if={DISK} bs=4k skip={block} count=1 2> /dev/null | "
                                     "head -n 1"), text)
