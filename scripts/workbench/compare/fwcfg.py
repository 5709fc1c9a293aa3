# SPDX-License-Identifier: GPL-2.0-or-later
"""The fw_cfg device, read the way firmware reads it, by accesses to the bus of an Instance."""

import struct

ARM_SCRATCH = 0x44000000        # guest RAM that nothing else uses
PC_SCRATCH = 0x01000000

_FW_CFG_NUMBERS = {"cpus": 0x05, "maxcpus": 0x0f, "machine id": 0x06}
_FW_CFG_DIRECTORY = 0x19
_DMA_READ, _DMA_SELECT, _DMA_ERROR = 2, 8, 1


class FwCfg:
    """The fw_cfg device of INSTANCE, read by DMA like firmware does. PC tells x86 from Arm virt."""

    def __init__(self, instance, pc=False):
        self._instance = instance
        self._pc = pc
        self._scratch = PC_SCRATCH if pc else ARM_SCRATCH

    def item(self, selector, size):
        """SIZE bytes of the item SELECTOR; past its end there are zeros. Raises GuestError."""
        request, data = self._scratch, self._scratch + 0x1000
        self._instance.write(request, struct.pack(
            ">IIQ", selector << 16 | _DMA_SELECT | _DMA_READ, size, data))
        if self._pc:
            # The register is big-endian; out is little-endian. Writing the low half starts it.
            for port, half in ((0x514, request >> 32), (0x518, request & 0xffffffff)):
                swapped, = struct.unpack("<I", struct.pack(">I", half))
                self._instance.qtest(f"outl {port:#x} {swapped:#x}")
        else:
            self._instance.write(0x09020010, struct.pack(">Q", request))
        if struct.unpack(">I", self._instance.read(request, 4))[0] & _DMA_ERROR:
            raise self._instance.failure(f"fw_cfg cannot read item {selector:#x}")
        return self._instance.read(data, size)

    def directory(self):
        """{file name: (selector, size)}."""
        count, = struct.unpack(">I", self.item(_FW_CFG_DIRECTORY, 4))
        data = self.item(_FW_CFG_DIRECTORY, 4 + 64 * count)
        files = {}
        for at in range(4, len(data), 64):
            size, selector, name = struct.unpack_from(">IHxx56s", data, at)
            files[name.rstrip(b"\0").decode()] = (selector, size)
        return files

    def file(self, name):
        """The content of the file NAME. Raises GuestError when there is none."""
        files = self.directory()
        if name not in files:
            raise self._instance.failure(
                f"fw_cfg has no file {name}, only {', '.join(sorted(files))}")
        # A table is rebuilt, and its size may change, when it is first selected.
        selector, size = files[name]
        self.item(selector, 1)
        return self.item(selector, self.directory()[name][1])

    def files(self):
        """{name: content} of all files and of the numbers that say how many CPUs there are."""
        found = {name: self.item(key, 8) for name, key in _FW_CFG_NUMBERS.items()}
        for _, selector_and_size in sorted(self.directory().items()):
            self.item(selector_and_size[0], 1)
        for name, (selector, size) in sorted(self.directory().items()):
            found[name] = self.item(selector, size)
        return found
