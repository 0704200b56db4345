/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory that the host's hardware lost under a running guest.
 *
 * The kernel sends SIGBUS (BUS_MCEERR_AR) to the vCPU's thread when its guest touches such a page.  A guest that has
 * switched machine checks on is given one, as the hardware would: a recoverable data error at this guest physical
 * address, in a bank of its own; the page is replaced by an empty one, so that nothing else meets it.  Any other
 * guest cannot be told, and stops.  (Intel SDM 3B, 15.3.2 and 15.9; Documentation/virt/kvm/api.rst,
 * KVM_X86_SET_MCE.) */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>

enum {
    MCE_BANKS = 10, MCE_BANK = 9,
    MSR_MCG_STATUS = 0x17a, MSR_MC0_CTL = 0x400, MSRS_A_BANK = 4,
    CR4_MCE = 1 << 6,
    MCG_RIPV = 1 << 0, MCG_EIPV = 1 << 1, MCG_MCIP = 1 << 2,
    MCI_DATA_LOAD = 0x134,          /* SDM 3B, table 15-20 */
    MISC_PHYSICAL_PAGE = 2 << 6 | 12,       /* the address is physical and names a page of 2^12 */
};
#define MCG_CTL_P       (UINT64_C(1) << 8)
#define MCG_SER_P       (UINT64_C(1) << 24)
/* VAL UC EN MISCV ADDRV S AR */
#define MCI_STATUS      (UINT64_C(1) << 63 | UINT64_C(1) << 61 | UINT64_C(1) << 60 | UINT64_C(1) << 59 | \
                         UINT64_C(1) << 58 | UINT64_C(1) << 56 | UINT64_C(1) << 55)

unsigned
mce_banks(const struct kvm *k)
{
    return (unsigned)MIN(kvm_capability(k, KVM_CAP_MCE), MCE_BANKS);
}

bool
mce_create(struct kvm_cpu *c, GError **error)
{
    unsigned banks = mce_banks(c->kvm);
    uint64_t supported = 0, capability;

    if (banks == 0)
        return true;
    if (kvm_ioctl(c->kvm->system_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &supported) < 0)
        return fail_host(error, errno, "cannot learn which machine checks KVM has");
    capability = banks | (supported & (MCG_CTL_P | MCG_SER_P));
    c->kvm->recovers = capability & MCG_SER_P && banks > MCE_BANK;
    return kvm_ioctl(c->fd, KVM_X86_SETUP_MCE, &capability) == 0 ||
           fail_host(error, errno, "cannot give vCPU %u %u banks of machine checks", c->index, banks);
}

/* The registers of the banks, which KVM does not list. */
unsigned
mce_msrs(const struct kvm *k, uint32_t *ret)
{
    unsigned count = mce_banks(k) * MSRS_A_BANK;

    for (unsigned i = 0; ret && i < count; i++)
        ret[i] = MSR_MC0_CTL + i;
    return count;
}

/* NULL, or why the guest cannot be told. */
static const char *
why_not(struct kvm_cpu *c)
{
    struct registers_seen seen;
    uint64_t status;

    if (!c->kvm->recovers)
        return "KVM here has no machine checks to recover from";
    if (!registers_look(c, &seen, NULL) || !msr_read(c, MSR_MCG_STATUS, &status))
        return "its registers cannot be read";
    if (!(seen.sregs.cr4 & CR4_MCE))
        return "the guest has not switched machine checks on";
    return status & MCG_MCIP ? "the guest is in the middle of another machine check" : NULL;
}

static bool
inject(struct kvm_cpu *c, uint64_t gpa)
{
    struct kvm_x86_mce mce = {
        .status = MCI_STATUS | MCI_DATA_LOAD, .addr = gpa, .misc = MISC_PHYSICAL_PAGE, .bank = MCE_BANK,
        .mcg_status = MCG_RIPV | MCG_EIPV | MCG_MCIP,
    };

    return kvm_ioctl(c->fd, KVM_X86_SET_MCE, &mce) == 0;
}

enum vcpu_exit
mce_memory_failed(struct kvm_cpu *c, uintptr_t host, char **ret_text)
{
    struct hub *hub = atomic_load(&c->kvm->dirty.hub);
    struct block *block;
    uint64_t page, gpa;
    const char *reason;

    if (!guest_map_locate(c->kvm->map, (void *)host, &block, &page, &gpa)) {
        *ret_text = g_strdup_printf("the host's memory failed at 0x%" PRIxPTR ", which is no guest memory", host);
        return VCPU_ERROR;
    }
    reason = gpa == UINT64_MAX ? "the guest does not see it" : why_not(c);
    if (!reason && !block_replace_page(block, page))
        reason = "it is part of a large page";
    if (!reason && hub)
        hub_mark(hub, block, page, 1);
    if (!reason && !inject(c, gpa))
        reason = "KVM refused the machine check";
    registers_forget(c);
    if (reason)
        block_note_lost(block, page);
    *ret_text = g_strdup_printf("the host's memory failed at guest physical address 0x%" PRIx64 " (page %" PRIu64
                                " of backend '%s'); %s%s", gpa, page, block->options.id,
                                reason ? "no machine check: " : "the guest was given a machine check",
                                reason ? reason : "");
    return reason ? VCPU_ERROR : VCPU_NOTE;
}
