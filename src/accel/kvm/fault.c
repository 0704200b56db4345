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

/* --- what an exit says of itself -------------------------------------------------------------------------------- */

static void
append_system_event(GString *text, const struct kvm_run *run)
{
    static const char *const names[] = {
        [KVM_SYSTEM_EVENT_SHUTDOWN] = "shutdown", [KVM_SYSTEM_EVENT_RESET] = "reset",
        [KVM_SYSTEM_EVENT_CRASH] = "crash", [KVM_SYSTEM_EVENT_WAKEUP] = "wakeup",
        [KVM_SYSTEM_EVENT_SUSPEND] = "suspend", [KVM_SYSTEM_EVENT_SEV_TERM] = "end of a secure guest",
    };
    uint32_t type = run->system_event.type;
    unsigned count = MIN(run->system_event.ndata, G_N_ELEMENTS(run->system_event.data));

    if (type < G_N_ELEMENTS(names) && names[type])
        g_string_append_printf(text, "the guest's system event: %s", names[type]);
    else
        g_string_append_printf(text, "the guest's system event %u, which numon does not know", type);
    for (unsigned i = 0; i < count; i++)
        g_string_append_printf(text, "%s0x%" PRIx64, i ? " " : ", data ", (uint64_t)run->system_event.data[i]);
}

static void
append_exit(GString *text, const struct kvm_run *run)
{
    switch (run->exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR:
        append_internal(text, run);
        return;
    case KVM_EXIT_FAIL_ENTRY:
        g_string_append_printf(text, "the processor refused to enter the guest, reason 0x%" PRIx64 ", on host CPU %u",
                               (uint64_t)run->fail_entry.hardware_entry_failure_reason, run->fail_entry.cpu);
        return;
    case KVM_EXIT_UNKNOWN:
        g_string_append_printf(text, "the processor left the guest for reason 0x%" PRIx64 ", which KVM does not know",
                               (uint64_t)run->hw.hardware_exit_reason);
        return;
    case KVM_EXIT_EXCEPTION:
        g_string_append_printf(text, "exception %u, error code 0x%x, that KVM leaves to the host", run->ex.exception,
                               run->ex.error_code);
        return;
    case KVM_EXIT_SYSTEM_EVENT:
        append_system_event(text, run);
        return;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        g_string_append_printf(text, "the guest %s MSR 0x%x, which KVM leaves to the host",
                               run->exit_reason == KVM_EXIT_X86_RDMSR ? "read" : "wrote", run->msr.index);
        return;
    case KVM_EXIT_HYPERCALL:
        g_string_append_printf(text, "the guest made hypercall %" PRIu64 ", which KVM leaves to the host",
                               (uint64_t)run->hypercall.nr);
        return;
    case KVM_EXIT_DEBUG:
        g_string_append_printf(text, "the guest met exception %u at 0x%" PRIx64 " that nobody debugs",
                               run->debug.arch.exception, (uint64_t)run->debug.arch.pc);
        return;
    }
    g_string_append_printf(text, "KVM left the guest for reason %u (%s: %s), which numon does not handle",
                           run->exit_reason, exit_name(run->exit_reason), exit_help(run->exit_reason));
}

/* --- the dump --------------------------------------------------------------------------------------------------- */

enum { CODE_BEFORE = 16, CODE_AFTER = 16 };

/* The bytes around the instruction, its first one in angle brackets; those that are not mapped as question marks. */
static void
append_code(GString *text, struct kvm_cpu *c, uint64_t linear)
{
    g_string_append(text, "\nCode=");
    for (uint64_t at = linear - CODE_BEFORE; at != linear + CODE_AFTER; at++) {
        struct kvm_translation t = { .linear_address = at };
        uint8_t byte;
        bool there = kvm_ioctl(c->fd, KVM_TRANSLATE, &t) == 0 && t.valid &&
                     guest_map_read(c->kvm->map, t.physical_address, &byte, 1);
        g_autofree char *shown = there ? g_strdup_printf("%02x", byte) : g_strdup("??");

        g_string_append_printf(text, at == linear ? "%s<%s>" : "%s%s", at == linear - CODE_BEFORE ? "" : " ", shown);
    }
}

static void
append_segment(GString *text, const char *name, const struct kvm_segment *s)
{
    g_string_append_printf(text, "\n%s =%04x %016" PRIx64 " %08x type %u dpl %u%s%s%s", name, s->selector,
                           (uint64_t)s->base, s->limit, s->type, s->dpl, s->db ? " 32-bit" : "",
                           s->l ? " 64-bit" : "", s->present && !s->unusable ? "" : " absent");
}

/* In the order and with the names of QEMU's `info registers`. */
static void
append_dump(GString *text, struct kvm_cpu *c, const struct kvm_regs *r, const struct kvm_sregs *s)
{
    const struct { const char *name; uint64_t value; } shown[] = {
        { "RAX", r->rax }, { "RBX", r->rbx }, { "RCX", r->rcx }, { "RDX", r->rdx }, { "RSI", r->rsi },
        { "RDI", r->rdi }, { "RBP", r->rbp }, { "RSP", r->rsp }, { "R8 ", r->r8 }, { "R9 ", r->r9 },
        { "R10", r->r10 }, { "R11", r->r11 }, { "R12", r->r12 }, { "R13", r->r13 }, { "R14", r->r14 },
        { "R15", r->r15 }, { "RIP", r->rip }, { "RFL", r->rflags }, { "CR0", s->cr0 }, { "CR2", s->cr2 },
        { "CR3", s->cr3 }, { "CR4", s->cr4 }, { "EFER", s->efer }, { "CR8", s->cr8 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(shown); i++)
        g_string_append_printf(text, "%s%s=%016" PRIx64, i % 4 ? " " : "\n", shown[i].name, shown[i].value);
    append_segment(text, "CS", &s->cs);
    append_segment(text, "SS", &s->ss);
    append_code(text, c, s->cs.base + r->rip);
}

char *
vcpu_fault_text(struct kvm_cpu *c, const struct guest_map *map, int run_errno)
{
    GString *text = g_string_new(NULL);
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (run_errno)
        g_string_append_printf(text, "KVM_RUN failed: %s", g_strerror(run_errno));
    else
        append_exit(text, c->run);
    if (run_errno == EFAULT && map)
        append_lost_page(text, c->run, map);
    if (kvm_ioctl(c->fd, KVM_GET_REGS, &regs) < 0 || kvm_ioctl(c->fd, KVM_GET_SREGS, &sregs) < 0)
        return g_string_free(text, FALSE);
    g_string_append_printf(text, "; rip 0x%" PRIx64 ", cs 0x%x, ring %u, cr3 0x%" PRIx64, (uint64_t)regs.rip,
                           sregs.cs.selector, sregs.cs.dpl, (uint64_t)sregs.cr3);
    append_dump(text, c, &regs, &sregs);
    return g_string_free(text, FALSE);
}
