/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A parked vCPU's registers for people. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>

static struct cpu_segment
segment(const struct kvm_segment *s)
{
    return (struct cpu_segment) {
        .selector = s->selector, .base = s->base, .limit = s->limit, .type = s->type, .dpl = s->dpl,
        .present = s->present, .db = s->db, .s = s->s, .l = s->l, .g = s->g,
    };
}

static void
fill_general(const struct kvm_regs *r, struct cpu_registers *to)
{
    const uint64_t general[] = { r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rbp, r->rsp,
                                 r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 };

    memcpy(to->general, general, sizeof general);
    to->rip = r->rip;
    to->rflags = r->rflags;
}

static void
fill_system(const struct kvm_sregs *s, struct cpu_registers *to)
{
    to->cr0 = s->cr0;
    to->cr2 = s->cr2;
    to->cr3 = s->cr3;
    to->cr4 = s->cr4;
    to->cr8 = s->cr8;
    to->efer = s->efer;
    to->es = segment(&s->es);
    to->cs = segment(&s->cs);
    to->ss = segment(&s->ss);
    to->ds = segment(&s->ds);
    to->fs = segment(&s->fs);
    to->gs = segment(&s->gs);
    to->ldt = segment(&s->ldt);
    to->tr = segment(&s->tr);
    to->gdt_base = s->gdt.base;
    to->gdt_limit = s->gdt.limit;
    to->idt_base = s->idt.base;
    to->idt_limit = s->idt.limit;
}

static void
fill_fpu(const struct kvm_fpu *f, struct cpu_registers *to)
{
    to->fcw = f->fcw;
    to->fsw = f->fsw;
    to->ftw = f->ftwx;
    to->mxcsr = f->mxcsr;
    memcpy(to->fpr, f->fpr, sizeof to->fpr);
    memcpy(to->xmm, f->xmm, sizeof to->xmm);
}

bool
kvm_registers(struct accel *a, unsigned cpu, struct cpu_registers *ret, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    struct registers_seen seen;
    struct kvm_fpu fpu;

    if (!registers_look(&k->cpus[cpu], &seen, error))
        return false;
    if (kvm_ioctl(k->cpus[cpu].fd, KVM_GET_FPU, &fpu) < 0)
        return fail_host(error, errno, "cannot read the vector registers of vCPU %u", cpu);
    memset(ret, 0, sizeof *ret);
    fill_general(&seen.regs, ret);
    fill_system(&seen.sregs, ret);
    fill_fpu(&fpu, ret);
    memcpy(ret->debug, seen.debugregs.db, sizeof seen.debugregs.db);
    ret->debug[6] = seen.debugregs.dr6;
    ret->debug[7] = seen.debugregs.dr7;
    ret->halted = seen.mp_state == KVM_MP_STATE_HALTED;
    return true;
}
