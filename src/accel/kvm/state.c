/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state of a vCPU: the fields that travel, and the one table that says how each part is read from KVM and put
 * back.  Parts are put in the order of the table and read in the opposite one. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>

#define AT(member) offsetof(struct kvm_cpu, state.member)
#define U64(name, member) { name, STATE_U64, AT(member) }
#define REGISTER(r) U64(#r, regs.r)
/* The nine bytes from 'type' on: type, present, dpl, db, s, l, g, avl, unusable. */
#define SEGMENT(x)                                                                                       \
    { #x ".base", STATE_U64, AT(sregs.x.base) }, { #x ".limit", STATE_U32, AT(sregs.x.limit) },          \
    { #x ".selector", STATE_U16, AT(sregs.x.selector) }, { #x ".attributes", STATE_U8, AT(sregs.x.type), 9 }
#define TABLE(x) { #x ".base", STATE_U64, AT(sregs.x.base) }, { #x ".limit", STATE_U16, AT(sregs.x.limit) }
#define EVENT(type, member) { "events." #member, type, AT(events.member) }

_Static_assert(offsetof(struct kvm_segment, unusable) - offsetof(struct kvm_segment, type) == 8, "nine bytes");

const struct state_field cpu_fields[] = {
    REGISTER(rax), REGISTER(rbx), REGISTER(rcx), REGISTER(rdx), REGISTER(rsi), REGISTER(rdi), REGISTER(rsp),
    REGISTER(rbp), REGISTER(r8), REGISTER(r9), REGISTER(r10), REGISTER(r11), REGISTER(r12), REGISTER(r13),
    REGISTER(r14), REGISTER(r15), REGISTER(rip), REGISTER(rflags),
    SEGMENT(cs), SEGMENT(ds), SEGMENT(es), SEGMENT(fs), SEGMENT(gs), SEGMENT(ss), SEGMENT(tr), SEGMENT(ldt),
    TABLE(gdt), TABLE(idt),
    U64("cr0", sregs.cr0), U64("cr2", sregs.cr2), U64("cr3", sregs.cr3), U64("cr4", sregs.cr4),
    U64("cr8", sregs.cr8), U64("efer", sregs.efer), U64("apic_base", sregs.apic_base),
    { "interrupt_bitmap", STATE_U64, AT(sregs.interrupt_bitmap), 4 },
    U64("xcr0", xcr0),
    { "xsave", STATE_VARIABLE, AT(xsave), XSAVE_SIZE_MAX, AT(xsave_size) },
    { "lapic", STATE_BUFFER, AT(lapic), KVM_APIC_REG_SIZE },
    { "msrs", STATE_VARIABLE, AT(msrs), MSRS_MAX * MSR_RECORD_SIZE, AT(msrs_size) },
    { "dr", STATE_U64, AT(debugregs.db), 4 }, U64("dr6", debugregs.dr6), U64("dr7", debugregs.dr7),
    EVENT(STATE_U32, flags),
    EVENT(STATE_U8, exception.injected), EVENT(STATE_U8, exception.nr), EVENT(STATE_U8, exception.has_error_code),
    EVENT(STATE_U8, exception.pending), EVENT(STATE_U32, exception.error_code),
    EVENT(STATE_U8, exception_has_payload), EVENT(STATE_U64, exception_payload),
    EVENT(STATE_U8, interrupt.injected), EVENT(STATE_U8, interrupt.nr), EVENT(STATE_U8, interrupt.soft),
    EVENT(STATE_U8, interrupt.shadow),
    EVENT(STATE_U8, nmi.injected), EVENT(STATE_U8, nmi.pending), EVENT(STATE_U8, nmi.masked),
    EVENT(STATE_U32, sipi_vector),
    EVENT(STATE_U8, smi.smm), EVENT(STATE_U8, smi.pending), EVENT(STATE_U8, smi.smm_inside_nmi),
    EVENT(STATE_U8, smi.latched_init), EVENT(STATE_U8, triple_fault.pending),
    { "mp_state", STATE_U32, AT(mp_state) },
    { "tsc_khz", STATE_U32, AT(tsc_khz) },
    { "tsc_offset", STATE_U64, AT(tsc_offset), .since = 2 },
    { "tsc_offset_known", STATE_BOOL, AT(tsc_offset_known), .since = 2 },
    { 0 }
};

/* Parts that are one ioctl each way. */
#define PART(part, GET, SET, member)                                    \
    static int get_##part(struct kvm_cpu *c, struct cpu_state *s)      \
    {                                                                   \
        return kvm_ioctl(c->fd, GET, &s->member);                       \
    }                                                                   \
    static int put_##part(struct kvm_cpu *c, struct cpu_state *s)      \
    {                                                                   \
        return kvm_ioctl(c->fd, SET, &s->member);                       \
    }

PART(regs, KVM_GET_REGS, KVM_SET_REGS, regs)
PART(sregs, KVM_GET_SREGS, KVM_SET_SREGS, sregs)
PART(lapic, KVM_GET_LAPIC, KVM_SET_LAPIC, lapic)
PART(events, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events)
PART(mp_state, KVM_GET_MP_STATE, KVM_SET_MP_STATE, mp_state)

_Static_assert(sizeof(struct kvm_mp_state) == sizeof(uint32_t), "mp_state is one word");

static int
get_debugregs(struct kvm_cpu *c, struct cpu_state *s)
{
    return c->kvm->has_debugregs ? kvm_ioctl(c->fd, KVM_GET_DEBUGREGS, &s->debugregs) : 0;
}

static int
put_debugregs(struct kvm_cpu *c, struct cpu_state *s)
{
    return c->kvm->has_debugregs ? kvm_ioctl(c->fd, KVM_SET_DEBUGREGS, &s->debugregs) : 0;
}

static int
get_xsave(struct kvm_cpu *c, struct cpu_state *s)
{
    if (s->xsave_size != c->kvm->xsave_size) {
        g_free(s->xsave);
        s->xsave_size = c->kvm->xsave_size;
        s->xsave = g_malloc0(s->xsave_size);
    }
    return kvm_ioctl(c->fd, c->kvm->has_xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, s->xsave);
}

static int
put_xsave(struct kvm_cpu *c, struct cpu_state *s)
{
    return kvm_ioctl(c->fd, KVM_SET_XSAVE, s->xsave);
}

static int
get_xcrs(struct kvm_cpu *c, struct cpu_state *s)
{
    struct kvm_xcrs xcrs = { 0 };
    int r = c->kvm->has_xcrs ? kvm_ioctl(c->fd, KVM_GET_XCRS, &xcrs) : 0;

    s->xcr0 = xcrs.nr_xcrs ? xcrs.xcrs[0].value : 1;
    return r;
}

static int
put_xcrs(struct kvm_cpu *c, struct cpu_state *s)
{
    struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = s->xcr0 } } };

    return c->kvm->has_xcrs ? kvm_ioctl(c->fd, KVM_SET_XCRS, &xcrs) : 0;
}

