/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What this host's KVM can do, for people: numbers are those of KVM_CHECK_EXTENSION (Documentation/virt/kvm/api.rst
 * has what each means; 0 is no). */
#include "kvm-private.h"

#define CAPABILITY(name, help) { KVM_CAP_##name, #name, help }
static const struct { int number; const char *name, *help; } capabilities[] = {
    CAPABILITY(NR_VCPUS, "vCPUs recommended"),
    CAPABILITY(MAX_VCPUS, "vCPUs at most"),
    CAPABILITY(MAX_VCPU_ID, "APIC ids below"),
    CAPABILITY(NR_MEMSLOTS, "memory slots"),
    CAPABILITY(MULTI_ADDRESS_SPACE, "address spaces, as system management mode needs"),
    CAPABILITY(READONLY_MEM, "read-only memory"),
    CAPABILITY(MANUAL_DIRTY_LOG_PROTECT2, "pages are protected when they are sent, not when the log is read"),
    CAPABILITY(DIRTY_LOG_RING, "bytes of a ring of dirty pages"),
    CAPABILITY(DIRTY_LOG_RING_ACQ_REL, "the same, with its order of accesses told"),
    CAPABILITY(SYNC_MMU, "guest memory follows what the host does to its own"),
    CAPABILITY(IRQCHIP, "interrupt controllers in the kernel"),
    CAPABILITY(SPLIT_IRQCHIP, "only local APICs in the kernel"),
    CAPABILITY(IRQ_ROUTING, "interrupts are routed"),
    CAPABILITY(SIGNAL_MSI, "message-signalled interrupts from numon"),
    CAPABILITY(IRQFD, "interrupts by eventfd"),
    CAPABILITY(IOEVENTFD, "doorbells"),
    CAPABILITY(COALESCED_MMIO, "writes that are collected"),
    CAPABILITY(X2APIC_API, "APIC ids of 32 bits"),
    CAPABILITY(XSAVE2, "bytes of vector state"),
    CAPABILITY(XCRS, "extended control registers"),
    CAPABILITY(SREGS2, "system registers with page directory pointers"),
    CAPABILITY(DEBUGREGS, "debug registers"),
    CAPABILITY(VCPU_EVENTS, "pending exceptions"),
    CAPABILITY(MP_STATE, "halted and waiting CPUs"),
    CAPABILITY(MCE, "banks of machine checks"),
    CAPABILITY(TSC_CONTROL, "the time stamp counter is scaled"),
    CAPABILITY(GET_TSC_KHZ, "its frequency is told"),
    CAPABILITY(ADJUST_CLOCK, "the guest's clock is set"),
    CAPABILITY(IMMEDIATE_EXIT, "a CPU is stopped without a race"),
    CAPABILITY(X86_DISABLE_EXITS, "exits that can be left to the processor, as bits"),
    CAPABILITY(SET_GUEST_DEBUG, "steps and breakpoints"),
    CAPABILITY(BINARY_STATS_FD, "statistics"),
};

GVariant *
capabilities_tree(const struct kvm *k)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(sis)"));
    for (unsigned i = 0; i < G_N_ELEMENTS(capabilities); i++)
        g_variant_builder_add(&list, "(sis)", capabilities[i].name,
                              MAX(kvm_ioctl_number(k->vm_fd, KVM_CHECK_EXTENSION,
                                                   (unsigned long)capabilities[i].number), 0),
                              capabilities[i].help);
    return g_variant_builder_end(&list);
}
