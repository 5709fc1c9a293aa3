/*
 * PSCI calls that KVM forwards to QEMU
 *
 * KVM answers PSCI calls in the kernel, where every vCPU is a CPU that the
 * guest may turn on. With CPU hotplug there are vCPUs whose CPU is not plugged,
 * and only QEMU knows which. So an SMCCC filter makes the kernel forward the
 * calls that turn CPUs on, and those that turn them off, so that QEMU knows
 * which CPUs are on. See KVM_ARM_VM_SMCCC_FILTER in Linux'
 * Documentation/virt/kvm/devices/vm.rst and Arm's DEN0022 (PSCI).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>

#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "system/kvm.h"
#include "arm-powerctl.h"
#include "cpu.h"
#include "internals.h"
#include "kvm-consts.h"
#include "kvm_arm.h"
#include "trace.h"

bool kvm_arm_can_forward_psci(void)
{
    struct kvm_device_attr attr = {
        .group = KVM_ARM_VM_SMCCC_CTRL,
        .attr = KVM_ARM_VM_SMCCC_FILTER,
    };

    /* Not kvm_vm_check_attr(): Linux does not announce attributes here. */
    return kvm_vm_ioctl(kvm_state, KVM_HAS_DEVICE_ATTR, &attr) == 0;
}

bool kvm_arm_forward_psci(Error **errp)
{
    static const uint32_t functions[] = {
        QEMU_PSCI_0_2_FN_CPU_OFF,
        QEMU_PSCI_0_2_FN_CPU_ON,
        QEMU_PSCI_0_2_FN64_CPU_ON,
    };

    for (int i = 0; i < ARRAY_SIZE(functions); i++) {
        struct kvm_smccc_filter filter = {
            .base = functions[i],
            .nr_functions = 1,
            .action = KVM_SMCCC_FILTER_FWD_TO_USER,
        };
        struct kvm_device_attr attr = {
            .group = KVM_ARM_VM_SMCCC_CTRL,
            .attr = KVM_ARM_VM_SMCCC_FILTER,
            .addr = (uintptr_t)&filter,
        };
        int ret = kvm_vm_ioctl(kvm_state, KVM_SET_DEVICE_ATTR, &attr);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "KVM cannot forward PSCI function 0x%"
                             PRIx32, functions[i]);
            return false;
        }
    }
    return true;
}

/* KVM's id of the general purpose register @n; it counts in units of 32 bits */
static uint64_t kvm_arm_xreg_id(int n)
{
    return KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |
           (KVM_REG_ARM_CORE_REG(regs.regs[0]) + 2 * n);
}

/*
 * DEN0022, 5.1.4: the arguments of the 32-bit call are 32 bits wide. As with
 * TCG the CPU starts with little-endian data, whatever the caller has.
 */
static int64_t kvm_arm_psci_cpu_on(ARMCPU *cpu, bool wide)
{
    uint64_t args[3];

    for (int i = 0; i < ARRAY_SIZE(args); i++) {
        if (kvm_get_one_reg(CPU(cpu), kvm_arm_xreg_id(i + 1), &args[i])) {
            return QEMU_PSCI_RET_INTERNAL_FAILURE;
        }
        if (!wide) {
            args[i] = (uint32_t)args[i];
        }
    }
    if (arm_cpu_slot_is_free(args[0])) {
        trace_arm_psci_cpu_on_denied(args[0]);
        return QEMU_PSCI_RET_DENIED;
    }
    return arm_set_cpu_on(args[0], args[1], args[2], 1, true);
}

/* DEN0022, 5.1.3: CPU_OFF does not return if it succeeds. */
static int64_t kvm_arm_psci_cpu_off(ARMCPU *cpu)
{
    arm_set_cpu_power_state(cpu, PSCI_OFF);
    if (kvm_arm_put_power_state(cpu) < 0) {
        arm_set_cpu_power_state(cpu, PSCI_ON);
        return QEMU_PSCI_RET_DENIED;
    }
    return QEMU_PSCI_RET_SUCCESS;
}

void kvm_arm_handle_hypercall(ARMCPU *cpu, uint64_t function)
{
    int64_t ret;

    /* KVM has advanced the program counter past the call, also for SMC. */
    assert(!CPU(cpu)->vcpu_dirty);
    bql_lock();
    switch (function) {
    case QEMU_PSCI_0_2_FN_CPU_OFF:
        ret = kvm_arm_psci_cpu_off(cpu);
        break;
    case QEMU_PSCI_0_2_FN_CPU_ON:
        ret = kvm_arm_psci_cpu_on(cpu, false);
        break;
    case QEMU_PSCI_0_2_FN64_CPU_ON:
        ret = kvm_arm_psci_cpu_on(cpu, true);
        break;
    default:
        ret = QEMU_PSCI_RET_NOT_SUPPORTED;
        break;
    }
    trace_kvm_arm_hypercall(arm_cpu_mp_affinity(cpu), function, ret);
    kvm_set_one_reg(CPU(cpu), kvm_arm_xreg_id(0), &ret);
    bql_unlock();
}
