/*
 * KVM vCPUs for Arm CPUs that may be plugged later
 *
 * KVM does not create a vCPU once the VM's GIC is initialized, and
 * requires all vCPUs of a VM to have the same features. So they are created and
 * set up when the machine starts, like those of the CPUs of -smp, and parked
 * until a CPU takes them. See Documentation/virt/kvm/devices/vcpu.rst in Linux
 * for the attributes that are set here.
 *
 * The stolen time that a guest sees starts from 0 when a CPU is plugged into a
 * slot that had one before: KVM takes it from the thread of the CPU. Linux uses
 * only differences since the CPU was brought online.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/kvm.h>

#include "qapi/error.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "cpu.h"
#include "cpu-features.h"
#include "kvm_arm.h"
#include "trace.h"

static bool parked_vcpu_ioctl(int fd, unsigned long request, const char *name,
                              void *arg, Error **errp)
{
    if (ioctl(fd, request, arg) == -1) {
        error_setg_errno(errp, errno, "KVM rejects %s of a vCPU", name);
        return false;
    }
    return true;
}

static bool parked_vcpu_set_attr(int fd, uint32_t group, uint64_t attr,
                                 const char *name, void *arg, Error **errp)
{
    struct kvm_device_attr attribute = {
        .group = group,
        .attr = attr,
        .addr = (uintptr_t)arg,
    };

    return parked_vcpu_ioctl(fd, KVM_SET_DEVICE_ATTR, name, &attribute, errp);
}

/* Set the vector lengths of the other CPUs, and finalize SVE. */
static bool parked_vcpu_set_sve(int fd, ARMCPU *like, Error **errp)
{
    uint64_t vls[KVM_ARM64_SVE_VLS_WORDS] = { like->sve_vq.map };
    struct kvm_one_reg reg = {
        .id = KVM_REG_ARM64_SVE_VLS,
        .addr = (uintptr_t)vls,
    };
    int feature = KVM_ARM_VCPU_SVE;

    return parked_vcpu_ioctl(fd, KVM_SET_ONE_REG, "SVE vector lengths", &reg,
                             errp) &&
           parked_vcpu_ioctl(fd, KVM_ARM_VCPU_FINALIZE, "SVE", &feature, errp);
}

/*
 * The kernel derives the affinity from the id of the vCPU. The machine has
 * told the guest the one that it expects.
 */
static bool parked_vcpu_check_affinity(int fd, uint64_t mp_affinity,
                                       Error **errp)
{
    uint64_t mpidr;
    struct kvm_one_reg reg = {
        .id = ARM64_SYS_REG(3, 0, 0, 0, 5),
        .addr = (uintptr_t)&mpidr,
    };

    if (!parked_vcpu_ioctl(fd, KVM_GET_ONE_REG, "access to MPIDR_EL1", &reg,
                           errp)) {
        return false;
    }
    if ((mpidr & ARM64_AFFINITY_MASK) != mp_affinity) {
        error_setg(errp, "KVM gives a vCPU that is to be plugged later the "
                   "MPIDR affinity 0x%" PRIx64 ", not 0x%" PRIx64,
                   (uint64_t)(mpidr & ARM64_AFFINITY_MASK), mp_affinity);
        return false;
    }
    return true;
}

bool kvm_arm_create_parked_vcpu(ARMCPU *like, unsigned long vcpu_id,
                                uint64_t mp_affinity, Error **errp)
{
    struct kvm_vcpu_init init = { .target = like->kvm_target };
    struct kvm_mp_state off = { .mp_state = KVM_MP_STATE_STOPPED };
    int fd = kvm_create_parked_vcpu(vcpu_id);

    if (fd < 0) {
        error_setg_errno(errp, -fd, "KVM cannot create vCPU %lu, for a CPU "
                         "that may be plugged later", vcpu_id);
        return false;
    }
    memcpy(init.features, like->kvm_init_features, sizeof(init.features));
    trace_kvm_arm_create_parked_vcpu(vcpu_id, mp_affinity, init.features[0]);

    return parked_vcpu_ioctl(fd, KVM_ARM_VCPU_INIT, "the features", &init,
                             errp) &&
           parked_vcpu_ioctl(fd, KVM_SET_MP_STATE, "power off", &off, errp) &&
           (!cpu_isar_feature(aa64_sve, like) ||
            parked_vcpu_set_sve(fd, like, errp)) &&
           parked_vcpu_check_affinity(fd, mp_affinity, errp);
}

bool kvm_arm_parked_vcpu_init_pmu(unsigned long vcpu_id, int irq, Error **errp)
{
    int fd = kvm_parked_vcpu_fd(vcpu_id);

    return parked_vcpu_set_attr(fd, KVM_ARM_VCPU_PMU_V3_CTRL,
                                KVM_ARM_VCPU_PMU_V3_IRQ, "the PMU's interrupt",
                                &irq, errp) &&
           parked_vcpu_set_attr(fd, KVM_ARM_VCPU_PMU_V3_CTRL,
                                KVM_ARM_VCPU_PMU_V3_INIT, "the PMU", NULL,
                                errp);
}

bool kvm_arm_parked_vcpu_init_pvtime(unsigned long vcpu_id, uint64_t ipa,
                                     Error **errp)
{
    return parked_vcpu_set_attr(kvm_parked_vcpu_fd(vcpu_id),
                                KVM_ARM_VCPU_PVTIME_CTRL,
                                KVM_ARM_VCPU_PVTIME_IPA, "stolen time", &ipa,
                                errp);
}
