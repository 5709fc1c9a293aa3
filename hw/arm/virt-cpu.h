/*
 * The CPUs of the Arm virt machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_ARM_VIRT_CPU_H
#define HW_ARM_VIRT_CPU_H

#include "hw/arm/virt.h"
#include "target/arm/cpu-qom.h"

/* Number of external interrupt lines to configure the GIC with */
#define NUM_IRQS 256

/**
 * virt_create_cpus: Create the CPUs of -smp
 *
 * Needs the memory map, the GIC version and the secure memory to be decided.
 * Exits with a message if a CPU cannot be what the machine needs.
 */
void virt_create_cpus(VirtMachineState *vms);

/**
 * virt_cpu_slot: The entry of MachineState::possible_cpus for a CPU
 * @cpu: a CPU that has been through virt_cpu_pre_plug() and is not unrealized
 */
CPUArchId *virt_cpu_slot(VirtMachineState *vms, ARMCPU *cpu);

/**
 * virt_cpu_pre_plug, virt_cpu_plug: Put a CPU into its slot
 *
 * The methods of the machine's HotplugHandler interface for the CPUs that the
 * machine creates itself. A CPU names its slot by socket-id, cluster-id,
 * core-id and thread-id, and may leave out those of levels with a single
 * element. Errors are set if another one is missing, or one is not of the
 * machine's, if the slot is taken, and if the CPU cannot be what the machine
 * needs.
 */
void virt_cpu_pre_plug(VirtMachineState *vms, DeviceState *dev, Error **errp);
void virt_cpu_plug(VirtMachineState *vms, DeviceState *dev, Error **errp);

/**
 * virt_cpu_hotplug_init: Decide whether the machine has CPU hotplug
 * @firmware_loaded: whether the guest starts with firmware
 *
 * Sets VirtMachineState::cpu_hotplug_active or cpu_hotplug_blocker, and the GIC
 * version if it is not set and CPU hotplug needs one. Exits with a message if
 * CPU hotplug is asked for and cannot be had.
 */
void virt_cpu_hotplug_init(VirtMachineState *vms, bool firmware_loaded);

/**
 * virt_cpu_hotplug_pre_plug, virt_cpu_hotplug_plug: Add a CPU of -device
 *
 * The methods of the machine's HotplugHandler interface for CPUs of -device and
 * device_add, in place of virt_cpu_pre_plug() and virt_cpu_plug(). They do what
 * these do, connect the CPU with the GIC, and tell the guest. Errors are also
 * set if there is no CPU hotplug, if the CPU is of another type or has other
 * features than those of -smp and -cpu, and if the GIC does not support it.
 */
void virt_cpu_hotplug_pre_plug(VirtMachineState *vms, DeviceState *dev,
                               Error **errp);
void virt_cpu_hotplug_plug(VirtMachineState *vms, DeviceState *dev,
                           Error **errp);

/**
 * virt_cpu_unplug_request: Ask the guest to give back a CPU
 *
 * A machine that has neither been started nor loaded a guest has none to ask:
 * the CPU goes at once.
 * Sets an error if there is no CPU hotplug, for the boot CPU, and for a CPU
 * that is just being removed.
 */
void virt_cpu_unplug_request(VirtMachineState *vms, DeviceState *dev,
                             Error **errp);

/**
 * virt_cpu_unplug: Remove a CPU that the guest has given back
 */
void virt_cpu_unplug(VirtMachineState *vms, DeviceState *dev, Error **errp);

/**
 * virt_cpu_describe_slot: The method of MachineClass of that name
 *
 * With KVM the power state of CPUs is known only if there is CPU hotplug:
 * otherwise KVM's own PSCI has it.
 */
void virt_cpu_describe_slot(MachineState *ms, const CPUArchId *slot,
                            HotpluggableCPU *info);

/**
 * virt_cpu_hotplug_reset: Complete pending removals when the guest is reset
 *
 * Removes the CPUs that device_del has asked for. To be called with all vCPUs
 * stopped, before devices are reset.
 */
void virt_cpu_hotplug_reset(VirtMachineState *vms);

/**
 * virt_cpu_hotplug_kvm_blocker: Whether the host's KVM supports CPU hotplug
 *
 * Returns: NULL if it does, or else a newly allocated text that says why not.
 */
char *virt_cpu_hotplug_kvm_blocker(VirtMachineState *vms);

/**
 * virt_cpu_hotplug_kvm_create_vcpus: Create a KVM vCPU for each free slot
 *
 * Also has KVM ask QEMU which CPUs the guest may turn on. To be called when
 * the CPUs of -smp exist, and before the GIC is created. Exits with a message
 * if KVM refuses.
 */
void virt_cpu_hotplug_kvm_create_vcpus(VirtMachineState *vms);

/**
 * virt_cpu_hotplug_kvm_init_vcpus: Set up PMU and stolen time of those vCPUs
 * @pmu: whether the CPUs have a PMU
 * @steal_time: whether the guest is told of stolen time
 *
 * To be called when the GIC is realized. Exits with a message if KVM refuses.
 */
void virt_cpu_hotplug_kvm_init_vcpus(VirtMachineState *vms, bool pmu,
                                     bool steal_time);

/**
 * virt_cpu_vmstate_register: Have migration compare the CPUs of both ends, and
 * whether there is CPU hotplug
 *
 * To be called without CPU hotplug, too: the destination must know the section
 * to refuse it.
 * To be called when virt_cpu_hotplug_init() has decided.
 */
void virt_cpu_vmstate_register(VirtMachineState *vms);

/**
 * virt_cpu_check_loaded: Check that a migration stream had CPU hotplug
 * @errp: set if this machine has CPU hotplug and the stream did not; released
 *        machine versions without it say nothing in their stream
 *
 * To be called when a section has been loaded that every machine with ACPI
 * sends.
 */
bool virt_cpu_check_loaded(VirtMachineState *vms, Error **errp);

/**
 * virt_gic_set_cpu_slots: Tell a GICv3 or GICv4 the affinities of all slots
 *
 * To be called before the GIC is realized.
 */
void virt_gic_set_cpu_slots(VirtMachineState *vms);

/**
 * virt_gic_connect_cpu: Connect a CPU and the GICv2, GICv3 or GICv4
 * @index: index of the CPU's redistributor, or CPU interface, in the GIC
 *
 * Wires the CPU's timer, PMU and maintenance interrupts to PPIs of the GIC,
 * and the GIC's outputs to the CPU.
 */
void virt_gic_connect_cpu(VirtMachineState *vms, ARMCPU *cpu, int index);

/**
 * virt_gic_disconnect_cpu: Leave the GIC's outputs for a CPU unconnected
 * @index: as for virt_gic_connect_cpu(); the GIC is a GICv3 or GICv4
 */
void virt_gic_disconnect_cpu(VirtMachineState *vms, int index);

#endif /* HW_ARM_VIRT_CPU_H */
