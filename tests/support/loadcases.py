# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs that come and go under load, with TCG and KVM. For a GuestCase."""

from burden import burden, relieve, wait_used

from workbench.guest import modules

SIZE = 16 << 20
# A queue, which has an interrupt of its own, for each CPU that may come.
DISK = ["-blockdev", f"driver=null-co,node-name=null,size={SIZE}",
        "-device", "virtio-blk-pci,drive=null,num-queues=8,romfile="]


class LoadCases:

    laps = 2
    added = (2, 3, 4, 5)
    seconds = 60                # for all that came to do something under load
    online_seconds = 30

    def test_all_go(self):
        """Each CPU that came computes, and writes to memory and disk; then all go at once."""
        guest, cpus = self.boot(self.config(smp="2,maxcpus=8", extra=DISK,
                                            initrd=modules.initrd("virtio_blk")))
        guest.check("modprobe virtio_blk", 60)
        guest.wait_for(lambda: guest.run("test -b /dev/vda")[0] == 0, "the disk", 60)
        # On the CPUs of the start, and on all as soon as they are there.
        burden(guest, (0, 1), "/dev/vda")
        for _ in range(self.laps):
            for number in self.added:
                cpus.add(number)
            for number in self.added:
                cpus.wait_enabled(number, self.seconds)
                cpus.bring_online(number, self.online_seconds)
            self.assert_cpus(cpus, {0, 1, *self.added})
            burden(guest, self.added, "/dev/vda")
            wait_used(guest, self.added, self.seconds)
            before = self.written(guest)
            for handle in [cpus.delete(number) for number in self.added]:
                guest.event("DEVICE_DELETED", self.seconds, device=handle)
            cpus.wait_view("all that came are gone", seconds=self.seconds, enabled={0, 1},
                           online={0, 1})
            # The programs go on, on the CPUs that are left.
            guest.wait_for(lambda: self.written(guest) > before + 2 * len(self.added),
                           "the disk to be written to", self.seconds)
            relieve(guest, self.added)
            guest.events()
        relieve(guest, (0, 1))
        guest.check("wait", self.seconds)
        cpus.plug(7)
        self.assert_cpus(cpus, {0, 1, 7})
        self.assert_sound(guest)

    def written(self, guest):
        """How many requests to write the disk has done."""
        return int(guest.check("cat /sys/block/vda/stat", self.seconds).split()[4])
