#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest for every day: UEFI, disk, network, display, keyboard and mouse, CD-ROM, six more vCPUs
# that can be plugged, and 28 root ports to plug devices into.
#
# Edit the variables here or set them in the environment. Arguments go to QEMU as they are.
set -e

: "${QEMU:=qemu-system-aarch64}"            # must be the patched one
: "${ACCEL:=kvm}"                           # tcg on a machine that is no Arm host
: "${SMP:=2,maxcpus=8}"                     # vCPUs at start, and the most that there can be
: "${MEMORY:=4G}"
: "${DISK:=guest.qcow2}"                    # qemu-img create -f qcow2 guest.qcow2 20G
: "${ISO:=}"                                # to install from; the CD-ROM drive is empty without
: "${CODE:=/usr/share/AAVMF/AAVMF_CODE.fd}" # Debian: package qemu-efi-aarch64
: "${VARS:=/usr/share/AAVMF/AAVMF_VARS.fd}"
: "${NVRAM:=guest-vars.fd}"                 # the guest's own copy of VARS, made if missing
: "${SERIAL:=mon:stdio}"                    # console and monitor on this terminal: Ctrl-A C

if [ -z "$CPU" ]; then
    case $ACCEL in
    kvm*) CPU=host ;;
    *) CPU=max ;;
    esac
fi

[ -e "$NVRAM" ] || cp "$VARS" "$NVRAM"

# CPU hot-plug needs GICv3, and is on where maxcpus is greater than cpus.
# What is behind a port can be unplugged; display, USB and SCSI stay on the root bus.
# romfile= because the firmware has a network driver of its own, and QEMU may lack the ROM's file.
exec "$QEMU" \
    -machine virt,gic-version=3,pcie-hotplug-ports=28 \
    -accel "$ACCEL" -cpu "$CPU" -smp "$SMP" -m "$MEMORY" \
    -nodefaults -serial "$SERIAL" \
    -drive if=pflash,format=raw,readonly=on,file="$CODE" \
    -drive if=pflash,format=raw,file="$NVRAM" \
    -device virtio-gpu-pci \
    -device qemu-xhci,id=usb \
    -device usb-kbd,bus=usb.0 \
    -device usb-mouse,bus=usb.0 \
    -device usb-tablet,bus=usb.0 \
    -device virtio-scsi-pci,id=scsi \
    -drive if=none,id=cd,media=cdrom,readonly=on${ISO:+,format=raw,file="$ISO"} \
    -device scsi-cd,bus=scsi.0,drive=cd,bootindex=2 \
    -drive if=none,id=disk,format=qcow2,discard=unmap,file="$DISK" \
    -device virtio-blk-pci,id=disk0,drive=disk,bus=hotplug0,bootindex=1 \
    -netdev user,id=net \
    -device virtio-net-pci,id=net0,netdev=net,bus=hotplug1,romfile= \
    "$@"