static int
get_tsc_khz(struct kvm_cpu *c, struct cpu_state *s)
{
    int khz = kvm_ioctl_number(c->fd, KVM_GET_TSC_KHZ, 0);

    s->tsc_khz = (uint32_t)MAX(khz, 0);
    return khz;
}

/* Two hosts of one kind measure a few kHz apart.  KVM scales, or takes what is within its tolerance. */
static int
put_tsc_khz(struct kvm_cpu *c, struct cpu_state *s)
{
    if ((int)s->tsc_khz == kvm_ioctl_number(c->fd, KVM_GET_TSC_KHZ, 0))
        return 0;
    return kvm_ioctl_number(c->fd, KVM_SET_TSC_KHZ, s->tsc_khz);
}

/* In the order of putting.  The special registers bring the APIC base, which says in which form the local APIC is;
 * that needs to be there before the deadline MSR; the plain registers drop pending exceptions, so events follow;
 * a CPU that waits is put to sleep last.  Reading in the opposite order lets KVM_GET_MP_STATE and the events take in
 * what was pending before the registers are looked at. */
static const struct part {
    const char *name;
    int (*get)(struct kvm_cpu *c, struct cpu_state *s);
    int (*put)(struct kvm_cpu *c, struct cpu_state *s);
} parts[] = {
    { "frequency of the time stamp counter", get_tsc_khz, put_tsc_khz },
    { "special registers", get_sregs, put_sregs },
    { "registers", get_regs, put_regs },
    { "vector registers", get_xsave, put_xsave },
    { "extended control registers", get_xcrs, put_xcrs },
    { "local APIC", get_lapic, put_lapic },
    { "MSRs", NULL, NULL },         /* msr.c: it has more to say */
    { "debug registers", get_debugregs, put_debugregs },
    { "events", get_events, put_events },
    { "run state", get_mp_state, put_mp_state },
};

bool
cpu_state_get(struct kvm_cpu *c, struct cpu_state *s, GError **error)
{
    for (unsigned i = G_N_ELEMENTS(parts); i-- > 0;) {
        if (!parts[i].get && !msrs_get(c, s, error))
            return false;
        if (parts[i].get && parts[i].get(c, s) < 0)
            return fail_host(error, errno, "cannot read the %s of vCPU %u", parts[i].name, c->index);
    }
    return true;
}

bool
cpu_state_put(struct kvm_cpu *c, struct cpu_state *s, GError **error)
{
    c->exit_left = false;
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (!parts[i].put && !msrs_put(c, s, error))
            return false;
        if (parts[i].put && parts[i].put(c, s) < 0)
            return fail_host(error, errno, "cannot set the %s of vCPU %u", parts[i].name, c->index);
    }
    return true;
}

void
cpu_state_release(struct cpu_state *s)
{
    g_clear_pointer(&s->xsave, g_free);
    g_clear_pointer(&s->msrs, g_free);
    s->xsave_size = s->msrs_size = 0;
}

bool
cpu_before_save(void *object, GError **error)
{
    struct kvm_cpu *c = object;

    if (!cpu_state_get(c, &c->state, error))
        return false;
    tsc_before_save(c, &c->state);
    return true;
}

/* What KVM takes on trust; all else it checks itself. */
bool
cpu_after_load(void *object, GError **error)
{
    struct kvm_cpu *c = object;
    struct cpu_state *s = &c->state;

    if (s->xsave_size != c->kvm->xsave_size)
        return fail(error, NUMON_ERROR_PEER, "cannot load vCPU %u: it has %u bytes of vector registers, KVM here %u",
                    c->index, s->xsave_size, c->kvm->xsave_size);
    if (s->msrs_size % MSR_RECORD_SIZE)
        return fail(error, NUMON_ERROR_PEER, "cannot load vCPU %u: %u bytes of MSRs are not whole records", c->index,
                    s->msrs_size);
    s->debugregs.flags = 0;
    return cpu_state_put(c, s, error) && tsc_after_load(c, s, error);
}
