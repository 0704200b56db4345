/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The first state of a vCPU.  KVM makes each vCPU in its state after power-on; that of vCPU 0 is kept and put back,
 * with what a struct cpu_start names in place of it. */
#include "kvm-private.h"

#include <string.h>

enum {
    EFER_LME = 1 << 8, EFER_LMA = 1 << 10,
    RFLAGS_ALWAYS = 2,
    APIC_BASE_BSP = 1 << 8,
    LAPIC_ID = 0x20,                /* register; its form is that of the mode: xAPIC after a reset, which has the low
                                     * 8 bits of the id in the top byte.  KVM sends to ids above by the vCPU's own
                                     * (api.rst, KVM_CAP_X2APIC_API) */
    LAPIC_LVT0 = 0x350,
    LVT_MASKED = 0x10000,           /* vCPU 0 alone has the 8259s on this pin */
    MSR_TSC = 0x10,
};
#define CR0_PG (UINT64_C(1) << 31)

/* A vCPU that was just made is as after power-on. */
bool
reset_capture(struct kvm *k, GError **error)
{
    struct cpu_state *s = &k->reset_cpu;

    if (!cpu_state_get(&k->cpus[0], s, PARTS_ALL, error))
        return false;
    msr_record_set(s, MSR_TSC, 0);      /* KVM takes 0 on all vCPUs as "in step" */
    return true;
}

static struct kvm_segment
segment(const struct cpu_segment *from)
{
    return (struct kvm_segment) {
        .base = from->base, .limit = from->limit, .selector = from->selector, .type = from->type,
        .present = from->present, .dpl = from->dpl, .db = from->db, .s = from->s, .l = from->l, .g = from->g,
        .unusable = !from->present,
    };
}

static void
start_directly(struct cpu_state *s, const struct cpu_start *from)
{
    struct kvm_sregs *r = &s->sregs;

    s->regs = (struct kvm_regs) {
        .rip = from->rip, .rsp = from->rsp, .rflags = from->rflags | RFLAGS_ALWAYS, .rax = from->rax,
        .rbx = from->rbx, .rcx = from->rcx, .rdx = from->rdx, .rsi = from->rsi, .rdi = from->rdi, .rbp = from->rbp,
    };
    r->cs = segment(&from->cs);
    r->ds = segment(&from->ds);
    r->es = segment(&from->es);
    r->fs = segment(&from->fs);
    r->gs = segment(&from->gs);
    r->ss = segment(&from->ss);
    r->tr = segment(&from->tr);
    r->ldt = segment(&from->ldt);
    r->gdt = (struct kvm_dtable) { .base = from->gdt_base, .limit = from->gdt_limit };
    r->idt = (struct kvm_dtable) { .base = from->idt_base, .limit = from->idt_limit };
    r->cr0 = from->cr0;
    r->cr3 = from->cr3;
    r->cr4 = from->cr4;
    r->efer = from->efer;
    if (r->efer & EFER_LME && r->cr0 & CR0_PG)
        r->efer |= EFER_LMA;
    s->mp_state = KVM_MP_STATE_RUNNABLE;
}

bool
kvm_vcpu_reset(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    struct kvm_cpu *c = &k->cpus[cpu];
    struct cpu_state s = k->reset_cpu;      /* borrows its buffers */
    uint32_t id = (c->apic_id & 0xff) << 24, masked = LVT_MASKED;

    memcpy(s.lapic + LAPIC_ID, &id, sizeof(id));
    if (cpu != 0) {
        memcpy(s.lapic + LAPIC_LVT0, &masked, sizeof(masked));
        s.sregs.apic_base &= ~(uint64_t)APIC_BASE_BSP;
        s.mp_state = KVM_MP_STATE_UNINITIALIZED;
    }
    if (start->kind == CPU_START_DIRECT)
        start_directly(&s, start);
    c->state.tsc_offset_known = false;
    if (cpu == 0 && !chips_reset(k, error))
        return false;
    c->exit_left = false;
    registers_forget(c);
    return cpu_state_put(c, &s, PARTS_ALL, PUT_RESET, error);
}

/* KVM keeps a vCPU until the machine goes: one that was made and could not be reset serves when it is tried again. */
bool
kvm_vcpu_add(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    struct kvm_cpu *c = &k->cpus[cpu];

    if (!c->kvm && !vcpu_create(k, cpu, k->apic_ids[cpu], error)) {
        vcpu_release(c, k->run_size);
        *c = (struct kvm_cpu) { 0 };
        return false;
    }
    if (!kvm_vcpu_reset(a, cpu, start, error))
        return false;
    time_join(c);
    return true;
}
