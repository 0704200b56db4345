/* SPDX-License-Identifier: GPL-3.0-or-later */
/* In words: why KVM gave up on a vCPU (Documentation/virt/kvm/api.rst, section 5). */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void
append_instruction(GString *text, const struct kvm_run *run)
{
    unsigned count = run->emulation_failure.insn_size;

    if (run->emulation_failure.ndata < 1 ||
        !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
        return;
    g_string_append(text, ", bytes");
    for (unsigned i = 0; i < MIN(count, sizeof(run->emulation_failure.insn_bytes)); i++)
        g_string_append_printf(text, " %02x", run->emulation_failure.insn_bytes[i]);
}

static void
append_internal(GString *text, const struct kvm_run *run)
{
    unsigned count = MIN(run->internal.ndata, G_N_ELEMENTS(run->internal.data));

    switch (run->internal.suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
        g_string_append(text, "KVM cannot emulate an instruction");
        append_instruction(text, run);
        return;
    case KVM_INTERNAL_ERROR_SIMUL_EX:
        g_string_append(text, "KVM met exceptions at the same time");
        break;
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        g_string_append(text, "KVM could not deliver an event");
        break;
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        g_string_append(text, "KVM met an exit that it does not know");
        break;
    default:
        g_string_append_printf(text, "KVM internal error %u", run->internal.suberror);
    }
    for (unsigned i = 0; i < count; i++)
        g_string_append_printf(text, "%s0x%" PRIx64, i ? " " : ", data ", (uint64_t)run->internal.data[i]);
}

/* KVM could not get a page of guest memory from the host (api.rst, KVM_RUN and KVM_EXIT_MEMORY_FAULT). */
static void
append_lost_page(GString *text, const struct kvm_run *run, const struct guest_map *map)
{
    uint64_t gpa = UINT64_MAX;
    g_autofree char *lost = NULL;

#ifdef KVM_EXIT_MEMORY_FAULT
    if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
        gpa = run->memory_fault.gpa;
#endif
    guest_map_blame(map, gpa);
    lost = guest_map_lost(map);
    if (lost)
        g_string_append_printf(text, "; %s", lost);
}

char *
vcpu_fault_text(struct kvm_cpu *c, const struct guest_map *map, int run_errno)
{
    GString *text = g_string_new(NULL);
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (run_errno)
        g_string_append_printf(text, "KVM_RUN failed: %s", g_strerror(run_errno));
    else if (c->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        append_internal(text, c->run);
    else if (c->run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        g_string_append_printf(text, "the processor refused to enter the guest, reason 0x%" PRIx64,
                               (uint64_t)c->run->fail_entry.hardware_entry_failure_reason);
    else
        g_string_append_printf(text, "KVM left the guest for reason %u, which numon does not handle",
                               c->run->exit_reason);
    if (run_errno == EFAULT && map)
        append_lost_page(text, c->run, map);
    if (kvm_ioctl(c->fd, KVM_GET_REGS, &regs) == 0 && kvm_ioctl(c->fd, KVM_GET_SREGS, &sregs) == 0)
        g_string_append_printf(text, "; rip 0x%" PRIx64 ", cs 0x%x, ring %u, cr3 0x%" PRIx64, (uint64_t)regs.rip,
                               sregs.cs.selector, sregs.cs.dpl, (uint64_t)sregs.cr3);
    return g_string_free(text, FALSE);
}
