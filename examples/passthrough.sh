#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest with a function of a host's PCI device, for instance a virtual function (VF) of a network
# card, passed through into a root port, where it can be unplugged and plugged again.
#
# Before that, as root: make the VFs and give one of them to vfio-pci.
#
#     echo 2 > /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs
#     modprobe vfio-pci
#     echo vfio-pci > /sys/bus/pci/devices/0000:01:10.0/driver_override
#     echo 0000:01:10.0 > /sys/bus/pci/devices/0000:01:10.0/driver/unbind
#     echo 0000:01:10.0 > /sys/bus/pci/drivers_probe
#
# All functions of its IOMMU group must be with vfio-pci or without a driver. QEMU must be allowed
# to open /dev/vfio/GROUP and to lock all of the guest's memory (ulimit -l), which root is.
#
# Edit the variables here or set them in the environment. Arguments go to QEMU as they are.
set -e

: "${FUNCTION:?the address of what is passed through, for instance 0000:01:10.0}"
: "${QEMU:=qemu-system-aarch64}"            # must be the patched one
: "${ACCEL:=kvm}"
: "${CPU:=host}"
: "${SMP:=2,maxcpus=8}"                     # vCPUs at start, and the most that there can be
: "${MEMORY:=4G}"
: "${DISK:=guest.qcow2}"
: "${CODE:=/usr/share/AAVMF/AAVMF_CODE.fd}" # Debian: package qemu-efi-aarch64
: "${VARS:=/usr/share/AAVMF/AAVMF_VARS.fd}"
: "${NVRAM:=guest-vars.fd}"                 # the guest's own copy of VARS, made if missing
: "${SERIAL:=mon:stdio}"                    # console and monitor on this terminal: Ctrl-A C

[ -e "$NVRAM" ] || cp "$VARS" "$NVRAM"

exec "$QEMU" \
    -machine virt,gic-version=3,pcie-hotplug-ports=4 \
    -accel "$ACCEL" -cpu "$CPU" -smp "$SMP" -m "$MEMORY" \
    -nodefaults -display none -serial "$SERIAL" \
    -drive if=pflash,format=raw,readonly=on,file="$CODE" \
    -drive if=pflash,format=raw,file="$NVRAM" \
    -drive if=none,id=disk,format=qcow2,discard=unmap,file="$DISK" \
    -device virtio-blk-pci,drive=disk,bootindex=1 \
    -device vfio-pci,id=function0,host="$FUNCTION",bus=hotplug0 \
    "$@"
