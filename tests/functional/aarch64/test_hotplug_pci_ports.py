#!/usr/bin/env python3
#
# Functional test that hotplugs network adapters into PCIe root ports made by
# the Arm virt machine and checks them on a Linux guest
#
# SPDX-License-Identifier: GPL-2.0-or-later

from qemu.machine.machine import VMLaunchFailure
from qemu_test import LinuxKernelTest, Asset, exec_command_and_wait_for_pattern


class HotPlugPCIPorts(LinuxKernelTest):

    ASSET_KERNEL = Asset(
        ('https://ftp.debian.org/debian/dists/trixie/main/installer-arm64/'
         '20250803/images/netboot/debian-installer/arm64/linux'),
        '93a6e4f9627d759375d28f863437a86a0659e125792a435f8e526dda006b7d5e')

    ASSET_INITRD = Asset(
        ('https://ftp.debian.org/debian/dists/trixie/main/installer-arm64/'
         '20250803/images/netboot/debian-installer/arm64/initrd.gz'),
        'f6c78af7078ca67638ef3a50c926cd3c1485673243f8b37952e6bd854d6ba007')

    def guest(self, command):
        """Run a command in the guest, which must succeed"""
        exec_command_and_wait_for_pattern(self,
                                          f'{command} || false; echo RES=$?',
                                          'RES=0', 'RES=1')

    def wait_for_adapters(self, port, number):
        """Wait until the guest has this number of adapters behind the port"""
        # The machine puts its first eight ports into slot 31
        adapters = f'/sys/bus/pci/devices/0000:00:1f.{port}/*/virtio*/net/*'
        condition = f'[ $(ls -d {adapters} 2>/dev/null | wc -l) = {number} ]'
        self.guest(f'for i in $(seq 300); do {condition} && break;'
                   f' sleep 0.2; done; {condition}')

    def plug(self, port):
        self.wait_for_adapters(port, 0)
        self.vm.cmd('device_add', driver='virtio-net-pci',
                    bus=f'hotplug{port}', id=f'net{port}')
        self.wait_for_adapters(port, 1)

    def unplug(self, port):
        self.vm.cmd('device_del', id=f'net{port}')
        self.vm.event_wait('DEVICE_DELETED',
                           match={'data': {'device': f'net{port}'}})
        self.wait_for_adapters(port, 0)

    def set_up_machine(self, options):
        self.set_machine('virt')
        self.require_accelerator('tcg')
        self.vm.add_args('-accel', 'tcg',
                         '-machine', options,
                         '-cpu', 'cortex-a57',
                         '-nic', 'none')

    def test_hotplug(self):
        self.set_up_machine('pcie-hotplug-ports=2')
        self.vm.add_args('-m', '512M',
                         '-bios',
                         self.build_file('pc-bios', 'edk2-aarch64-code.fd'),
                         '-append',
                         'console=ttyAMA0,115200 quiet rdinit=/bin/sh')
        self.launch_kernel(self.ASSET_KERNEL.fetch(),
                           self.ASSET_INITRD.fetch(), wait_for='~ #')
        self.assertEqual(self.vm.cmd('qom-get', path='/machine',
                                     property='pcie-root-ports'), 2)
        self.guest('mount -t proc proc /proc')
        self.guest('mount -t sysfs sysfs /sys')
        self.guest('modprobe virtio_net')

        self.plug(0)
        self.plug(1)
        self.unplug(0)
        self.wait_for_adapters(1, 1)
        self.plug(0)
        self.unplug(1)
        self.unplug(0)

    def test_limit(self):
        self.set_up_machine('max-pcie-root-ports=2,pcie-hotplug-ports=2')
        self.vm.add_args('-device', 'pcie-root-port,bus=pcie.0,id=last')
        with self.assertRaises(VMLaunchFailure) as refusal:
            self.vm.launch()
        self.assertRegex(refusal.exception.output,
                         "'last' is one too many.*'max-pcie-root-ports=2'")


if __name__ == '__main__':
    LinuxKernelTest.main()
