/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Keeps the rig's kernel from patching its own code while it runs.
 *
 * The kernel switches what it seldom needs ("static keys") by writing into code that other CPUs are executing: a
 * breakpoint first, then the rest.  QEMU 7.2 with a thread for each CPU may translate the breakpoint just as it
 * is overwritten, and keep that translation: the CPU that meets it goes round in it for ever, or the kernel panics.
 * KVM switches such keys with the first and the last virtual machine there is, and with every vCPU that has no local
 * APIC, or one that is off.  While one of each exists, nothing is switched.
 *
 * Prints "steady" when they do, or why they do not, and stays. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum chip { CHIP_NONE, CHIP_SOFTWARE_DISABLED, CHIP_OFF };

/* A vCPU, in a virtual machine of its own, with such a local APIC; after reset it is disabled by software. */
static bool
vcpu_exists(int kvm, enum chip chip)
{
    struct kvm_sregs sregs;
    int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu;

    if (vm < 0 || (chip != CHIP_NONE && ioctl(vm, KVM_CREATE_IRQCHIP) < 0))
        return false;
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0 || chip != CHIP_OFF)
        return vcpu >= 0;
    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
        return false;
    sregs.apic_base = 0;
    return ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0;
}

int
main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0 || !vcpu_exists(kvm, CHIP_NONE) || !vcpu_exists(kvm, CHIP_SOFTWARE_DISABLED) ||
        !vcpu_exists(kvm, CHIP_OFF)) {
        printf("not steady: /dev/kvm: %s\n", strerror(errno));
        return 1;
    }
    puts("steady");
    fclose(stdout);
    for (;;)
        pause();
}
