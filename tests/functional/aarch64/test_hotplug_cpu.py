#!/usr/bin/env python3
#
# Functional test that hotplugs and hot-unplugs a CPU of the Arm virt machine
# and checks it on a Linux guest
#
# SPDX-License-Identifier: GPL-2.0-or-later

from qemu_test import LinuxKernelTest, Asset, exec_command_and_wait_for_pattern


class HotPlugCPU(LinuxKernelTest):

    # Linux on Arm can hotplug CPUs since version 6.11; this is 6.12
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

    def wait_for_cpus(self, state, cpus):
        """Wait until the guest has exactly the CPUs in this state"""
        condition = f'[ "$(cat /sys/devices/system/cpu/{state})" = {cpus} ]'
        self.guest(f'for i in $(seq 300); do {condition} && break;'
                   f' sleep 0.2; done; {condition}')

    def wait_for_shell(self):
        self.wait_for_console_pattern('~ #')
        # What the shell says after a reset must differ from any prompt before
        self.guest("PS1='> '")
        self.guest('mount -t sysfs sysfs /sys')

    def slot(self):
        """Return what QEMU knows of the slot of CPU 1"""
        slots = self.vm.cmd('query-hotpluggable-cpus')
        self.assertEqual(len(slots), 2)
        return next(s for s in slots if s['props']['core-id'] == 1)

    def plug(self):
        slot = self.slot()
        self.assertNotIn('qom-path', slot)
        self.vm.cmd('device_add',
                    {'driver': slot['type'], 'id': 'cpu1', **slot['props']})
        self.assertEqual(self.slot()['qom-path'],
                         '/machine/peripheral/cpu1')
        self.wait_for_cpus('enabled', '0-1')

    def unplug(self):
        self.vm.cmd('device_del', id='cpu1')
        self.vm.event_wait('DEVICE_DELETED',
                           match={'data': {'device': 'cpu1'}})
        self.assertNotIn('qom-path', self.slot())
        self.wait_for_cpus('enabled', '0')
        self.wait_for_cpus('online', '0')

    def test_hotplug(self):
        self.set_machine('virt')
        self.require_accelerator('tcg')

        self.vm.add_args('-accel', 'tcg',
                         '-machine', 'cpu-hotplug=on',
                         '-cpu', 'cortex-a57',
                         '-smp', '1,maxcpus=2',
                         '-m', '512M',
                         '-nic', 'none',
                         '-bios',
                         self.build_file('pc-bios', 'edk2-aarch64-code.fd'),
                         '-append',
                         'console=ttyAMA0,115200 quiet rdinit=/bin/sh')
        self.launch_kernel(self.ASSET_KERNEL.fetch(),
                           self.ASSET_INITRD.fetch())
        self.wait_for_shell()
        self.wait_for_cpus('enabled', '0')

        self.plug()
        self.guest('echo 1 > /sys/devices/system/cpu/cpu1/online')
        self.wait_for_cpus('online', '0-1')
        self.unplug()

        # A CPU that is there when the guest boots need not be set online
        self.plug()
        self.vm.cmd('system_reset')
        self.wait_for_shell()
        self.wait_for_cpus('online', '0-1')
        self.unplug()

        self.plug()


if __name__ == '__main__':
    LinuxKernelTest.main()
